"""A checkpoint as the parent of another."""

from scionwood.checkpoint.card import parent_license
from scionwood.checkpoint.checkpoint import Checkpoint
from scionwood.checkpoint.digest import digest
from scionwood.checkpoint.lineage import Parent

__all__ = ["parent_of"]


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
