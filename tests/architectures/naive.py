"""A second opinion: the symmetry checked from an anatomy's JSON alone, in the plainest way, sharing no code with the library."""

from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from scionwood.anatomy import Model

KINDS = {"free", "output", "input", "positional", "part", "kernel", "coarse"}


def shape_errors(described: dict[str, Any]) -> list[str]:
    """Every way in which the JSON is not of its documented form."""
    axes = described["axes"]
    wrong = [f"{name} is {axis['kind']}" for name, axis in axes.items() if axis["kind"] not in KINDS]

    def size(dim: list[str]) -> int:
        result = 1
        for axis in dim:
            result *= axes[axis]["size"]
        return result

    for name, axis in axes.items():
        if "parts" in axis and sum(size(part) for part in axis["parts"]) != axis["size"]:
            wrong.append(f"the parts of {name} do not add up")
    for name, tensor in described["tensors"].items():
        if [size(dim) for dim in tensor["dims"]] != tensor["shape"]:
            wrong.append(f"{name}: {tensor['dims']} is not {tensor['shape']}")
        if len(tensor["roles"]) != len(tensor["shape"]):
            wrong.append(f"{name}: {tensor['roles']}")
    if not isinstance(described["unknown_ops"], list) or not isinstance(described["depth"], dict):
        wrong.append("unknown_ops is a list, depth a dict")
    return wrong


def largest_difference(model: Model, described: dict[str, Any]) -> float:
    """Permute every free axis at once, wherever the JSON shows it, and return how far any output moves."""
    torch.manual_seed(1)
    module = model.rebuild().eval()
    state = module.state_dict()
    for name, tensor in state.items():
        if tensor.is_floating_point():
            tensor.add_(0.1 * torch.randn_like(tensor))
            if name.endswith("running_var"):
                tensor.abs_()
    inputs = [
        torch.randn_like(leaf) if isinstance(leaf, Tensor) and leaf.is_floating_point() else leaf
        for leaf in pytree.tree_leaves(model.inputs)
    ]
    args, kwargs = pytree.tree_unflatten(inputs, pytree.tree_structure(model.inputs))
    before = _numbers(module(*args, **kwargs))
    for axis, entry in described["axes"].items():
        if entry["kind"] != "free" or "parts" in entry:
            continue
        order = torch.randperm(entry["size"])
        for name, tensor in described["tensors"].items():
            for place, dim in enumerate(tensor["dims"]):
                if axis in dim:
                    state[name].copy_(_permuted(state[name], place, dim, axis, order, described["axes"]))
    for one in module.modules():
        # Biases that were computed once from the weights are computed anew.
        if isinstance(getattr(one, "attention_bias_cache", None), dict):
            one.attention_bias_cache.clear()
    after = _numbers(module(*args, **kwargs))
    return max(float((a - b).abs().max() / b.abs().max().clamp_min(1e-6)) for a, b in zip(after, before))


def _permuted(tensor: Tensor, place: int, dim: list[str], axis: str, order: Tensor, axes: dict[str, Any]) -> Tensor:
    sizes = [axes[name]["size"] for name in dim]
    split = tensor.reshape(*tensor.shape[:place], *sizes, *tensor.shape[place + 1 :])
    for offset, name in enumerate(dim):
        if name == axis:
            split = split.index_select(place + offset, order)
    return split.reshape(tensor.shape)


def _numbers(outputs: Any) -> list[Tensor]:
    leaves = (leaf for leaf in pytree.tree_leaves(outputs) if isinstance(leaf, Tensor) and leaf.is_floating_point())
    return [leaf.detach().clone() for leaf in leaves if leaf.numel()]
