"""Which elements lie exactly on a threshold: of them, mergekit keeps as many as fit, in the order of its sort."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

__all__ = ["on_thresholds"]


def _ranks(document: Mapping[str, Any], parameters: Mapping[str, Any], count: int) -> list[int]:
    """How many of the largest entries lie before each threshold."""
    density = parameters.get("density", 1.0)
    kept = max(1, int(density * count))
    if not document["merge_method"].startswith("breadcrumbs"):
        return [kept]
    bottom = max(0, count - int(density * count) - int(parameters.get("gamma", 0.01) * count))
    return [count - bottom, count - bottom - int(density * count)]


def on_thresholds(
    document: Mapping[str, Any], models: Mapping[str, Mapping[str, Tensor]], names: list[str]
) -> dict[str, Tensor]:
    """For a file with one density for each model: where a delta has the magnitude of the last entry that is kept and
    of the first that is not.
    """
    found: dict[str, Tensor] = {}
    base = models[document["base_model"]]
    for name in names:
        tied = torch.zeros(base[name].shape, dtype=torch.bool)
        for listed in document["models"]:
            size = (models[listed["model"]][name].float() - base[name].float()).abs()
            ordered = size.flatten().sort(descending=True).values
            for rank in _ranks(document, listed.get("parameters", {}), size.numel()):
                if 0 < rank < size.numel() and ordered[rank - 1] == ordered[rank]:
                    tied |= size == ordered[rank]
        found[name] = tied
    return found
