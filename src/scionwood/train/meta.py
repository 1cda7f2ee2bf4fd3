"""Meta-learned initial weights: a start from which a few steps fit any of a family of tasks (Tancik et al., 2020, arXiv:2012.02189).

    inner    theta_(k+1) = theta_k - rate grad L_task(theta_k),   steps times from theta
    MAML     g = d/d theta mean_tasks L_task(theta_steps(theta))       (Finn et al., 2017, arXiv:1703.03400)
    Reptile  g = mean_tasks (theta - theta_steps)                      (Nichol et al., 2018, arXiv:1803.02999)

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
    """Return the parameters after the inner steps of one task; the model is left as it is.

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
    """
    current: dict[str, Tensor] = dict(model.named_parameters())
    if not differentiable:
        current = {name: value.detach().requires_grad_() for name, value in current.items()}
    for _ in range(steps):
        gradients = torch.autograd.grad(
            loss(_with(model, current)), list(current.values()), create_graph=differentiable
        )
        current = {
            name: value - rate * gradient for (name, value), gradient in zip(current.items(), gradients, strict=True)
        }
        if not differentiable:
            current = {name: value.detach().requires_grad_() for name, value in current.items()}
    return current if differentiable else {name: value.detach() for name, value in current.items()}


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
        MethodError: an unknown algorithm, or no task.
    """
    if algorithm not in get_args(Algorithm):
        raise MethodError(f"The algorithm is one of {', '.join(get_args(Algorithm))}, not {algorithm!r}.")
    if not losses:
        raise MethodError("A meta step needs at least one task.")
    parameters = dict(model.named_parameters())
    total = {name: torch.zeros_like(value) for name, value in parameters.items()}
    for loss in losses:
        if algorithm == "maml":
            found = adapted(model, loss, rate=rate, steps=steps, differentiable=True)
            gradients = torch.autograd.grad(loss(_with(model, found)), list(parameters.values()))
        else:
            found = adapted(model, loss, rate=rate, steps=steps)
            gradients = [value.detach() - found[name] for name, value in parameters.items()]
        for name, gradient in zip(parameters, gradients, strict=True):
            total[name] += gradient / len(losses)
    for name, value in parameters.items():
        value.grad = total[name]


def _with(model: nn.Module, parameters: dict[str, Tensor]) -> Callable[..., Tensor]:
    """Return the model as a function, with other parameters."""
    return lambda *inputs: functional_call(model, parameters, inputs)
