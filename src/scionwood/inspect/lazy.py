"""Rich or lazy: how much a network changed its features, in four measures (Liu et al., 2023, arXiv:2310.08513).

    |W_f - W_0|_F      <K_f, K_0> / (|K_f| |K_0|) of hidden states, K = H H^T, and of tangent kernels
    the share of hidden units that keep their sign

A lazy network hardly moves: alignments near 1, small weight changes, signs kept. The kernels are not centred, so this is
not CKA. Lower rank of the first weights is richer, and the alignment of the tangent kernel says so; the weight change
need not (it is smaller at rank 1, where the weights have fewer directions to move in).

Two ranks that are no whole numbers are for reporting: the exponential of the entropy of s / sum s, and the participation
ratio (sum s^2)^2 / sum s^4.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.func import functional_call

__all__ = [
    "entropy_rank",
    "participation_ratio",
    "representation_alignment",
    "sign_similarity",
    "tangent_alignment",
    "tangent_kernel",
    "weight_change",
]


def weight_change(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> float:
    """Return the length of the change over all weights that both have.

    >>> weight_change({"w": torch.zeros(2)}, {"w": torch.tensor([3.0, 4.0])})
    5.0
    """
    squares = [
        (after[name].double() - before[name].double()).detach().square().sum() for name in before if name in after
    ]
    return float(torch.stack(squares).sum().sqrt()) if squares else 0.0


def representation_alignment(before: Tensor, after: Tensor) -> float:
    """Return the cosine between the kernels H H^T of two (examples, units), not centred.

    >>> representation_alignment(torch.eye(2), 3 * torch.eye(2))
    1.0
    """
    return _cosine(_gram(before), _gram(after))


def sign_similarity(before: Tensor, after: Tensor) -> float:
    """Return the share of hidden values whose sign is the same.

    >>> sign_similarity(torch.tensor([1.0, -1.0, 0.0]), torch.tensor([2.0, 1.0, 0.0])) == 2 / 3
    True
    """
    return float((before.sign() == after.sign()).double().mean())


def tangent_kernel(model: nn.Module, inputs: Tensor, parameters: Mapping[str, Tensor] | None = None) -> Tensor:
    """Return the inner products of the gradients of every output at every example: (n outputs, n outputs), float64.

    >>> tangent_kernel(nn.Linear(2, 1, bias=False), torch.tensor([[1.0, 0.0], [1.0, 2.0]])).tolist()
    [[1.0, 1.0], [1.0, 5.0]]

    Args:
        model: gives (examples, outputs) from the inputs.
        inputs: a batch of examples.
        parameters: those to differentiate by, at the values given; all of the model's own otherwise.
    """
    own = {name: parameter.detach() for name, parameter in model.named_parameters()}
    values = {name: tensor.detach() for name, tensor in (parameters or own).items()}

    def outputs(changed: dict[str, Tensor]) -> Tensor:
        return functional_call(model, {**own, **changed}, (inputs,)).reshape(-1)

    jacobian: Callable[[dict[str, Tensor]], dict[str, Tensor]] = torch.func.jacrev(outputs)
    rows = torch.cat([block.flatten(1).double() for block in jacobian(values).values()], dim=1)
    return rows @ rows.T


def tangent_alignment(
    model: nn.Module, inputs: Tensor, before: Mapping[str, Tensor], after: Mapping[str, Tensor]
) -> float:
    """Return the cosine between the tangent kernels of two sets of parameters.

    >>> model, inputs = nn.Linear(3, 2), torch.ones(4, 3)
    >>> weights = dict(model.named_parameters())
    >>> round(tangent_alignment(model, inputs, weights, {name: 2 * tensor for name, tensor in weights.items()}), 12)
    1.0
    """
    return _cosine(tangent_kernel(model, inputs, before), tangent_kernel(model, inputs, after))


def entropy_rank(matrix: Tensor) -> float:
    """Return exp(entropy of s / sum s), of the singular values s.

    >>> round(entropy_rank(torch.eye(4)), 12)
    4.0
    """
    shares = _values(matrix)
    shares = shares[shares > 0] / shares.sum()
    return float((-(shares * shares.log()).sum()).exp())


def participation_ratio(matrix: Tensor) -> float:
    """Return (sum s^2)^2 / sum s^4, of the singular values s.

    >>> round(participation_ratio(torch.eye(4)), 12)
    4.0
    """
    squares = _values(matrix).square()
    return float(squares.sum().square() / squares.square().sum())


def _values(matrix: Tensor) -> Tensor:
    return torch.linalg.svdvals(matrix.detach().double().reshape(len(matrix), -1))


def _gram(states: Tensor) -> Tensor:
    flat = states.detach().double().reshape(len(states), -1)
    return flat @ flat.T


def _cosine(left: Tensor, right: Tensor) -> float:
    return float((left * right).sum() / (left.norm() * right.norm()))
