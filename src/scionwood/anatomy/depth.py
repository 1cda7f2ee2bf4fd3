"""Depth: the lists of repeated blocks in a module, and names with their indices."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from torch import nn

__all__ = ["block_lists", "block_of", "indices_in", "kept_blocks", "shared_path", "template", "through"]


def block_lists(module: nn.Module) -> dict[str, int]:
    """Find every list of repeated blocks and its length.

    A list is a module whose children are numbered from zero. A ``ModuleList`` always counts; a ``Sequential`` counts where its children
    are of one class and have parts of their own (a stage of residual blocks), not where it is a chain of single layers.

    >>> block = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    >>> block_lists(nn.ModuleDict({"body": nn.ModuleList([block, block]), "head": nn.Linear(2, 2)}))
    {'body': 2}
    """
    found: dict[str, int] = {}
    for path, part in module.named_modules(remove_duplicate=False):
        # Not named_children: a block that occurs twice counts twice.
        children = {name: child for name, child in part._modules.items() if child is not None}
        if not children or list(children) != [str(index) for index in range(len(children))]:
            continue
        classes = {type(child) for child in children.values()}
        blocks = all(next(child.children(), None) is not None for child in children.values())
        if isinstance(part, nn.ModuleList) or (len(classes) == 1 and blocks):
            found[path] = len(children)
    return found


def indices_in(name: str, lists: Mapping[str, int]) -> Iterator[tuple[str, int]]:
    """Every block list that a name passes through, outermost first, with the index it takes.

    >>> list(indices_in("body.1.0.weight", {"body": 2}))
    [('body', 1)]
    """
    segments = name.split(".")
    for end, segment in enumerate(segments):
        path = ".".join(segments[:end])
        if path in lists and segment.isdigit():
            yield path, int(segment)


def block_of(name: str, lists: Mapping[str, int]) -> str | None:
    """The innermost block that a name lies in, or nothing.

    >>> block_of("body.1.0.weight", {"body": 2})
    'body.1'
    """
    inside = list(indices_in(name, lists))
    return f"{inside[-1][0]}.{inside[-1][1]}" if inside else None


def template(name: str, lists: Mapping[str, int]) -> str:
    """The name with every block index replaced by ``*``: what repeated blocks have in common.

    >>> template("body.1.0.weight", {"body": 2})
    'body.*.0.weight'
    """
    segments = name.split(".")
    return ".".join(
        "*" if segment.isdigit() and ".".join(segments[:end]) in lists else segment
        for end, segment in enumerate(segments)
    )


def through(name: str, depth: Mapping[str, Sequence[int]]) -> str:
    """A target's name with every block index mapped to the source's.

    >>> through("stages.1.layers.0.weight", {"stages": (0, 2), "stages.1.layers": (3,)})
    'stages.2.layers.3.weight'
    """
    segments = name.split(".")
    origin = list(segments)
    for path, index in indices_in(name, {path: len(chosen) for path, chosen in depth.items()}):
        place = len(path.split(".")) if path else 0
        chosen = depth[path]
        origin[place] = str(chosen[index]) if index < len(chosen) else f"{index} (the target is deeper)"
    return ".".join(origin)


def kept_blocks(depth: Mapping[str, Sequence[int]]) -> dict[str, set[int]]:
    """For every block list of the source, the blocks that the target takes.

    >>> kept_blocks({"stages": (0, 2), "stages.1.layers": (0, 1)})
    {'stages': {0, 2}, 'stages.2.layers': {0, 1}}
    """
    kept: dict[str, set[int]] = {}
    for path, chosen in depth.items():
        kept.setdefault(through(path, depth), set()).update(chosen)
    return kept


def shared_path(names: Iterable[str]) -> str:
    """The longest path that all these names begin with, segment by segment.

    >>> shared_path(["a.b.c", "a.b.d.e"])
    'a.b'
    """
    paths = [name.split(".") for name in names]
    result: list[str] = []
    for column in zip(*paths, strict=False):
        if len(set(column)) > 1:
            break
        result.append(column[0])
    return ".".join(result)
