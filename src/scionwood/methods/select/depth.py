"""Which blocks of a source stay: rules from (source depth, target depth) to block numbers.

They are an option of the verb, ``--depth``, not methods: a depth rule makes no weights, and any goes with any
selection. A hierarchical net asks for each stage apart. ``first`` is the default: weight selection found it best
(arXiv:2311.18823).

==================  ============================================================================================
rule                blocks of a source of L kept for a target of n
==================  ============================================================================================
``first``           0 … n - 1
``last``            L - n … L - 1
``even``            round(i (L - 1) / (n - 1)), halves to even: DistilBERT's 0, 2, 4, 7, 9, 11 (arXiv:1910.01108)
``stride``          every (L // n)-th from the first on
``without_middle``  the first (n + 1) // 2 and the last n // 2, as subcloning does (arXiv:2312.09299)
==================  ============================================================================================
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from scionwood.errors import MethodError, nearest
from scionwood.methods.select.spacing import flat, spread, strided

__all__ = ["DEPTH_RULES", "blocks"]


def _without_middle(depth: int, n: int) -> Tensor:
    return torch.cat([torch.arange((n + 1) // 2), torch.arange(depth - n // 2, depth)])


DEPTH_RULES = {
    "first": lambda depth, n: torch.arange(n),  # noqa: ARG005  (all rules are called alike)
    "last": lambda depth, n: torch.arange(depth - n, depth),
    "even": spread,
    "stride": strided,
    "without_middle": _without_middle,
}


def blocks(rule: str | Sequence[int], source: int, target: int) -> list[int]:
    """Return the blocks of a source of one depth that make a target of another, in order.

    >>> blocks("even", 12, 6), blocks("without_middle", 6, 3), blocks([0, 3], 4, 2)
    ([0, 2, 4, 7, 9, 11], [0, 1, 5], [0, 3])

    Args:
        rule: the name of a rule, or the block numbers themselves, increasing.
        source: the number of blocks in the source.
        target: the number of blocks in the target.

    Raises:
        MethodError: an unknown rule, a target deeper than the source, or a list that does not fit.
    """
    flat((source,), (target,))
    if isinstance(rule, str):
        if rule not in DEPTH_RULES:
            raise MethodError(
                f"Unknown depth rule {rule!r}{nearest(rule, list(DEPTH_RULES))}.",
                hint=f"Known are {', '.join(DEPTH_RULES)}, or the block numbers.",
            )
        return DEPTH_RULES[rule](source, target).tolist()
    chosen = list(rule)
    problems: list[str] = []
    if len(chosen) != target:
        problems.append(f"it names {len(chosen)} block{'s' * (len(chosen) != 1)}, and the target has {target}")
    if outside := [number for number in chosen if not 0 <= number < source]:
        problems.append(f"blocks {outside} are not in a source of {source} (0 to {source - 1})")
    if any(b <= a for a, b in pairwise(chosen)):
        problems.append("the numbers must increase; a block taken twice is growing")
    if problems:
        raise MethodError(f"The list of blocks {chosen} does not fit.", problems=problems)
    return chosen
