"""Mimetic initialisation: attentions that begin as trained ones look (Trockman & Kolter, 2023, arXiv:2305.09828).

    per head   W_Q W_K^T ~ alpha_qk Z + beta_qk I,     cut to the head's width by its largest singular values
    all heads  W_V W_O   = alpha_vo Z - beta_vo I      (y = x W; Z_ij of variance 1 / d)

In trained vision transformers queries and keys of one token agree, and values come back with the other sign. Starting
there is said to help small data sets; on 200 digits it learns sooner (41 % against 29 % after 5 epochs) and ends lower
(79 % against 85 % after 40), and on text it did not help; strengths are of vision, the defaults 0.7 and 0.4 those of a published benchmark
(structured_init), where other re-implementations have them the other way round. In language models the signs are
reversed and the strength is small: give ``beta_qk`` a little below and ``beta_vo`` below zero.

Grouped queries share a key: the first head of a group is factored, and the others take the queries nearest to their own
target given that key. Where heads together are narrower than the model, W_V W_O is the best approximation of that rank.
``std`` of Z is sqrt(1 / d); public copies that draw with deviation 1 / d have almost no noise, and some write W_V for
W_V^T, which turns W_V W_O into W_O W_V. No official code was found.
"""

import math
from collections.abc import Callable
from typing import Annotated

import torch
from torch import Tensor

from scionwood.methods.initialize.drawing import zeros
from scionwood.methods.initialize.site import Attention, Site
from scionwood.methods.record import Finite, method

__all__ = ["mimetic"]

Draws = Callable[..., torch.Generator]


@method(scope="tensor", laws={"shape", "deterministic"}, paper="2305.09828")
def mimetic(
    site: Site,
    draws: Draws,
    *,
    alpha_qk: Annotated[float, Finite()] = 0.7,
    beta_qk: Annotated[float, Finite()] = 0.7,
    alpha_vo: Annotated[float, Finite()] = 0.4,
    beta_vo: Annotated[float, Finite()] = 0.4,
) -> Tensor | None:
    """Return the projections of an attention; their biases are zero, the rest is left.

    >>> seeds = lambda *key: torch.Generator().manual_seed(0)
    >>> query, key = (
    ...     mimetic(Site("", "linear", (4, 4), attention=Attention(role, 1, 1, 4, "")), seeds, alpha_qk=0.0)
    ...     for role in ("query", "key")
    ... )
    >>> torch.allclose(query.T @ key, 0.7 * torch.eye(4), atol=1e-6)
    True

    Args:
        site: the tensor.
        draws: gives the torch.Generator of a key; the four projections of an attention share it.
        alpha_qk: of the noise in the product of queries and keys.
        beta_qk: of the identity there.
        alpha_vo: of the noise in the product of values and output.
        beta_vo: of minus the identity there.
    """
    attention = site.attention
    if attention is None or site.kind not in ("linear", "bias"):
        return None
    if site.kind == "bias":
        return zeros(site)
    d = site.shape[0] if attention.role == "output" else site.shape[1]
    if attention.role in ("query", "key"):
        made = _queries_and_keys(attention, d, draws, alpha_qk, beta_qk)[attention.role == "key"]
    else:
        made = _values_and_output(attention, d, draws, alpha_vo, beta_vo)[attention.role == "output"]
    return made.float() if tuple(made.shape) == site.shape else None


def _target(draws: Draws, d: int, alpha: float, beta: float, *key: object) -> Tensor:
    noise = torch.randn(d, d, generator=draws("mimetic", *key), dtype=torch.float64) / math.sqrt(d)
    return alpha * noise + beta * torch.eye(d, dtype=torch.float64)


def _queries_and_keys(attention: Attention, d: int, draws: Draws, alpha: float, beta: float) -> tuple[Tensor, Tensor]:
    """The weights of queries (heads x width, d) and of keys (kv_heads x width, d)."""
    width, group = attention.width, attention.heads // attention.kv_heads
    queries, keys = [], []
    for kv_head in range(attention.kv_heads):
        targets = [_target(draws, d, alpha, beta, attention.block, "qk", kv_head * group + own) for own in range(group)]
        left, values, right = torch.linalg.svd(targets[0])
        roots = values[:width].sqrt()
        key = right[:width].T * roots
        keys.append(_padded(key.T, width))
        queries.append(_padded((left[:, :width] * roots).T, width))
        # W_Q nearest to its target given W_K: M K (K^T K)^-1, where K^T K is diagonal.
        inverse = torch.where(roots > 0, 1 / roots**2, 0.0)
        queries += [_padded(((target @ key) * inverse).T, width) for target in targets[1:]]
    return torch.cat(queries), torch.cat(keys)


def _values_and_output(attention: Attention, d: int, draws: Draws, alpha: float, beta: float) -> tuple[Tensor, Tensor]:
    """The weights of values (kv_heads x width, d) and of the output (d, heads x width)."""
    group = attention.heads // attention.kv_heads
    rank = attention.kv_heads * attention.width
    left, values, right = torch.linalg.svd(_target(draws, d, alpha, -beta, attention.block, "vo"))
    roots = values[:rank].sqrt()
    value = _padded((left[:, :rank] * roots).T, rank)
    output = _padded(roots[:, None] * right[:rank], rank).view(attention.kv_heads, 1, attention.width, d)
    # Several heads of queries carry one head of values to the output: each takes its share.
    shared = output.expand(-1, group, -1, -1).reshape(-1, d) / group
    return value, shared.T


def _padded(rows: Tensor, count: int) -> Tensor:
    """Heads wider than the model have more rows than the product has rank: the others are zero."""
    return torch.cat([rows, rows.new_zeros(count - len(rows), rows.shape[1])])
