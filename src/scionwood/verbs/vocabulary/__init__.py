"""Vocabulary: a model under another tokenizer, the rows of its embedding and head made for the new tokens.

=============  ========================================================================================================
``tables``     which tensors have a row for each token, by the anatomy
``tokens``     what a tokenizer knows of each of its tokens, by how it writes text (``spelling``)
``overlap``    two tokenizers side by side: the same tokens, the same purposes, the pieces of new tokens
``holes``      numbers that no token has, kept from methods and counts
``inputs``     what methods ask for: overlaps, pieces, counts, vectors
``vectors``    files of word vectors, by what they hold; ``dictionary``, pairs of words
``settings``   the new tokenizer's files, and what the config says of tokens by number
``vocabulary`` the verb
``report``     every method side by side: overlap, fertility, the loss that the model begins with
=============  ========================================================================================================
"""

from scionwood.verbs.vocabulary.report import Report, report
from scionwood.verbs.vocabulary.vocabulary import vocabulary

__all__ = ["Report", "report", "vocabulary"]
