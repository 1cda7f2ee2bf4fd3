"""Mimetic initialisation: the products of an attention's projections, not the projections, are what it sets."""

import functools

import pytest
import torch

from scionwood.methods.initialize.mimetic import mimetic
from scionwood.methods.initialize.site import Attention, Site
from scionwood.verbs.fresh import generator_for

draws = functools.partial(generator_for, 0)


def projections(d: int, heads: int, kv_heads: int | None = None, width: int | None = None, **options: float):
    """The four weights of an attention, each asked for by itself, in torch's layout."""
    kv_heads, width = kv_heads or heads, width or d // heads
    shapes = {"query": (heads * width, d), "key": (kv_heads * width, d), "value": (kv_heads * width, d)}
    shapes["output"] = (d, heads * width)
    made = {}
    for role, shape in shapes.items():
        site = Site(role, "linear", shape, attention=Attention(role, heads, kv_heads, width, "a"))
        made[role] = mimetic(site, draws, **options).double()
    return made


def scores(made, head: int, width: int, kv_head: int | None = None):
    """W_Q W_K^T of one head in the row convention."""
    kv_head = head if kv_head is None else kv_head
    query = made["query"][head * width : (head + 1) * width].T
    return query @ made["key"][kv_head * width : (kv_head + 1) * width]


def test_without_noise_queries_and_keys_are_a_projector_and_values_minus_the_identity():
    made = projections(64, 4, alpha_qk=0.0, alpha_vo=0.0)
    for head in range(4):
        product = scores(made, head, 16)
        assert float(product.trace()) == pytest.approx(0.7 * 16, abs=1e-4)
        assert torch.allclose(product @ product, 0.7 * product, atol=1e-5)
    assert torch.allclose(made["value"].T @ made["output"].T, -0.4 * torch.eye(64).double(), atol=1e-6)


def test_the_whole_product_of_values_and_output_is_the_target():
    made = projections(64, 4)
    noise = torch.randn(64, 64, generator=draws("mimetic", "a", "vo"), dtype=torch.float64) / 8
    target = 0.4 * noise - 0.4 * torch.eye(64)
    assert torch.allclose(made["value"].T @ made["output"].T, target, atol=1e-6)
    # The matrix with the same trace that a forgotten transposition gives.
    assert not torch.allclose(made["output"].T @ made["value"].T, target, atol=1e-2)


def test_figures_of_the_scores():
    made = projections(64, 4)
    products = torch.stack([scores(made, head, 16) for head in range(4)])
    diagonal = products.diagonal(dim1=1, dim2=2).mean()
    rest = products[:, ~torch.eye(64, dtype=torch.bool)].std()
    assert float(diagonal) == pytest.approx(0.31, abs=0.02)  # below 0.7: a head has fewer dimensions than the model
    assert float(rest) == pytest.approx(0.084, abs=0.004)


def test_a_head_as_wide_as_the_model_has_the_target_itself():
    made = projections(16, 1)
    noise = torch.randn(16, 16, generator=draws("mimetic", "a", "qk", 0), dtype=torch.float64) / 4
    assert torch.allclose(scores(made, 0, 16), 0.7 * noise + 0.7 * torch.eye(16), atol=1e-5)


def test_grouped_queries_share_a_key_and_fit_their_own_targets():
    made = projections(48, 6, kv_heads=3, width=8)
    for head in range(6):
        noise = torch.randn(48, 48, generator=draws("mimetic", "a", "qk", head), dtype=torch.float64) / 48**0.5
        target = 0.7 * noise + 0.7 * torch.eye(48)
        product = scores(made, head, 8, head // 2)
        key = made["key"][head // 2 * 8 : (head // 2 + 1) * 8].T
        # What is left of the target lies outside of what the shared key can reach.
        assert torch.allclose((target - product) @ key, torch.zeros(48, 8).double(), atol=1e-4)
    value = made["value"].view(3, 1, 8, 48).expand(-1, 2, -1, -1).reshape(48, 48)
    product = value.T @ made["output"].T
    assert torch.linalg.matrix_rank(product, tol=1e-5) == 24
    assert float(product.diagonal().mean()) < -0.2


def test_heads_wider_than_the_model():
    made = projections(8, 2, width=12, alpha_qk=0.0, alpha_vo=0.0)
    assert torch.allclose(scores(made, 1, 12), 0.7 * torch.eye(8).double(), atol=1e-6)
    assert torch.allclose(made["value"].T @ made["output"].T, -0.4 * torch.eye(8).double(), atol=1e-6)


def test_what_is_no_attention_is_left_and_biases_are_zero():
    assert mimetic(Site("fc", "linear", (4, 4)), draws) is None
    assert mimetic(Site("norm", "gain", (4,), attention=Attention("query", 1, 1, 4, "a")), draws) is None
    bias = Site("b", "bias", (4,), attention=Attention("query", 1, 1, 4, "a"))
    assert not mimetic(bias, draws).any()
