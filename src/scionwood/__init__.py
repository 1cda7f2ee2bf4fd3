"""Make the weights of new models out of the weights of models that already exist.

::

    import scionwood

    student = scionwood.select("teacher/", like="student/config.json", method="uniform")
    print(*student.ledger.summary(), sep="\n")
    scionwood.write(student, "student-weights/")

Names arrive when they are first used: ``import scionwood`` takes a few milliseconds and does not import torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scionwood import anatomy
    from scionwood.checkpoint import Checkpoint, digest, lineage, open, write
    from scionwood.errors import (
        AnatomyError,
        DependencyError,
        MatchError,
        MethodError,
        OutputError,
        RecipeError,
        ScionwoodError,
        SourceError,
        SymmetryError,
    )
    from scionwood.verbs.adapter import apply_adapter
    from scionwood.verbs.grow import grow
    from scionwood.verbs.initialize import initialize
    from scionwood.verbs.join import join
    from scionwood.verbs.merge import merge
    from scionwood.verbs.select import select
    from scionwood.verbs.stack import stack
    from scionwood.verbs.vocabulary import vocabulary

    __version__: str

__all__ = [
    "AnatomyError",
    "Checkpoint",
    "DependencyError",
    "MatchError",
    "MethodError",
    "OutputError",
    "RecipeError",
    "ScionwoodError",
    "SourceError",
    "SymmetryError",
    "__version__",
    "anatomy",
    "apply_adapter",
    "digest",
    "grow",
    "initialize",
    "join",
    "lineage",
    "merge",
    "open",
    "select",
    "stack",
    "vocabulary",
    "write",
]

# Where each public name lives; errors are the rest of __all__.
_HOMES = {
    "Checkpoint": "scionwood.checkpoint",
    "apply_adapter": "scionwood.verbs.adapter",
    "digest": "scionwood.checkpoint",
    "grow": "scionwood.verbs.grow",
    "initialize": "scionwood.verbs.initialize",
    "join": "scionwood.verbs.join",
    "lineage": "scionwood.checkpoint",
    "merge": "scionwood.verbs.merge",
    "open": "scionwood.checkpoint",
    "write": "scionwood.checkpoint",
    "select": "scionwood.verbs.select",
    "stack": "scionwood.verbs.stack",
    "vocabulary": "scionwood.verbs.vocabulary",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        message = f"module 'scionwood' has no attribute {name!r}"
        raise AttributeError(message)
    if name == "__version__":
        from importlib.metadata import version

        value = version("scionwood")
    elif name == "anatomy":
        value = importlib.import_module("scionwood.anatomy")
    else:
        value = getattr(importlib.import_module(_HOMES.get(name, "scionwood.errors")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
