"""Equal sizes change nothing; selections compose; nothing is read before it is written."""

import dataclasses

import pytest
import torch
from torch import nn

import scionwood
from scionwood.checkpoint import digest

FAMILIES = ["llama", "phi3", "qwen3_moe", "deepseek", "gpt2", "bloom", "t5", "albert", "resnet", "recurrent_gemma"]


@pytest.mark.parametrize("family", FAMILIES)
def test_equal_sizes_give_the_source_bit_for_bit(family, drawn, larger, tmp_path):
    source = scionwood.open(drawn(family))
    made = scionwood.select(drawn(family), like=larger(family))
    assert {entry.action for entry in made.ledger} == {"copied"}
    scionwood.write(made, tmp_path / "out")
    # transformers writes no ties into its files; we do.
    written = dataclasses.replace(scionwood.open(tmp_path / "out"), ties={})
    assert digest(written, full=True) == digest(source, full=True)


@pytest.mark.parametrize(
    "method", ["uniform", "consecutive", "random", "random_inconsistent", "whole_heads", "magnitude"]
)
def test_equal_sizes_are_equal_under_every_method(method, drawn, larger):
    made = scionwood.select(drawn("llama"), like=larger("llama"), method=method, rescale="variance")
    assert {entry.action for entry in made.ledger} == {"copied"}


@pytest.mark.parametrize("family", ["bert", "llama", "convnext"])
@pytest.mark.parametrize("method", ["uniform", "consecutive", "whole_heads"])
def test_two_steps_are_one(family, method, drawn, larger, smaller, same):
    quarter = {
        "bert": {"hidden_size": 8, "intermediate_size": 12, "num_attention_heads": 1, "num_hidden_layers": 1},
        "llama": {"hidden_size": 8, "intermediate_size": 12, "num_attention_heads": 2, "num_key_value_heads": 1}
        | {"num_hidden_layers": 1},
        "convnext": {"hidden_sizes": [2, 4, 8, 16], "depths": [1, 1, 1, 1]},
    }[family]
    end = smaller(family, **quarter)
    at_once = scionwood.select(drawn(family), like=end, method=method, depth="stride", head="fresh")
    half = scionwood.select(drawn(family), like=smaller(family), method=method, depth="stride")
    in_steps = scionwood.select(half, like=end, method=method, depth="stride", head="fresh")
    assert same(at_once, in_steps)
    assert at_once.ledger.counts()["selected"] == in_steps.ledger.counts()["selected"]


def test_nothing_is_read_until_it_is_written(drawn, smaller, monkeypatch, tmp_path):
    from scionwood.checkpoint.tensor import FileTensor

    read = []
    rows = FileTensor.read_rows
    monkeypatch.setattr(FileTensor, "read_rows", lambda self, *cut: read.append(self.name) or rows(self, *cut))
    before = set(tmp_path.parent.iterdir())
    half = scionwood.select(drawn("llama"), like=smaller("llama"))
    quarter = smaller("llama", hidden_size=8, intermediate_size=12, num_attention_heads=2, num_key_value_heads=1)
    made = scionwood.select(half, like=quarter)
    assert not read
    assert set(tmp_path.parent.iterdir()) == before
    scionwood.write(made, tmp_path / "out")
    # Only what stays is read: two of the four blocks.
    assert {name.split(".")[2] for name in read if ".layers." in name} == {"0", "1"}
    parent = scionwood.lineage(tmp_path / "out").parents[0]
    assert parent.lineage.recipe["verb"] == "select"
    assert parent.lineage.parents[0].digest


class Branch(nn.Module):
    """A residual MLP without norms."""

    def __init__(self, width, inner):
        super().__init__()
        self.up, self.down = nn.Linear(width, inner), nn.Linear(inner, width)

    def forward(self, x):
        return x + self.down(torch.relu(self.up(x)))


class Residual(nn.Module):
    def __init__(self, width, inner, depth=3):
        super().__init__()
        self.read, self.write = nn.Linear(5, width), nn.Linear(width, 4)
        self.blocks = nn.ModuleList([Branch(width, inner) for _ in range(depth)])

    def forward(self, x):
        x = self.read(x)
        for block in self.blocks:
            x = block(x)
        return self.write(x)


def silence(teacher, keep, keep_inner):
    """Set everything that writes to a dropped channel to zero."""
    width, inner = teacher.read.out_features, teacher.blocks[0].up.out_features
    off = [channel for channel in range(width) if channel not in keep]
    inner_off = [unit for unit in range(inner) if unit not in keep_inner]
    with torch.no_grad():
        for linear in (teacher.read, *(block.down for block in teacher.blocks)):
            linear.weight[off] = linear.bias[off] = 0
        for block in teacher.blocks:
            block.up.weight[inner_off] = block.up.bias[inner_off] = 0


@pytest.mark.parametrize(("method", "keep"), [("uniform", range(0, 16, 2)), ("consecutive", range(8))])
def test_dropping_silent_channels_changes_nothing(method, keep):
    torch.manual_seed(0)
    teacher, student = Residual(16, 24), Residual(8, 12)
    silence(teacher, set(keep), set(range(0, 24, 2)) if method == "uniform" else set(range(12)))
    x = torch.randn(32, 5)
    expected = teacher(x)
    made = scionwood.select(teacher, like=student, method=method, inputs=x)
    student.load_state_dict(dict(made))
    torch.testing.assert_close(student(x), expected, rtol=0, atol=1e-6)


def test_inconsistent_selection_of_the_same_teacher_changes_everything():
    torch.manual_seed(0)
    teacher, student = Residual(16, 24), Residual(8, 12)
    silence(teacher, set(range(0, 16, 2)), set(range(0, 24, 2)))
    x = torch.randn(32, 5)
    made = scionwood.select(teacher, like=student, method="random_inconsistent", inputs=x)
    student.load_state_dict(dict(made))
    assert (student(x) - teacher(x)).abs().mean() > 0.1


def test_magnitude_finds_the_silent_channels():
    torch.manual_seed(0)
    teacher, student = Residual(16, 24), Residual(8, 12)
    silence(teacher, set(range(3, 11)), set(range(1, 24, 2)))
    with torch.no_grad():  # nothing reads them either, or their readers' weights would speak for them
        for linear in (teacher.write, *(block.up for block in teacher.blocks)):
            linear.weight[:, [0, 1, 2, 11, 12, 13, 14, 15]] = 0
        for block in teacher.blocks:
            block.down.weight[:, 0::2] = 0
    x = torch.randn(32, 5)
    made = scionwood.select(teacher, like=student, method="magnitude", inputs=x)
    assert torch.equal(made["read.weight"], teacher.read.weight[3:11])
    student.load_state_dict(dict(made))
    torch.testing.assert_close(student(x), teacher(x), rtol=0, atol=1e-6)


def test_magnitude_is_equivariant():
    """Permuting the teacher's free axes gives the same student, up to a permutation: its function is the same."""
    torch.manual_seed(0)
    teacher, shuffled = Residual(16, 24), Residual(16, 24)
    width = torch.randperm(16)
    with torch.no_grad():
        shuffled.load_state_dict(teacher.state_dict())
        for linear in (shuffled.read, *(block.down for block in shuffled.blocks)):
            linear.weight.copy_(linear.weight[width])
            linear.bias.copy_(linear.bias[width])
        for linear in (shuffled.write, *(block.up for block in shuffled.blocks)):
            linear.weight.copy_(linear.weight[:, width])
        for block in shuffled.blocks:
            inner = torch.randperm(24)
            block.up.weight.copy_(block.up.weight[inner])
            block.up.bias.copy_(block.up.bias[inner])
            block.down.weight.copy_(block.down.weight[:, inner])
    x = torch.randn(32, 5)
    outputs = []
    for source in (teacher, shuffled):
        student = Residual(8, 12)
        student.load_state_dict(dict(scionwood.select(source, like=student, method="magnitude", inputs=x)))
        outputs.append(student(x))
    torch.testing.assert_close(*outputs, rtol=0, atol=1e-6)
