"""The flow through a model: which weights its graph uses, in the order of execution, and what each of them is there.

What an initialiser or a growth rule must know beyond axes is read off the exported graph, node by node, never off the
names of classes: which activation function a weight reads, which residual branch it lies in and whether it ends it,
which projection of which attention it is, and how it is stored.

A sum is residual where one side, the **stream**, is what the other side, the **branch**, was computed from, with a
weight in between; or where both were computed from one value of another shape, so that the stream is projected. Of a
parallel block, x + f(x) + g(x), each path is a branch, however the sum is written.
"""

from __future__ import annotations

from scionwood.anatomy.build import Model
from scionwood.anatomy.flow.follow import Follower
from scionwood.anatomy.flow.records import Branch, Flow, Projection, Residual, Use

__all__ = ["Branch", "Flow", "Projection", "Residual", "Use", "flow"]


def flow(model: Model) -> Flow:
    """Follow a model's graph once.

    >>> import torch
    >>> from torch import nn
    >>> from scionwood.anatomy import from_module
    >>> net = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2))
    >>> [(use.tensor, use.kind, use.reads, use.head) for use in flow(from_module(net, torch.zeros(1, 3))).uses]
    [('0.weight', 'linear', 'input', False), ('0.bias', 'bias', 'input', False), ('2.weight', 'linear', 'relu', True), ('2.bias', 'bias', 'relu', True)]
    """
    return Follower(model).result()
