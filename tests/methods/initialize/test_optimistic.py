"""Optimistic values: what every state is worth at first, and a bandit that tries every arm."""

import torch

from scionwood.methods.initialize.optimistic import optimistic
from scionwood.methods.initialize.site import Site


def pulls(start, steps=200):
    """Greedy on five arms with means 0 to 4 and unit noise; the step size is 0.1. The order in which arms are pulled."""
    draw = torch.Generator().manual_seed(0)
    table = optimistic(Site("table.weight", "embedding", (5, 1), head=True), value=start).flatten()
    order = []
    for _ in range(steps):
        arm = int(table.argmax())
        order.append(arm)
        table[arm] += 0.1 * (arm + torch.randn((), generator=draw) - table[arm])
    return order


def test_every_arm_is_tried_first():
    assert set(pulls(100.0)[:5]) == {0, 1, 2, 3, 4}
    assert len(set(pulls(0.0))) < 5


def test_worked_value_and_every_state():
    table = optimistic(Site("t.weight", "embedding", (50, 1), head=True), value=320000.0, active=64)
    assert bool((table == 5000).all())
    looked_up = torch.randint(50, (10, 64), generator=torch.Generator().manual_seed(0))
    assert bool((table[looked_up].sum(dim=(1, 2)) == 320000).all())


def test_a_linear_head_takes_it_on_its_bias():
    bias = optimistic(Site("head.bias", "bias", (3,), head=True), value=2.5)
    assert bias.tolist() == [2.5, 2.5, 2.5]
    for site in (
        Site("head.weight", "linear", (3, 3), head=True),
        Site("hidden.bias", "bias", (3,)),
        Site("tokens.weight", "embedding", (3, 3)),
    ):
        assert optimistic(site, value=2.5) is None


def test_the_row_of_padding_is_worth_nothing():
    assert optimistic(Site("t", "embedding", (3, 1), head=True, padding=1), value=8.0).tolist() == [[8.0], [0.0], [8.0]]
