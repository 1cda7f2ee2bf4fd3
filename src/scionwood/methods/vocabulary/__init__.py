"""Vocabularies: the rows of an embedding, or of a head, for the tokens of another tokenizer.

The contract with the verb, which knows tokenizers, corpora and tensors, while a method knows tables and indices.

1. The verb asks once for each table of the source that has the vocabulary's axis (the input embedding, the head where it
   is not tied, a bias over tokens as a table of width 1), in float32, without rows that pad the table.
2. A method is called as ``method(table, <inputs>, **options)``. Inputs, by name; row t is target token t, and -1 stands
   for none:

   * ``table``: the source's rows (Vs, d), float32;
   * ``overlap``: for each target token the source token with the same text, or -1; LongTensor (Vt,). Special tokens are
     matched by what they are for (the two unknown tokens, the two beginnings), whatever they are called;
   * ``pieces``: for each target token the source's tokens of its text, as a list of LongTensors; empty where there is none;
   * ``source_vectors``, ``target_vectors``: static vectors of the tokens (Vs, k), (Vt, k), in one space (FOCUS, WECHSEL,
     OFA: cosine neighbours) or in two (TokAlign); rows of zeros where a token has none;
   * ``counts_of_tokens``: how often each target token occurs in the text; LongTensor (Vt,);
   * ``text``: the token ids of the text by the target's tokenizer, one LongTensor after another;
   * ``generator``: a ``torch.Generator`` keyed by the seed and the method, so that all tables get the same mixture.

3. It gives back ``rows.Rows``: for each target token a mixture of source rows (indices and weights), or rows of its own;
   with what was done for each token (``copied``, ``mixed``, ``drawn``), which the ledger and the report count. Mixtures
   come back as mixtures, so that input and output tables share them and the verb can stream them.
4. Tokens for which it has nothing are drawn from N(mean, std) per dimension over the source rows in use, seeded.
"""
