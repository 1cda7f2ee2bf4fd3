"""Which blocks of a source a deeper target has, and which of them must do nothing yet.

They are an option of the verb, ``--depth``, not methods: a depth rule makes no weights, and any goes with any growth of
the width, or alone. Nets with several lists of blocks are asked list by list.

====================  ================================================================================================
rule                  blocks of a target of n, from a source of L
====================  ================================================================================================
``block_expansion``   after every s = L / (n - L) blocks a copy of the last of them that does nothing yet: what its
                      branches add to the stream is zero (LLaMA-Pro, Wu et al., 2024, arXiv:2401.02415)
``stack``             i mod L: the whole stack again (Gong et al., 2019)
``interleave``        every block, so many times in a row, the first ones once more where n is no multiple
``depth_up_scaling``  the first n / 2 and the last n / 2 (SOLAR, Kim et al., 2023, arXiv:2312.15166)
``stage_sharing``     every block several times in a row, the last ones once more where n is no multiple: the blocks are the
                      stages of a learngene (SWS, Xia et al., 2024, arXiv:2404.16897)
``linear_expansion``  block l is B + l / n A, l = 0 … n - 1: the source's two blocks B and A are a learngene (TLEG, Xia et al.,
                      2023, arXiv:2312.05614)
====================  ================================================================================================

Only ``block_expansion`` leaves the function as it is, and only where blocks add to a stream that passes on unchanged.
LLaMA-Pro's own script fails where s is no whole number (32 to 41); here it is an error that says which depths there are.
"""

from collections.abc import Sequence

from scionwood.errors import MethodError, nearest
from scionwood.methods.grow.learngene import allocate

__all__ = ["DEPTH_RULES", "EXPANSION", "Deeper", "check_rule", "deeper"]

Deeper = tuple[tuple[int, bool], ...]
"""For every block of the target: the block of the source, and whether it must do nothing."""

EXPANSION = "linear_expansion"
"""The rule by which block 1 is no block, but the slope that is added to block 0: see ``learngene.expanded``."""


def _block_expansion(depth: int, n: int) -> Deeper:
    more = n - depth
    if more <= 0:
        return tuple((block, False) for block in range(n))
    if more < depth and depth % more == 0:
        every, times = depth // more, 1
    elif more % depth == 0:
        every, times = 1, more // depth
    else:
        reached = sorted({depth + k for k in range(1, depth) if depth % k == 0} | {depth * k for k in (2, 3, 4)})
        near = min(reached, key=lambda other: (abs(other - n), other))
        raise MethodError(
            f"block_expansion adds a block after every s, and {more} more blocks do not go into {depth} evenly",
            hint=f"from {depth} it reaches {', '.join(map(str, reached[:8]))}; nearest is {near}. "
            "stack, interleave and an explicit list reach any depth",
        )
    found: list[tuple[int, bool]] = []
    for block in range(depth):
        found.append((block, False))
        if (block + 1) % every == 0:
            found.extend([(block, True)] * times)
    return tuple(found)


def _stack(depth: int, n: int) -> Deeper:
    return tuple((block % depth, False) for block in range(n))


def _interleave(depth: int, n: int) -> Deeper:
    times, rest = divmod(n, depth)
    return tuple((block, False) for block in range(depth) for _ in range(times + (block < rest)))


def _stage_sharing(depth: int, n: int) -> Deeper:
    return tuple((block, False) for block, times in enumerate(allocate(n, [1] * depth)) for _ in range(times))


def _linear_expansion(depth: int, n: int) -> Deeper:
    if depth != 2:
        raise MethodError(
            f"linear_expansion expands two blocks, B and A, not {depth}",
            hint="a learngene of linear expansion is trained by scionwood.train.growth.learngene.LinearExpansion; "
            "stage_sharing, stack and interleave serve any number of blocks",
        )
    return ((0, False),) * n


def _depth_up_scaling(depth: int, n: int) -> Deeper:
    if n > 2 * depth:
        raise MethodError(
            f"depth_up_scaling joins two copies of {depth} blocks, and so reaches at most {2 * depth}, not {n}",
            hint="stack and interleave reach any depth",
        )
    first, last = -(-n // 2), n // 2
    return tuple((block, False) for block in [*range(first), *range(depth - last, depth)])


DEPTH_RULES = {
    "block_expansion": _block_expansion,
    "stack": _stack,
    "interleave": _interleave,
    "depth_up_scaling": _depth_up_scaling,
    "stage_sharing": _stage_sharing,
    EXPANSION: _linear_expansion,
}
"""Name → rule."""


def check_rule(rule: str | Sequence[int]) -> None:
    """Refuse a name that no rule has, whether anything grows by it or not.

    >>> check_rule("stack"), check_rule([0, 0, 1])
    (None, None)

    Raises:
        MethodError: an unknown rule.
    """
    if isinstance(rule, str) and rule not in DEPTH_RULES:
        raise MethodError(
            f"unknown depth rule {rule!r}{nearest(rule, list(DEPTH_RULES))}",
            hint=f"there are {', '.join(DEPTH_RULES)}, or the blocks' numbers",
        )


def deeper(rule: str | Sequence[int], depth: int, n: int) -> Deeper:
    """Return which block of the source every block of the target is, and whether it must do nothing yet.

    >>> [block for block, _ in deeper("depth_up_scaling", 8, 12)]
    [0, 1, 2, 3, 4, 5, 2, 3, 4, 5, 6, 7]
    >>> deeper("block_expansion", 4, 6)
    ((0, False), (1, False), (1, True), (2, False), (3, False), (3, True))
    >>> [block for block, _ in deeper("stage_sharing", 3, 7)]
    [0, 0, 1, 1, 2, 2, 2]

    Args:
        rule: a name, or the blocks of the source themselves.
        depth: how many blocks the source has.
        n: how many the target has, as many or more.

    Raises:
        MethodError: an unknown rule, one that does not reach this depth, or a list that does not fit.
    """
    if not isinstance(rule, str):
        chosen = list(rule)
        wrong = [block for block in chosen if not 0 <= block < depth]
        if wrong or len(chosen) != n:
            said = f"block {wrong[0]} is not among 0 to {depth - 1}" if wrong else f"{len(chosen)} blocks, not {n}"
            raise MethodError(f"the list of blocks does not fit {n} blocks from {depth}: {said}")
        return tuple((block, False) for block in chosen)
    check_rule(rule)
    if n == depth and rule != EXPANSION:
        return tuple((block, False) for block in range(n))
    return DEPTH_RULES[rule](depth, n)
