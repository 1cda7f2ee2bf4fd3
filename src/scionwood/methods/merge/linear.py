"""Linear: the weighted average of the models (Wortsman et al., 2022, arXiv:2203.05482).

    theta = sum_i w_i theta_i / sum_i w_i

Averaging models that were fine-tuned from one start often beats the best of them; models that never shared a start lie
in different basins, and their average is worth nothing until they are aligned. Unnormalised, the weights are taken as
they are.

It is what several recipes come down to: the uniform soup; stochastic weight averaging (arXiv:1803.05407), of the ends
of cycles; the soup of text-embedding models (KaLM-Embedding-V2, arXiv:2506.20923), which must share their start since
embedding spaces are defined up to a rotation; the average of runs at several image resolutions (MindVL), which must
have position tables of one size. Statistics of batch normalisation must be measured anew after any of them.
"""

from collections.abc import Sequence

from torch import Tensor

from scionwood.methods.merge.geometry import add_up, average
from scionwood.methods.merge.weighting import Weights, spread_weights
from scionwood.methods.record import method

__all__ = ["linear"]


@method(
    space="weight",
    scope="element",
    laws={"alone", "homogeneous", "idempotent", "linear", "permutation"},
    paper="2203.05482",
)
def linear(tensors: Sequence[Tensor], *, weights: Weights = 1.0, normalize: bool = True) -> Tensor:
    """Return the weighted sum of the tensors, divided by the sum of the weights.

    >>> import torch
    >>> linear([torch.tensor([1.4, 0.9]), torch.tensor([0.8, 1.3])], weights=(1, 0.5), normalize=False)
    tensor([1.8000, 1.5500])

    Args:
        tensors: one tensor from each model.
        weights: of the models.
        normalize: divide by the sum of the weights.

    Raises:
        MethodError: the weights do not fit the models, or sum to zero.
    """
    listed = spread_weights(weights, len(tensors), normalize=normalize)
    return average(tensors, listed) if normalize else add_up(tensors, listed)
