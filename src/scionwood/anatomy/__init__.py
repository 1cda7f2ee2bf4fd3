"""Anatomy: the named axes of every tensor of a model, derived from the model's own graph.

No table of architectures. A model is built on the meta device, exported, and its graph walked once (``trace``, ``walk``); a rule for each
operation (``rules/``) says which dimensions are one and the same (``atoms``); what comes out is named by where it occurs (``names``).
The proof is a symmetry (``symmetry``): permuting a free axis wherever it occurs leaves the model's function unchanged.

Two models of one family are compared by ``match``; ``layout`` knows the names that checkpoints use on disk; ``axismap`` says how an axis
of one size is made from an axis of another.

This room imports ``checkpoint`` and ``errors`` only; transformers is imported inside functions.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, cast

from torch import nn

from scionwood.anatomy.anatomy import Anatomy, Axis, TensorAnatomy, flat_index
from scionwood.anatomy.axismap import AxisMap
from scionwood.anatomy.build import Model, from_config, from_factory, from_module
from scionwood.anatomy.derive import derive
from scionwood.anatomy.match import Match, match
from scionwood.anatomy.symmetry import Symmetry
from scionwood.anatomy.symmetry import verify as _verify

__all__ = [
    "Anatomy",
    "Axis",
    "AxisMap",
    "Match",
    "Model",
    "Symmetry",
    "TensorAnatomy",
    "flat_index",
    "from_config",
    "from_factory",
    "from_module",
    "match",
    "model",
    "of",
    "verify",
]


def model(source: Any, inputs: object = None) -> Model:
    """Build what an anatomy is derived from.

    Args:
        source: a config (a mapping or a transformers config), a module, ``package.module:factory``, or a :class:`Model`.
        inputs: for a module, its example inputs: a tensor, a tuple or a dict.
    """
    if isinstance(source, Model):
        return source
    if isinstance(source, nn.Module):
        if inputs is None and hasattr(source, "config"):
            return from_config(cast("Any", source.config), type(source).__name__)
        return from_module(source, inputs)
    if isinstance(source, str) and re.fullmatch(r"[^\W\d][\w.]*:[^\W\d]\w*", source):
        return from_factory(source)
    if isinstance(source, Mapping) or hasattr(source, "model_type"):
        return from_config(cast("Any", source))
    from scionwood.checkpoint import open_config

    return from_config(open_config(source), str(source))


def of(source: Any, inputs: object = None) -> Anatomy:
    """Derive the anatomy of a model.

    Args:
        source: a folder or file with a config, a hub id, a config, a module, or ``package.module:factory``.
        inputs: for a module, its example inputs: a tensor, a tuple or a dict.

    Raises:
        AnatomyError: the model cannot be built or exported.

    >>> import torch
    >>> anatomy = of(nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2)), torch.zeros(1, 3))
    >>> anatomy.tensors["0.weight"].dims, anatomy.tensors["2.weight"].dims
    ((('inner',), ('0.input',)), (('2.output',), ('inner',)))
    """
    return derive(model(source, inputs))


def verify(source: Any, inputs: object = None, **options: Any) -> list[Symmetry]:
    """Derive an anatomy and prove it by the permutation symmetry; see :func:`scionwood.anatomy.symmetry.verify`."""
    built = model(source, inputs)
    return _verify(built, derive(built), **options)
