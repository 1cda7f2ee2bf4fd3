"""Weights as files and in memory: opened lazily, written safely, known by digest and lineage.

Everything that touches a file of weights lives here, and only here. A `Checkpoint` maps names to `LazyTensor`s, which
are read row by row when asked; verbs make new checkpoints of `ComputedTensor`s, and `write` streams them to a folder.

=================  ====================================================================================================
``tensor``         lazy tensors: of a file, in memory, computed, cast
``mapping``        files mapped into memory, read-only
``checkpoint``     the checkpoint
``open``           what can be opened: folders (``folder``), safetensors (``header``), torch files (``torch_file``),
                   hub ids (``hub``), modules and state dicts (``memory``)
``write``          ``plan`` of the files, ``stream`` of the tiles, ``staging`` of the output, the model ``card``; the
                   ``journal`` of what is done and the ``inputs`` it was done from, for a run to be gone on with
``cast``           the same weights in another dtype
``described``      one file of tensors that says itself what they are: what is trained and is no model
``sink``           files that are written past the system's cache of pages
``digest``         which weights these are
``lineage``        where they came from; ``parent`` makes the link
``ledger``         what was done to every tensor
``workers``        how many of them work at once
=================  ====================================================================================================

It may import torch, safetensors, yaml and, inside functions, huggingface_hub; never transformers.
"""

from scionwood.checkpoint.cast import cast
from scionwood.checkpoint.checkpoint import Checkpoint, format_bytes
from scionwood.checkpoint.digest import digest
from scionwood.checkpoint.ledger import Entry, Ledger, Total
from scionwood.checkpoint.lineage import Lineage, Parent, format_pedigree, installed_versions
from scionwood.checkpoint.open import Source, lineage, open, open_config
from scionwood.checkpoint.parent import parent_of, told
from scionwood.checkpoint.stream import Progress
from scionwood.checkpoint.tensor import CastTensor, ComputedTensor, FileTensor, LazyTensor, MemoryTensor
from scionwood.checkpoint.write import write

__all__ = [
    "CastTensor",
    "Checkpoint",
    "ComputedTensor",
    "Entry",
    "FileTensor",
    "LazyTensor",
    "Ledger",
    "Lineage",
    "MemoryTensor",
    "Parent",
    "Progress",
    "Source",
    "Total",
    "cast",
    "digest",
    "format_bytes",
    "format_pedigree",
    "installed_versions",
    "lineage",
    "open",
    "open_config",
    "parent_of",
    "told",
    "write",
]
