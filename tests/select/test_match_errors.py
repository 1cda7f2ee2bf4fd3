"""Two models that do not fit: the error names the parameter, both shapes and both axes, and what to do."""

import pytest
import torch
from torch import nn

import scionwood
from scionwood.errors import MatchError


def refusal(source, like, **options):
    with pytest.raises(MatchError) as refused:
        scionwood.select(source, like=like, **options)
    return refused.value


def test_different_families(drawn, smaller):
    error = refusal(drawn("bert"), smaller("vit"))
    assert "are of different families" in error.message
    assert "source and target must be of one model type" in error.hint


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        (
            {"intermediate_size": 64},
            (
                "model.layers.0.mlp.gate_proj.weight: [48, 32] in the source, [64, 16] in the target: "
                "layers.0.mlp.inner has 64 in the target, 48 in the source (and in 1 more block)"
            ),
        ),
        (
            {"hidden_size": 40},
            (
                "model.embed_tokens.weight: [40, 32] in the source, [40, 40] in the target: hidden has 40 in the target, "
                "32 in the source"
            ),
        ),
        (
            {"num_attention_heads": 16, "num_key_value_heads": 8},
            (
                "model.layers.0.self_attn.q_proj.weight: [64, 32] in the source, [128, 16] in the target: "
                "layers.0.self_attn.kv_heads has 8 in the target, 4 in the source (and in 1 more block)"
            ),
        ),
    ],
)
def test_a_larger_target_points_to_growing(changes, problem, drawn, smaller):
    error = refusal(drawn("llama"), smaller("llama", **changes))
    assert problem in error.problems
    assert len(error.problems) == 1
    assert "grow" in error.hint


def test_all_problems_at_once(drawn, smaller):
    error = refusal(drawn("llama"), smaller("llama", hidden_size=40, intermediate_size=64, vocab_size=41))
    assert len(error.problems) == 3


def test_another_vocabulary(drawn, smaller):
    (problem,) = refusal(drawn("llama"), smaller("llama", vocab_size=30)).problems
    assert problem.startswith("model.embed_tokens.weight: [40, 32] in the source, [30, 16] in the target")
    assert "the vocabularies differ (40 and 30 entries)" in problem
    assert "vocab_size" in problem


def test_other_inputs(drawn, smaller):
    (problem,) = refusal(drawn("vit"), smaller("vit", num_channels=2)).problems
    assert "patch_embeddings.projection.weight: [32, 3, 4, 4] in the source, [16, 2, 4, 4] in the target" in problem
    assert "the models take different inputs" in problem
    error = refusal(drawn("vit"), smaller("vit", num_channels=1))  # one channel is no axis any more
    assert "patch_embeddings.projection.weight, dimension 1" in error.message
    assert "the models take different inputs" in error.problems[0]


def test_a_kernel_of_another_size(drawn, smaller):
    error = refusal(drawn("vit"), smaller("vit", patch_size=2, image_size=8))
    assert "kernel" in str(error)
    assert "bignas" in error.hint


class Wide(nn.Module):
    """The stream that it reads is the one it writes, or another one."""

    def __init__(self, width, other):
        super().__init__()
        self.first, self.second, self.last = nn.Linear(4, width), nn.Linear(width, other), nn.Linear(other, 3)
        self.residual = width == other

    def forward(self, x):
        x = self.first(x)
        y = self.second(x)
        return self.last(x + y if self.residual else y)


def test_an_axis_that_was_two():
    error = refusal(Wide(8, 6), Wide(4, 4), inputs=torch.zeros(1, 4))
    assert error.problems[-1] == (
        "last.weight: dimension 1 ([3, 6] in the source, [3, 4] in the target) is hidden in the target and second.inner "
        "in the source, but at first.weight hidden was met by first.inner"
    )


def test_sources_that_are_not_enough(drawn, smaller, tmp_path):
    assert "has no config that says which model it is" in refusal({"weight": torch.ones(2)}, smaller("bert")).message
    error = refusal(drawn("bert"), nn.Linear(2, 2), inputs=torch.zeros(1, 2))
    assert "needs the module itself as source" in error.message
