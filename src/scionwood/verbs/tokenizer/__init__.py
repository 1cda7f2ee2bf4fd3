"""Vocabularies: models whose tokens differ are given rows for the same tokens, so that they can be merged.

=============  ========================================================================================================
``vocabulary`` a model's tokenizer as it lies in its files, and which tokens have rows
``union``      one tokenizer out of several
``rows``       which tensors have a row for each token, and such a tensor under another vocabulary
``tokens``     where the rows of single tokens come from
``settings``   what configs say of tokens by their numbers
``align``      the models of a merge, aligned
``template``   the chat template of the result
=============  ========================================================================================================
"""

from scionwood.verbs.tokenizer.align import Aligned, align_vocabularies
from scionwood.verbs.tokenizer.template import with_chat_template
from scionwood.verbs.tokenizer.tokens import TokenSource, among, plain_tokens, token_sources
from scionwood.verbs.tokenizer.vocabulary import difference

__all__ = [
    "Aligned",
    "TokenSource",
    "align_vocabularies",
    "among",
    "difference",
    "plain_tokens",
    "token_sources",
    "with_chat_template",
]
