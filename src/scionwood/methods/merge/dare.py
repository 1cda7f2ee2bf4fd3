"""DARE: drop most of each task vector at random and rescale the rest (Yu et al., 2023, arXiv:2311.03099).

    m ~ Bernoulli(density),   delta~_i = m_i * delta_i / density,   theta = theta_0 + sum_i w_i delta~_i

The expectation is the task vector itself; fine-tuned deltas are so redundant that 90 % of their entries may go. It
makes task vectors overlap less before they are added, or elected over (``consensus``). It hurts where deltas are large:
after long continued training the variance of the rescaled entries destroys the model.

The paper divides by the density. mergekit, since 0.1.0, scales so that the sum of magnitudes stays what it was:
``rescale="l1"``. The paper's variant that drops the smallest entries instead is ``breadcrumbs`` with gamma 0.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

from torch import Tensor

from scionwood.methods.merge.consensus import agree
from scionwood.methods.merge.dropping import Uniform, keep, l1_factors, magnitudes
from scionwood.methods.merge.geometry import add_up
from scionwood.methods.merge.weighting import Densities, Weights, spread, spread_weights
from scionwood.methods.record import Finite, method
from scionwood.methods.summary import Sum

__all__ = ["dare"]


def _kept(deltas: Sequence[Tensor], uniforms: Sequence[Uniform], densities: Sequence[float]) -> Iterator[Tensor]:
    """What is kept of each delta, made when it is asked for: three at once would leave the nearest cache."""
    return (keep(*drawn) for drawn in zip(deltas, uniforms, densities, strict=True))


def _lengths(deltas: Sequence[Tensor], found: Mapping[str, Any], options: Mapping[str, Any]) -> Tensor:
    densities = spread(options["density"], len(deltas), "densities")
    return magnitudes(deltas, _kept(deltas, found["uniforms"], densities))


@method(
    space="delta",
    scope="element",
    laws={"homogeneous"},
    paper="2311.03099",
    summaries=[Sum("lengths", _lengths, when=lambda options: options["rescale"] == "l1", needs=("uniforms",))],
)
def dare(
    deltas: Sequence[Tensor],
    uniforms: Sequence[Uniform],
    lengths: Tensor | None = None,
    *,
    density: Densities = 0.1,
    weights: Weights = 1.0,
    consensus: bool = False,
    normalize: bool = False,
    rescale: Literal["inverse_density", "l1"] | None = "inverse_density",
    scale: Annotated[float, Finite()] = 1.0,
) -> Tensor:
    """Return the merged task vector.

    >>> import torch
    >>> from scionwood.methods.merge.dropping import Drawn
    >>> drawn = Drawn(torch.tensor([0.1, 0.9, 0.3, 0.6]))
    >>> dare([torch.tensor([0.1, 0.2, 0.3, 0.4])], [drawn], density=0.5)
    tensor([0.2000, 0.0000, 0.6000, 0.0000])

    Args:
        deltas: the difference of each model to the base.
        uniforms: random numbers in [0, 1); an entry is kept where its number is below the density.
        lengths: the sum of magnitudes of each delta, and of what is kept of it.
        density: the share of entries that is kept, one for all models or one for each; the paper keeps 10 %, and 1 %
            for instruction tuning. At 1 nothing is dropped.
        weights: of the models.
        consensus: keep only what has the elected sign, as TIES does.
        normalize: divide by the weights; of what was kept, element by element, with consensus.
        rescale: what makes up for the entries dropped.
        scale: of the result.

    Raises:
        MethodError: the weights or the densities do not fit the models.
    """
    densities = spread(density, len(deltas), "densities")
    if lengths is not None:
        factors = l1_factors(lengths)
    else:
        factors = [1 / each if rescale == "inverse_density" else 1.0 for each in densities]
    kept = _kept(deltas, uniforms, densities)
    # One factor for all may wait for the sum; with factors of their own the deltas vote by what they have become.
    alike = len(set(factors)) == 1
    if not alike:
        kept = (delta.mul_(each) for delta, each in zip(kept, factors, strict=True))
    if consensus:
        result = agree(list(kept), spread_weights(weights, len(deltas)), normalize=normalize)
    else:
        result = add_up(kept, spread_weights(weights, len(deltas), normalize=normalize))
    return result.mul_(factors[0] * scale if alike else scale)
