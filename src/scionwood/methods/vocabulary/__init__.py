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
     OFA: cosine neighbours) or in two (TokAlign); rows of zeros where a token has none. FOCUS and TokAlign may have a
     ``glove.Trainer`` instead, which trains them on the text as their options ask;
   * ``counts_of_tokens``: how often each target token occurs in the text; LongTensor (Vt,). EigenNoise can do without, and
     ranks by id;
   * ``text``: the token ids of the text by the target's tokenizer, one LongTensor after another;
   * ``generator``: a ``torch.Generator`` keyed by the seed alone, so that all tables get the same mixture, and methods that
     draw alike the same rows;
   * ``special``: whether each target token is a special one; BoolTensor (Vt,). WECHSEL copies these alone;
   * ``wordless``: whether each row of the source stands for no text, being a special token's or none's; BoolTensor (Vs,).
     TokAlign takes none of these for a token that is not shared;
   * ``anchors``: which shared tokens may be mixed from; BoolTensor (Vt,). FOCUS, where a tokenizer was extended;
   * ``dictionary``: vectors of words of one meaning, (n, k) of the source's space and (n, k) of the target's, by which
     WECHSEL turns the one into the other;
   * ``word_vectors``, ``source_words``, ``target_words``: static vectors of words (words, k), and for each token which of
     them it occurs in, as a list of LongTensors (HyperOFA; ``ofa.mean_of_words`` makes vectors of tokens of them);
   * ``tables``, ``role``: the rows of the input embedding and of the head, or of one where they are tied, and which of
     ``input``, ``output`` and ``bias`` the table is: CW2V learns the mixtures of both tables together;
   * ``kept``: a dict that is the same for all tables of a model and empty for the first: CW2V learns once;
   * ``units``, ``frames``: features of speech (frames, F), and for each frame the target token that it belongs to.

   Vectors of tokens that nobody has trained come from ``glove.glove(text, size, generator)``, by the ids of one tokenizer:
   FOCUS needs those of the target's text alone, TokAlign those of one text cut by either tokenizer.

3. It gives back ``rows.Rows``: for each target token a mixture of source rows (indices and weights), or rows of its own;
   with what was done for each token (``copied``, ``mixed``, ``drawn``), which the ledger and the report count. Mixtures
   come back as mixtures, so that input and output tables share them and the verb can stream them.
4. Tokens for which it has nothing are drawn from N(mean, std) per dimension over the source rows in use, seeded.
"""
