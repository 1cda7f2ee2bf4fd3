"""Merging through the verb and the command line: what is refused, what is written, what is said."""

import pytest
import torch

from scionwood.checkpoint import lineage, write
from scionwood.checkpoint import open as open_checkpoint
from scionwood.cli import run
from scionwood.errors import MatchError, MethodError
from scionwood.verbs.merge import merge

A = {"layer.weight": torch.tensor([[1.0, 2.0], [3.0, 4.0]]), "layer.bias": torch.tensor([0.5, -0.5])}
B = {"layer.weight": torch.tensor([[3.0, 2.0], [1.0, 0.0]]), "layer.bias": torch.tensor([1.5, 0.5])}


@pytest.fixture
def folders(tmp_path):
    for name, model in (("base", A), ("chat", B), ("code", {k: v + 1 for k, v in A.items()})):
        write(open_checkpoint(model), tmp_path / name)
    return tmp_path


def test_every_difference_is_listed():
    other = {"layer.weight": torch.ones(2, 3), "extra": torch.ones(1)}
    with pytest.raises(MatchError) as raised:
        merge([A, other])
    text = str(raised.value)
    assert "layer.weight: [2, 2] in memory, [2, 3] in memory" in text
    assert "layer.bias is not in memory" in text
    assert "extra is not in memory" in text


@pytest.mark.parametrize(
    ("models", "request_", "message"),
    [
        ([], {}, "no models"),
        ([A], {"method": "ties"}, "no base is given"),
        ([A, B], {"method": "linear", "base": A}, "does not use a base"),
        (["x", "x"], {}, "x is given twice"),
        ([A, B], {"method": "tis"}, "did you mean 'ties'"),
        ([A, B], {"options": {"weights": (1, -1)}}, "sum to zero"),
        ([A, B, A], {"method": "slerp"}, "two models"),
    ],
)
def test_what_is_refused_before_anything_is_read(models, request_, message):
    with pytest.raises(MethodError, match=message):
        merge(models, **request_)


def test_a_tied_name_counts_where_a_model_stores_it_once():
    shared = torch.ones(3, 2)
    tied = {"embed": shared, "head": shared}
    untied = {"embed": torch.zeros(3, 2), "head": torch.zeros(3, 2)}
    made = merge([untied, tied])
    assert torch.equal(made["head"], torch.full((3, 2), 0.5))
    assert torch.equal(merge([tied, untied])["head"], torch.full((3, 2), 0.5))  # no longer tied: nothing is lost


def test_the_command_merges_folders(folders, capsys):
    asked = f"merge ties {folders}/chat {folders}/code --base {folders}/base --out {folders}/out"
    code = run([*asked.split(), "--set", "density=1.0", "--set", "weights=1,0.5"])
    assert code == 0, capsys.readouterr().err
    expected = merge(
        [B, {k: v + 1 for k, v in A.items()}], base=A, method="ties", options={"density": 1.0, "weights": (1, 0.5)}
    )
    made = open_checkpoint(folders / "out")
    assert torch.equal(made["layer.weight"], expected["layer.weight"])
    story = lineage(folders / "out")
    assert story is not None
    assert story.recipe["method"] == "merge.ties"
    assert [parent.role for parent in story.parents] == ["base", "model", "model"]
    assert "merged  2 tensors, 6 parameters" in capsys.readouterr().out


def test_a_wrong_option_leaves_nothing(folders, capsys):
    assert (
        run(
            [
                "merge",
                "ties",
                f"{folders}/chat",
                "--base",
                f"{folders}/base",
                "--set",
                "density=2",
                "--out",
                f"{folders}/out",
            ]
        )
        == 2
    )
    assert "density" in capsys.readouterr().err
    assert not (folders / "out").exists()


def test_the_output_must_not_be_an_input(folders, capsys):
    assert (
        run(["merge", "linear", f"{folders}/chat", f"{folders}/code", "--out", f"{folders}/chat", "--overwrite"]) == 2
    )
    assert "one of its own inputs" in capsys.readouterr().err
