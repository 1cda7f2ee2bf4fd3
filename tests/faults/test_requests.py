"""Requests that no model can serve: every flag, wrong in every way."""

from pathlib import Path

import pytest
from tests.faults.bench import SMALLER, refused, scionwood

WRONG_FLAGS: list[tuple[list[str], list[str]]] = [
    # The method and its options.
    (["--method", "unifrom"], ["Unknown method 'unifrom'", "did you mean 'uniform'?"]),
    (["--method", "Uniform"], ["did you mean 'uniform'?"]),
    (["--method", "oak"], ["Unknown method 'oak'", "Known are", "bignas", "whole_heads"]),
    (["--method", "ties"], ["Unknown method 'ties'", "merge.ties", "scionwood merge"]),
    (["--method", ""], ["Unknown method ''", "Known are"]),
    (["--option", "arithmetics=exact"], ["unknown option 'arithmetics'", "did you mean 'arithmetic'?"]),
    (["--option", "arithmetic=exakt"], ["exact, float32", "'exakt'", "did you mean 'exact'?"]),
    (
        ["--option", "arithmetic"],
        ["--option takes name=value", "'arithmetic' has no '='", "--option arithmetic=float32"],
    ),
    (["--method", "random", "--option", "x=1"], ["select.random", "unknown option 'x': it has none"]),
    (["--method", "llminit", "--option", "rule=variants"], ["uniform, random, variance", "did you mean 'variance'?"]),
    # Which blocks.
    (["--depth", "frist"], ["Unknown depth rule 'frist'", "did you mean 'first'?"]),
    (["--depth", "0,9"], ["[9]", "source of 3 (0 to 2)"]),
    (["--depth", "0"], ["it names 1 block, and the target has 2"]),
    (["--depth", "0,0"], ["must increase", "growing"]),
    (["--depth", "0,,1"], ["Unknown depth rule '0,,1'", "or the block numbers"]),
    (["--depth", "-1,2"], ["--depth requires an argument", "--depth=-"]),
    (["--depth", "model.layer=even"], ["no list of blocks is called 'model.layer'", "did you mean 'model.layers'?"]),
    (["--depth", "=even"], ["'=even' has no name", "--depth encoder.block=even"]),
    (["--depth", "even", "--depth", "last"], ["--depth is given twice"]),
    # How it is stored.
    (["--dtype", "bfloat"], ["'bfloat'", "did you mean 'bfloat16'?"]),
    (["--dtype", "int8"], ["'int8'", "float32, float16, bfloat16"]),
    (["--dtype", ""], ["''", "float32, float16, bfloat16"]),
    (["--shard-size", "huge"], ["'huge' is not a size", "5GB"]),
    (["--shard-size", "5QB"], ["'5QB' is not a size", "5GB"]),
    (["--shard-size", "0"], ["must be positive"]),
    (["--shard-size=-5GB"], ["'-5GB' is not a size"]),
    (["--shard-size", "1e400GB"], ["is not a size"]),
    (["--workers", "0"], ["0 workers cannot write"]),
    (["--workers", "-3"], ["-3 workers cannot write"]),
    (["--workers", "many"], ["--workers", '"many"', "whole number"]),
    # The rest.
    (["--seed", "x"], ["--seed", '"x"', "whole number"]),
    (["--seed", "1.5"], ["--seed", '"1.5"', "whole number"]),
    (["--head", "frsh"], ['"frsh"', 'Did you mean "fresh"?']),
    (["--rescale", "varianc"], ['"varianc"', 'Did you mean "variance"?']),
    (["--metod", "uniform"], ["--metod", "Did you mean --method?"]),
    (["another"], ["unexpected argument: another"]),
    (["--set", "hidden_sise=16"], ["hidden_sise", "did you mean 'hidden_size'?", "its sizes are", "num_hidden_layers"]),
    (["--set", "hidden=16"], ["did you mean 'hidden_size'?"]),
    (["--set", "text_config.hidden_size=16"], ["text_config.hidden_size"]),
    (["--set", "=3"], ["'=3' has no name"]),
    (["--set", "hidden_size"], ["'hidden_size' has no '='", "--set hidden_size=256"]),
    (["--set", "hidden_size=16"], ["'hidden_size' is given twice"]),
    (["--set", "a", "--set", "=b"], ["'a' has no '='", "'=b' has no name"]),
]


@pytest.mark.parametrize(("flags", "words"), WRONG_FLAGS, ids=str)
def test_a_flag_that_is_wrong(models: Path, tmp_path: Path, flags: list[str], words: list[str]) -> None:
    refused(tmp_path, "select", models / "teacher", *SMALLER, "--out", tmp_path / "out", *flags, words=words)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--dtype", "int8"], ["'int8'"]),
        (["--shard-size", "huge"], ["'huge'"]),
        (["--workers", "0"], ["0 workers"]),
        (["--out", "teacher"], ["is one of its own inputs"]),
        (["--out", "x.pt"], ["the name of a torch file"]),
    ],
)
def test_a_dry_run_says_what_would_be_refused(
    teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: list[str], words: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    refused(tmp_path, "select", "teacher", *SMALLER, "--dry-run", *flags, words=words)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["SOURCE requires an argument", "scionwood select --help"]),
        (
            ["teacher", "--out", "out"],
            ["nothing says what the target shall be", "--like CONFIG", "--set hidden_size=256"],
        ),
        (["teacher", *SMALLER], ["--out says where to write", "--out FOLDER", "--dry-run"]),
        (["teacher", "--like", "nothing", "--out", "out"], ["There is no file or folder nothing"]),
        (["teacher", "--like", "techer", "--out", "out"], ["did you mean 'teacher'?"]),
        (["teacher", "--like", "teacher/model.safetensors", "--out", "out"], ["is not a config"]),
        (["teacher", "--like", "", "--out", "out"], ["name of the source is empty"]),
    ],
)
def test_what_is_missing(teacher: Path, tmp_path: Path, monkeypatch, arguments: list[str], words: list[str]) -> None:
    monkeypatch.chdir(tmp_path)
    refused(tmp_path, "select", *arguments, words=words)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["selct"], ['Did you mean "select"?']),
        (["graft"], ['Unknown command "graft"', "anatomy", "merge"]),
        (["anatomy"], ["MODEL requires an argument"]),
        (["digest"], ["SOURCE requires an argument"]),
        (["lineage"], ["SOURCE requires an argument"]),
        (["digest", "a", "--ful"], ["Did you mean --full?"]),
        (["methods", "selct"], ["Unknown family 'selct'", "did you mean 'select'?"]),
        (["methods", "uniform"], ["Unknown family 'uniform'", "select.uniform"]),
        (["methods", "select.unifrom"], ["did you mean 'select.uniform'?"]),
        (["demo", "digit"], ['Did you mean "digits"?']),
        (["demo", "--seeds", "0"], ["--seeds is 0"]),
    ],
)
def test_other_commands(tmp_path: Path, monkeypatch, arguments: list[str], words: list[str]) -> None:
    monkeypatch.chdir(tmp_path)
    refused(tmp_path, *arguments, words=words)


def test_any_whole_number_is_a_seed(models: Path, tmp_path: Path) -> None:
    for seed in ("-1", "99999999999999999999999999"):
        outcome = scionwood(
            "select", models / "teacher", *SMALLER, "--method", "random", "--seed", seed, "--out", tmp_path / seed
        )
        assert outcome.code == 0, outcome.err
