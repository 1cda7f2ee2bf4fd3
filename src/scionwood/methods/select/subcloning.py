"""Weight subcloning: the most important channels, rescaled for what is gone (Samragh et al., 2023, arXiv:2312.09299).

The channels of the residual stream are ranked once for all layers by mean |activation| over tokens and layers, heads
and hidden units by block; the first d of D are taken. A sum over d terms has d / D of the variance that it had over D,
so tensors that read a cut axis are multiplied by

    gain = sqrt(D / d)

which brings the pre-activations back to their scale: with W ~ N(0, 1/D) and x ~ N(0, 1), the variance of W x is d / D
after the cut and 1 after rescaling. The argument needs terms that are about independent and equally large. It hurts
where they are not: a ranking that keeps the channels which carried the sum, or channels that a following norm rescales
anyway, leaves the gain too large. Blocks come out of the middle: ``--depth without_middle``.

No code is published: the importance and the rescaling are as the paper describes them, and ties go to the first index.
"""

import math
from collections.abc import Sequence
from typing import Literal

from torch import Tensor

from scionwood.methods.record import method
from scionwood.methods.select.choice import Choice
from scionwood.methods.select.ranking import highest
from scionwood.methods.select.spacing import flat

__all__ = ["reading_gain", "subcloning"]


@method(
    unit="axis",
    scores="activation",
    statistics={"activation"},
    laws={"identity", "increasing", "nested", "equivariant"},
    paper="2312.09299",
)
def subcloning(
    source: Sequence[int],
    target: Sequence[int],
    scores: Tensor,
    *,
    rescale: Literal["variance"] | None = "variance",
) -> Choice:
    """Return the indices with the highest scores, ascending, and the gain of the tensors that read the axis.

    >>> import torch
    >>> choice = subcloning((8,), (2,), torch.arange(8.0))
    >>> choice.index.tolist(), choice.gain
    ([6, 7], 2.0)

    Args:
        source: the sizes of the source's axes, outermost first.
        target: the sizes of the target's axes, outermost first.
        scores: the mean absolute activation of each index.
        rescale: variance multiplies what reads the axis by sqrt(D / d); none leaves the weights as they are.

    Raises:
        MethodError: the target is larger than the source, or the scores are not one number for each index.
    """
    n, m = flat(source, target)
    return Choice(highest(scores, n, m), reading_gain(n, m) if rescale == "variance" else 1.0)


def reading_gain(n: int, m: int) -> float:
    """Return sqrt(n / m), the factor that keeps the variance of a sum of n terms when m of them are left.

    >>> reading_gain(768, 192)
    2.0
    """
    return math.sqrt(n / m)
