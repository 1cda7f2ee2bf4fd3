"""Adapters: put on the model they were made for, or merged with each other.

=============  ========================================================================================================
``lora``       a PEFT adapter as products of factors, and the plain tensors beside them
``product``    such a product as a lazy tensor, alone or on top of a weight
``apply``      an adapter put on a model
``factor``     few factors for many: by concatenation, and by singular values
``fit``        which adapters can be merged, and how
``merge``      several adapters made one
=============  ========================================================================================================
"""

from scionwood.verbs.adapter.apply import apply_adapter
from scionwood.verbs.adapter.merge import merge_adapters

__all__ = ["apply_adapter", "merge_adapters"]
