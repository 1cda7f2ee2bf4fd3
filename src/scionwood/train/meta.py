"""Meta-learned initial weights: a start from which a few steps fit any of a family of tasks (Tancik et al., 2020, arXiv:2012.02189).

    inner    theta_(k+1) = theta_k - rate grad L_task(theta_k),   steps times from theta
    MAML     g = d/d theta mean_tasks L_task(theta_steps(theta))       (Finn et al., 2017, arXiv:1703.03400)
    Reptile  g = mean_tasks (theta - theta_steps)                      (Nichol et al., 2018, arXiv:1803.02999)

Parameters that are frozen stay as they are, and one that a task does not use has a gradient of zero. Buffers, the
running statistics of a BatchNorm say, are copied for each task: neither the inner steps nor the outer one change them.

g goes to an outer optimiser (Adam in the paper, at 1e-5 for images). Start from the weights learned with the same inner
rate and number of steps: with others the benefit is lost. MAML differentiates through the inner steps, and keeps them
all in memory; Reptile does not, and its g is not divided by the rate, as in the published code.

Three waves of different phase and a sine network of 32 by 32: mean loss after two inner steps 0.18 from a random start,
1.2e-4 from one learned in 200 MAML steps.
"""

from collections.abc import Callable, Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.func import functional_call

from scionwood.errors import MethodError

__all__ = ["Algorithm", "Loss", "adapted", "meta_step"]

Algorithm = Literal["maml", "reptile"]
Loss = Callable[[Callable[..., Tensor]], Tensor]


def adapted(
    model: nn.Module, loss: Loss, *, rate: float = 1e-2, steps: int = 2, differentiable: bool = False
) -> dict[str, Tensor]:
    """Return the parameters after the inner steps of one task; the model is left as it is, its buffers too.

    >>> model = nn.Linear(1, 1, bias=False)
    >>> model.weight.data.fill_(2.0)
    tensor([[2.]])
    >>> adapted(model, lambda call: call(torch.ones(1, 1)).sum(), rate=0.5, steps=2)["weight"].item()
    1.0

    Args:
        model: whose parameters are the start.
        loss: of a task: it is handed what to call in place of the model.
        rate: of plain gradient descent; the default is that of the published image demo.
        steps: how many; likewise.
        differentiable: keep the graph from the result to the start, as MAML needs it.

    Raises:
        MethodError: every parameter is frozen, or the loss depends on none.
    """
    current = _learned(model)
    buffers = _copied(model)
    if not differentiable:
        current = {name: value.detach().requires_grad_() for name, value in current.items()}
    for _ in range(steps):
        gradients = _gradients(loss(_with(model, current, buffers)), current, differentiable=differentiable)
        current = {name: value - rate * gradients[name] for name, value in current.items()}
        if not differentiable:
            current = {name: value.detach().requires_grad_() for name, value in current.items()}
    whole = {name: current.get(name, value) for name, value in model.named_parameters()}
    return whole if differentiable else {name: value.detach() for name, value in whole.items()}


def meta_step(
    model: nn.Module,
    losses: Sequence[Loss],
    *,
    algorithm: Algorithm = "maml",
    rate: float = 1e-2,
    steps: int = 2,
) -> None:
    """Put the outer gradient of a batch of tasks into the parameters' ``grad``, for any optimiser to step on.

    >>> model = nn.Linear(1, 1, bias=False)
    >>> meta_step(model, [lambda call: 3 * call(torch.ones(1, 1)).sum()], algorithm="reptile", rate=0.5, steps=2)
    >>> model.weight.grad.item()
    3.0

    Args:
        model: whose parameters are the start.
        losses: of the tasks.
        algorithm: maml or reptile.
        rate: of the inner steps.
        steps: how many.

    Raises:
        MethodError: an unknown algorithm, no task, every parameter is frozen, or a loss depends on none.
    """
    if algorithm not in get_args(Algorithm):
        raise MethodError(f"The algorithm is one of {', '.join(get_args(Algorithm))}, not {algorithm!r}.")
    if not losses:
        raise MethodError("A meta step needs at least one task.")
    parameters = _learned(model)
    total = {name: torch.zeros_like(value) for name, value in parameters.items()}
    for loss in losses:
        if algorithm == "maml":
            found = adapted(model, loss, rate=rate, steps=steps, differentiable=True)
            gradients = _gradients(loss(_with(model, found, _copied(model))), parameters)
        else:
            found = adapted(model, loss, rate=rate, steps=steps)
            gradients = {name: value.detach() - found[name] for name, value in parameters.items()}
        for name, gradient in gradients.items():
            total[name] += gradient / len(losses)
    for name, value in parameters.items():
        value.grad = total[name]


def _learned(model: nn.Module) -> dict[str, Tensor]:
    """Return the parameters that are not frozen."""
    found: dict[str, Tensor] = {name: value for name, value in model.named_parameters() if value.requires_grad}
    if not found:
        raise MethodError(
            f"{type(model).__name__} has no parameter to learn: every one is frozen.",
            hint="model.requires_grad_() thaws them",
        )
    return found


def _copied(model: nn.Module) -> dict[str, Tensor]:
    return {name: buffer.detach().clone() for name, buffer in model.named_buffers()}


def _gradients(loss: Tensor, parameters: dict[str, Tensor], *, differentiable: bool = False) -> dict[str, Tensor]:
    """Return the gradient by each parameter; zeros for one that is not used."""
    if not loss.requires_grad:
        raise MethodError(
            "The loss of a task depends on no parameter that is learned.",
            hint="a task's loss calls what it is handed in place of the model, and does not detach what that gives",
        )
    found = torch.autograd.grad(
        loss, list(parameters.values()), create_graph=differentiable, allow_unused=True, materialize_grads=True
    )
    return dict(zip(parameters, found, strict=True))


def _with(model: nn.Module, parameters: dict[str, Tensor], buffers: dict[str, Tensor]) -> Callable[..., Tensor]:
    """Return the model as a function, with other parameters and buffers."""
    return lambda *inputs: functional_call(model, {**parameters, **buffers}, inputs)
