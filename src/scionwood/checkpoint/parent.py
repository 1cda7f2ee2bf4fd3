"""A checkpoint, or numbers given from Python, as the parent of a checkpoint."""

from typing import Any

import torch
from torch.utils import _pytree as pytree

from scionwood.checkpoint.card import parent_license
from scionwood.checkpoint.checkpoint import Checkpoint
from scionwood.checkpoint.digest import digest
from scionwood.checkpoint.lineage import VALUE_DIGEST, Parent
from scionwood.errors import MethodError

__all__ = ["digest_of", "parent_of", "told"]


def parent_of(checkpoint: Checkpoint, role: str | None = None) -> Parent:
    """Return how a checkpoint enters the lineage of what is made from it: by name, digest and its own lineage.

    The digest is the sampled one for what lies on disk. What is not there is known by its lineage alone: a digest would
    have to compute it.

    Args:
        checkpoint: the parent.
        role: what it is for: ``"source"``, ``"base"``, ``"donor"``, ….

    >>> from scionwood.checkpoint import open
    >>> parent_of(open({}), "source")
    Parent(source='memory', revision=None, digest=None, role='source', license=None, lineage=None)
    """
    return Parent(
        source=checkpoint.source,
        revision=checkpoint.revision,
        digest=digest(checkpoint) if checkpoint.files else None,
        role=role,
        license=parent_license(checkpoint.origin.folder if checkpoint.origin else None),
        lineage=checkpoint.lineage,
    )


def told(checkpoint: Checkpoint) -> str | dict[str, Any]:
    """Return how a recipe tells what it is made from: a name that opens it again, or the recipe that makes it again.

    >>> from scionwood.checkpoint import open
    >>> told(open({}))
    'memory'
    """
    lineage = checkpoint.lineage
    if checkpoint.files or lineage is None or "verb" not in lineage.recipe:
        return f"{checkpoint.source}@{checkpoint.revision}" if checkpoint.revision else checkpoint.source
    return {**lineage.recipe, **({} if lineage.seed is None else {"seed": lineage.seed})}


def digest_of(value: Any, name: str) -> str:
    """Return what numbers that were given from Python are known by: a tensor, an array, or several in lists.

    Raises:
        MethodError: they are no numbers.

    >>> from scionwood.checkpoint import open
    >>> digest_of([torch.zeros(2)], "units")[:24]
    'value-sha256:f5309eb7dae'
    """
    try:
        leaves = {str(place): torch.as_tensor(leaf) for place, leaf in enumerate(pytree.tree_leaves(value))}
    except (TypeError, ValueError, RuntimeError):
        raise MethodError(
            f"The input {name!r} is a {type(value).__name__} with other things in it than numbers."
        ) from None
    return VALUE_DIGEST + digest(leaves).removeprefix("sha256:")
