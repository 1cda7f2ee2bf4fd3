"""Every command, run on a real tiny checkpoint."""

import json
import os
import subprocess
import sys

import pytest

SMALLER = ["--set", "hidden_size=16", "--set", "intermediate_size=24", "--set", "num_hidden_layers=2"]
HEADS = ["--set", "num_attention_heads=2", "--set", "num_key_value_heads=1"]


def test_select_writes_a_folder_that_transformers_loads(scionwood, teacher, tmp_path):
    from transformers import AutoModelForCausalLM

    out = tmp_path / "student"
    outcome = scionwood("select", teacher, "--out", out, *SMALLER, *HEADS, "--depth", "even")
    assert outcome.code == 0, outcome.err
    assert outcome.out.startswith("selected  ")
    assert f"wrote {out}" in outcome.err
    loaded = AutoModelForCausalLM.from_pretrained(out, output_loading_info=True)
    assert isinstance(loaded, tuple)
    model, loading = loaded
    assert model.config.hidden_size == 16
    assert model.config.num_hidden_layers == 2
    assert not any(loading.values()), loading


def test_select_like_a_config_file(scionwood, teacher, tmp_path):
    config = json.loads((teacher / "config.json").read_text())
    like = tmp_path / "config.json"
    like.write_text(json.dumps(config | {"intermediate_size": 24}))
    outcome = scionwood("select", teacher, "--like", like, "--out", tmp_path / "out", "--json")
    assert outcome.code == 0, outcome.err
    actions = {entry["name"]: entry["action"] for entry in outcome.json}
    assert actions["model.layers.0.mlp.up_proj.weight"] == "selected"
    assert actions["model.embed_tokens.weight"] == "copied"


def test_a_dry_run_writes_nothing(scionwood, teacher, tmp_path):
    out = tmp_path / "out"
    outcome = scionwood("select", teacher, "--out", out, *SMALLER, *HEADS, "--dry-run")
    assert outcome.code == 0, outcome.err
    assert outcome.out.startswith("selected  ")
    assert "nothing was written" in outcome.err
    assert list(tmp_path.iterdir()) == []


def test_select_passes_every_flag_on(scionwood, teacher, tmp_path):
    out = tmp_path / "out"
    flags = ["--method", "uniform", "--option", "arithmetic=float32", "--depth", "0,3", "--seed", "7"]
    flags += ["--dtype", "bfloat16", "--shard-size", "10kB", "--workers", "1"]
    outcome = scionwood("select", teacher, "--out", out, *SMALLER, *HEADS, *flags)
    assert outcome.code == 0, outcome.err
    assert json.loads((out / "config.json").read_text())["dtype"] == "bfloat16"
    assert len(list(out.glob("model-0*.safetensors"))) > 1
    recipe = scionwood("lineage", out, "--json").json
    assert recipe["seed"] == 7
    assert recipe["recipe"]["method"] == "uniform"
    assert recipe["recipe"]["depth"] == [0, 3]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--method", "unifrom"], ["'unifrom'", "did you mean 'uniform'?"]),
        (["--option", "arithmetics=exact"], ["arithmetic"]),
        (["--option", "arithmetic=exakt"], ["exact"]),
        (["--depth", "firts"], ["first"]),
        (["--depth", "0,9"], ["9"]),
        (["--set", "vocab_size=128"], ["64", "128"]),
        (["--set", "vocab_sise=32"], ["vocab_size"]),
        (["--dtype", "bfloat"], ["bfloat16"]),
        (["--shard-size", "huge"], ["huge"]),
    ],
)
def test_a_request_that_does_not_fit_leaves_nothing(scionwood, teacher, tmp_path, flags, words):
    outcome = scionwood("select", teacher, "--out", tmp_path / "out", *SMALLER, *HEADS, *flags)
    assert outcome.code == 2, outcome
    assert outcome.err.startswith("error: ")
    for word in words:
        assert word in outcome.err
    assert list(tmp_path.iterdir()) == []


def test_overwrite_is_asked_for(scionwood, teacher, tmp_path):
    out = tmp_path / "out"
    arguments = ["select", teacher, "--out", out, *SMALLER, *HEADS]
    assert scionwood(*arguments).code == 0
    refused = scionwood(*arguments)
    assert refused.code == 2
    assert "--overwrite" in refused.err or "overwrite" in refused.err
    assert scionwood(*arguments, "--overwrite").code == 0


def test_progress_does_not_touch_stdout(scionwood, teacher, tmp_path):
    outcome = scionwood("select", teacher, "--out", tmp_path / "out", *SMALLER, *HEADS, "--json")
    assert isinstance(outcome.json, list)
    assert "writing" in outcome.err
    assert "100%" in outcome.err


def test_lineage_is_printed_for_people_and_for_scripts(scionwood, teacher, tmp_path):
    out = tmp_path / "out"
    assert scionwood("select", teacher, "--out", out, *SMALLER, *HEADS).code == 0
    outcome = scionwood("lineage", out)
    assert outcome.code == 0, outcome.err
    assert "select" in outcome.out
    assert str(teacher) in outcome.out
    plain = scionwood("lineage", out, "--json").json
    assert plain["recipe"]["verb"] == "select"
    assert plain["parents"][0]["digest"] == scionwood("digest", teacher).out.strip()


def test_a_checkpoint_without_lineage_says_so(scionwood, teacher):
    outcome = scionwood("lineage", teacher)
    assert outcome.code == 2
    assert "lineage" in outcome.err


def test_digest_names_the_weights(scionwood, teacher):
    quick, full = scionwood("digest", teacher), scionwood("digest", teacher, "--full", "--json")
    assert quick.code == full.code == 0
    assert quick.out.strip()
    assert full.json["full"] is True


def test_anatomy_of_a_config(scionwood, teacher, tmp_path):
    config = tmp_path / "config.json"
    config.write_bytes((teacher / "config.json").read_bytes())
    outcome = scionwood("anatomy", config)
    assert outcome.code == 0, outcome.err
    assert "hidden" in outcome.out
    whole = scionwood("anatomy", teacher, "--json").json
    assert set(whole) >= {"tensors", "axes", "depth", "unknown_ops"}
    weight = whole["tensors"]["model.embed_tokens.weight"]
    assert weight["shape"] == [64, 32]
    assert [whole["axes"][axis]["kind"] for dim in weight["dims"] for axis in dim] == ["input", "free"]


FACTORY = """
import torch

def build():
    net = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 3))
    return net, (torch.zeros(2, 8),)
"""


def test_anatomy_of_a_factory_in_the_current_directory(tmp_path):
    (tmp_path / "my_nets.py").write_text(FACTORY)
    command = [sys.executable, "-m", "scionwood", "anatomy", "my_nets:build", "--json"]
    # A virtual environment's console script has no current directory on its path; -P takes it away here too.
    command.insert(1, "-P")
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, env=os.environ)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["tensors"]["0.weight"]["shape"] == [16, 8]


@pytest.mark.parametrize(
    ("model", "words"),
    [("nowhere", ["nowhere"]), ("my_nets:bild", ["my_nets"]), ("json:dumpz", ["dumpz"])],
)
def test_a_model_that_is_not_there_is_named(scionwood, model, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    outcome = scionwood("anatomy", model)
    assert outcome.code == 2, outcome
    for word in words:
        assert word in outcome.err


def test_methods_lists_the_catalogue(scionwood):
    lines = scionwood("methods", "select").out.splitlines()
    assert any(line.startswith("select.uniform ") and line.rstrip().endswith("arXiv:2311.18823") for line in lines)
    names = [entry["name"] for entry in scionwood("methods", "--json").json]
    assert "select.uniform" in names
    assert names == sorted(names)


def test_methods_describes_one(scionwood):
    outcome = scionwood("methods", "select.uniform")
    assert "Uniform selection" in outcome.out
    assert "--option arithmetic=" in outcome.out
    assert "arithmetic" in scionwood("methods", "select.uniform", "--json").json["options"]["properties"]


@pytest.mark.parametrize(
    ("name", "hint"), [("selekt", "did you mean 'select'?"), ("select.unifrom", "did you mean 'select.uniform'?")]
)
def test_an_unknown_method_has_its_nearest(scionwood, name, hint):
    outcome = scionwood("methods", name)
    assert outcome.code == 2
    assert hint in outcome.err


@pytest.mark.parametrize("name", ["digits", "minilm"])
def test_demo_hands_over(scionwood, name, monkeypatch, tmp_path):
    from importlib import import_module

    called = {}
    monkeypatch.setattr(
        import_module(f"scionwood.demos.{name}"), "run", lambda out, **words: called.update(words, out=out)
    )
    assert scionwood("demo", name, "--out", tmp_path, "--seeds", "1").code == 0
    assert called == {"out": tmp_path, "seeds": 1}
