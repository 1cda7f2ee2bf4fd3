"""The merge of whole models in memory: what is found over all of them, and what is left as it is."""

from collections.abc import Sequence
from typing import Literal

import pytest
import torch
from torch import Tensor

from scionwood.methods.merge.dropping import Drawn
from scionwood.methods.merge.whole import merge_models, merge_tensors
from scionwood.methods.record import method
from scionwood.methods.summary import Rank, Sum


@method(
    family="merge",
    space="delta",
    scope="element",
    summaries=[
        Sum("sums", lambda deltas, _, __: torch.stack([delta.sum() for delta in deltas])),
        # The second largest of what is left of a delta without the sum of its tensor: a rank made of a sum.
        Rank(
            "thresholds",
            lambda deltas, found, _: [(delta - float(total)).abs() for delta, total in zip(deltas, found["sums"])],
            lambda *_: 2,
            over=lambda options: options["scope"],
        ),
    ],
)
def second(deltas: Sequence[Tensor], thresholds: Tensor, *, scope: Literal["tensor", "model"] = "tensor") -> Tensor:
    return torch.full_like(deltas[0], float(thresholds.sum()))


BASE = {"a": torch.zeros(3), "b": torch.full((2, 2), 10.0), "ids": torch.arange(4), "empty": torch.zeros(0, 3)}
MODELS = [
    {"a": torch.tensor([1.0, 2.0, 3.0]), "b": BASE["b"] + 1.0, "ids": torch.ones(4).long(), "empty": torch.zeros(0, 3)},
    {"a": torch.tensor([0.0, 0.0, 1.0]), "b": BASE["b"], "ids": torch.ones(4).long(), "empty": torch.zeros(0, 3)},
]


@pytest.mark.parametrize(
    # Left of the first model: 5, 4, 3 in a and 3, 3, 3, 3 in b; of the second: 1, 1, 0 and 0, 0, 0, 0.
    ("scope", "expected"),
    [("tensor", {"a": 4.0 + 1.0, "b": 3.0 + 0.0}), ("model", {"a": 4.0 + 1.0, "b": 4.0 + 1.0})],
)
def test_a_rank_of_each_tensor_or_of_the_model(scope, expected):
    merged = merge_models(second, MODELS, BASE, {"scope": scope})
    for name, moved in expected.items():
        assert torch.equal(merged[name], BASE[name] + moved), name


def test_one_tensor_is_a_model_of_its_own():
    alone = merge_tensors(second, [model["b"] for model in MODELS], BASE["b"], {"scope": "model"})
    assert torch.equal(alone, BASE["b"] + 3.0)


def test_integers_and_nothing_are_the_base_s():
    merged = merge_models(second, MODELS, BASE)
    assert list(merged) == list(BASE)
    assert torch.equal(merged["ids"], torch.arange(4))
    assert merged["empty"].shape == (0, 3)
    assert merged["a"].dtype == torch.float32


def test_what_is_drawn_is_drawn_tensor_by_tensor_and_model_by_model():
    @method(family="merge", space="weight", scope="element")
    def drawn(tensors: Sequence[Tensor], uniforms: Sequence[Drawn]) -> Tensor:
        return torch.stack([uniform.numbers for uniform in uniforms]).sum(0)

    models = [{name: tensor for name, tensor in model.items() if name in "ab"} for model in MODELS]
    merged = merge_models(drawn, models, generator=torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(0)
    for name, shape in (("a", (3,)), ("b", (2, 2))):
        first, other = torch.rand(shape, generator=generator), torch.rand(shape, generator=generator)
        assert torch.equal(merged[name], first + other)
