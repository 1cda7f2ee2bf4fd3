"""Growths that predict: what the Python parts give, in the layout of the target; and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import scionwood
from scionwood.cli import run
from scionwood.engine.threads import use_threads
from scionwood.errors import MatchError, MethodError, ScionwoodError, SourceError
from scionwood.recipe.reproduce import reproduce
from scionwood.train.growth.denoised import BlockDiffusion
from scionwood.train.growth.hypernetwork import LowRankHyperNet, initialize_
from scionwood.verbs.fresh import generator_for

VIT = {
    "model_type": "vit", "architectures": ["ViTForImageClassification"], "num_hidden_layers": 1, "num_channels": 1,
    "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32, "image_size": 8, "patch_size": 4,
}  # fmt: skip


@pytest.fixture(scope="module")
def network() -> LowRankHyperNet:
    torch.manual_seed(0)
    return LowRankHyperNet()


@pytest.fixture(scope="module")
def folder(network: LowRankHyperNet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained predictor of each kind, a target's config, and a fine-tune of the bank."""
    where = tmp_path_factory.mktemp("predictors")
    network.save(where / "network.safetensors")
    models, conditions = bank()
    diffusion = BlockDiffusion(models, conditions, block=32, steps=20, width=8)
    diffusion.fit(5)
    diffusion.save(where / "diffusion.safetensors")
    save_file(models[0], where / "member.safetensors")
    (where / "config.json").write_text(json.dumps(VIT))
    return where


def net() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), nn.ReLU(), nn.Linear(8, 3))


def bank(make: Any = net, members: int = 4) -> tuple[list[dict[str, Tensor]], Tensor]:
    generator = torch.Generator().manual_seed(0)
    base = make().state_dict()
    models = [
        {name: weight + 0.1 * torch.randn(weight.shape, generator=generator) for name, weight in base.items()}
        for _ in range(members)
    ]
    return models, torch.randn(members, 2, generator=generator)


def same(made: scionwood.Checkpoint, wanted: dict[str, Tensor]) -> None:
    assert set(made) == set(wanted)
    for name, tensor in wanted.items():
        assert made[name].dtype == tensor.dtype, name
        assert torch.equal(made[name], tensor), name


def actions(checkpoint: scionwood.Checkpoint) -> dict[str, str]:
    return {entry.name: entry.action for entry in checkpoint.ledger or ()}


# ------------------------------------------------------------------------------------------- hypernetwork


def test_a_module_gets_what_the_python_part_gives_it(network: LowRankHyperNet, folder: Path) -> None:
    target = net()
    with torch.no_grad():
        target[1].weight.fill_(0.5)
    made = scionwood.grow(folder / "network.safetensors", like=target, method="hypernetwork")
    with use_threads(1):
        initialize_(target, network)
    same(made, target.state_dict())
    assert actions(made) == dict.fromkeys(["0.weight", "0.bias", "3.weight", "3.bias"], "predicted") | dict.fromkeys(
        ["1.weight", "1.bias"], "fresh"
    )
    told = {entry.name: entry.detail for entry in made.ledger or ()}
    assert told["1.weight"] == "LayerNorm is no Linear and no convolution: stays as the module has it"


def test_tied_weights_are_predicted_once_and_biases_not_made_up(network: LowRankHyperNet, folder: Path) -> None:
    target = nn.Sequential(nn.Linear(8, 8, bias=False), nn.ReLU(), nn.Linear(8, 8), nn.Linear(8, 2).half())
    target[2].weight = target[0].weight
    made = scionwood.grow(folder / "network.safetensors", like=target, method="hypernetwork")
    with use_threads(1):
        initialize_(target, network)
    same(made, target.state_dict())
    assert dict(made.ties) == {"2.weight": "0.weight"}
    assert made["3.weight"].dtype == torch.float16
    told = {entry.name: entry.detail for entry in made.ledger or ()}
    assert told["2.bias"].startswith("the weight beside it is that of another layer: ")


def test_a_module_that_is_one_layer(folder: Path) -> None:
    made = scionwood.grow(folder / "network.safetensors", like=nn.Linear(4, 3), method="hypernetwork")
    assert actions(made) == {"weight": "predicted", "bias": "predicted"}


@pytest.fixture(scope="module")
def vit(folder: Path) -> scionwood.Checkpoint:
    return scionwood.grow(folder / "network.safetensors", like=folder / "config.json", method="hypernetwork")


def loaded(checkpoint: scionwood.Checkpoint, where: Path) -> nn.Module:
    import transformers

    scionwood.write(checkpoint, where)
    module, report = transformers.ViTForImageClassification.from_pretrained(where, output_loading_info=True)
    assert not any(report.values()), report
    return module


def test_a_config_gets_predicted_layers_and_its_class_begins_the_rest(
    network: LowRankHyperNet, vit: scionwood.Checkpoint, tmp_path: Path
) -> None:
    module = loaded(vit, tmp_path / "out")
    found = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    with use_threads(1):
        initialize_(module, network)  # changes nothing
    assert all(torch.equal(tensor, found[name]) for name, tensor in module.state_dict().items())
    kinds = {name: part for name, part in module.named_modules() if isinstance(part, nn.LayerNorm)}
    assert kinds
    assert all(bool((part.weight == 1).all()) for part in kinds.values())
    assert {entry.action for entry in vit.ledger or ()} == {"predicted", "fresh"}
    assert vit.config is not None
    assert vit.config["dtype"] == "float32"


def test_the_same_model_however_its_target_is_given(vit: scionwood.Checkpoint, folder: Path) -> None:
    import transformers

    module = transformers.ViTForImageClassification(transformers.ViTConfig(**VIT))
    for like in (VIT, module.config, module, vit):
        made = scionwood.grow(folder / "network.safetensors", like=like, method="hypernetwork")
        assert {name: torch.equal(made[name], vit[name]) for name in vit.tensors} == dict.fromkeys(vit.tensors, True)


def test_settings_change_the_target(folder: Path) -> None:
    made = scionwood.grow(
        folder / "network.safetensors", like=VIT, set={"intermediate_size": 48}, method="hypernetwork"
    )
    assert (48, 16) in [tuple(tensor.shape) for tensor in made.tensors.values()]
    recipe = made.lineage.recipe if made.lineage else {}
    assert recipe["set"] == {"intermediate_size": 48}


def test_all_that_is_too_large_is_named_at_once(folder: Path) -> None:
    with pytest.raises(MethodError) as caught:
        scionwood.grow(
            folder / "network.safetensors",
            like=VIT,
            set={"intermediate_size": 65, "num_hidden_layers": 2},
            method="hypernetwork",
        )
    wide = [problem.partition(":")[0] for problem in caught.value.problems[1:]]
    assert caught.value.problems[0] == "14 layers, from 1 to 8 are known"
    assert wide == [f"vit.layers.{layer}.mlp.{name}" for layer in (0, 1) for name in ("fc1", "fc2")]


# --------------------------------------------------------------------------------------- denoised weights


@pytest.mark.parametrize("options", [{}, {"by": "regression"}, {"by": "regression", "penalty": 1.0}])
def test_a_condition_gives_what_the_python_part_gives(folder: Path, options: dict[str, Any]) -> None:
    condition = torch.tensor([0.5, -0.25])
    diffusion = BlockDiffusion.load(folder / "diffusion.safetensors")
    with use_threads(1):
        if options:
            wanted = diffusion.regressed(condition, penalty=options.get("penalty", 1e-2))
        else:
            wanted = diffusion.generate(condition, generator=generator_for(4, "grow.denoised_weights"))
    for like in (net(), str(folder / "member.safetensors"), scionwood.open(folder / "member.safetensors")):
        made = scionwood.grow(
            folder / "diffusion.safetensors",
            like=like,
            method="denoised_weights",
            options={"condition": [0.5, -0.25], **options},
            seed=4,
        )
        same(made, wanted)
        assert set(actions(made).values()) == {"predicted"}


def test_the_seed_is_that_of_the_samples(folder: Path) -> None:
    made = [
        scionwood.grow(
            folder / "diffusion.safetensors",
            like=net(),
            method="denoised_weights",
            options={"condition": (0.5, 0)},
            seed=seed,
        )["0.weight"]
        for seed in (1, 1, 2)
    ]
    assert torch.equal(made[0], made[1])
    assert not torch.equal(made[0], made[2])


class Norms(nn.Module):
    """A head that is tied, and buffers that no bank of parameters holds."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.norm, self.head = nn.Embedding(5, 4), nn.BatchNorm1d(4), nn.Linear(4, 5, bias=False)
        self.head.weight = self.embed.weight


def test_a_bank_of_parameters_leaves_buffers_and_ties_alone(tmp_path: Path) -> None:
    def parameters() -> Any:
        module = Norms()
        module.state_dict = lambda: dict(module.named_parameters())  # type: ignore[method-assign]
        return module

    models, conditions = bank(parameters)
    assert "head.weight" not in models[0]
    diffusion = BlockDiffusion(models, conditions, block=8, steps=5, width=8)
    diffusion.save(tmp_path / "d.safetensors")
    target = Norms()
    target.norm.running_mean.fill_(7.0)
    made = scionwood.grow(
        tmp_path / "d.safetensors", like=target, method="denoised_weights", options={"condition": [0, 0]}
    )
    assert made["norm.running_mean"].tolist() == [7.0] * 4
    assert dict(made.ties) == {"head.weight": "embed.weight"}
    assert {name for name, action in actions(made).items() if action == "fresh"} == {
        "norm.running_mean",
        "norm.running_var",
        "norm.num_batches_tracked",
    }
    target.load_state_dict(dict(made))


@pytest.mark.parametrize("names", ["module", "files"])
def test_a_bank_of_a_config_s_model_goes_by_the_names_of_modules_or_files(
    vit: scionwood.Checkpoint, tmp_path: Path, names: str
) -> None:
    """transformers writes a ViT under other names than its modules have."""
    module = loaded(vit, tmp_path / "base")
    base = dict(vit) if names == "files" else module.state_dict()
    bank = [{name: tensor + step for name, tensor in base.items()} for step in (0.0, 1.0)]
    diffusion = BlockDiffusion(bank, torch.tensor([[0.0], [1.0]]), steps=5, width=8)
    diffusion.save(tmp_path / "d.safetensors")
    options = {"condition": [0.5], "by": "regression", "penalty": 1e-9}
    made = scionwood.grow(tmp_path / "d.safetensors", like=VIT, method="denoised_weights", options=options)
    assert set(actions(made).values()) == {"predicted"}
    for name in vit.tensors:
        torch.testing.assert_close(made[name], vit[name] + 0.5)


# ---------------------------------------------------------------------------------- command line, recipes


def test_the_command_writes_what_loads_and_is_made_again(
    vit: scionwood.Checkpoint, folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    arguments = ["grow", str(folder / "network.safetensors"), "--like", str(folder / "config.json")]
    assert run([*arguments, "--method", "hypernetwork", "--out", str(out)]) == 0
    again = scionwood.open(out)
    assert {name: torch.equal(again[name], vit[name]) for name in vit.tensors} == dict.fromkeys(vit.tensors, True)
    assert not [path.name for path in out.iterdir() if "token" in path.name]
    assert reproduce(out).identical
    (parent,) = again.lineage.parents if again.lineage else ()
    assert parent.digest


def test_the_command_grows_a_state_file_for_a_condition(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "new.safetensors"
    arguments = ["grow", str(folder / "diffusion.safetensors"), "--like", str(folder / "member.safetensors")]
    arguments += ["--method", "denoised_weights", "--option", "condition=0.5,-0.25", "--seed", "3"]
    assert run([*arguments, "--out", str(out)]) == 0
    net().load_state_dict(load_file(out))
    assert reproduce(out).identical


def test_a_parent_that_has_changed_is_not_taken(folder: Path, tmp_path: Path) -> None:
    predictor, out = tmp_path / "network.safetensors", tmp_path / "out"
    LowRankHyperNet().save(predictor)
    scionwood.write(scionwood.grow(predictor, like=VIT, method="hypernetwork"), out)
    LowRankHyperNet().save(predictor, overwrite=True)
    with pytest.raises(SourceError, match="cannot be made again"):
        reproduce(out)


def test_a_recipe_has_steps_that_predict(folder: Path, tmp_path: Path) -> None:
    steps = {
        "first": {
            "verb": "grow",
            "source": str(folder / "diffusion.safetensors"),
            "like": str(folder / "member.safetensors"),
            "method": "denoised_weights",
            "options": {"condition": [1, 0.5], "by": "regression"},
        },
        "out": {"verb": "merge", "models": ["first", str(folder / "member.safetensors")]},
    }
    recipe, out = tmp_path / "recipe.yml", tmp_path / "out.safetensors"
    recipe.write_text(yaml.safe_dump({"steps": steps}))
    assert run(["run", str(recipe), "--out", str(out)]) == 0
    made, member = load_file(out), load_file(folder / "member.safetensors")
    grown = scionwood.grow(
        folder / "diffusion.safetensors", like=net(), method="denoised_weights", options=steps["first"]["options"]
    )
    for name, tensor in made.items():
        torch.testing.assert_close(tensor, (grown[name] + member[name]) / 2)
    assert reproduce(out).identical


@pytest.mark.parametrize("method", ["hypernetwork", "denoised_weights"])
def test_the_methods_describe_themselves(method: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["methods", "grow"]) == 0
    assert f"grow.{method}" in capsys.readouterr().out
    assert run(["methods", f"grow.{method}"]) == 0
    said = capsys.readouterr().out
    assert "scionwood.train.growth" in said
    assert ("condition=…   a list, each a finite number (required)" in said) == (method == "denoised_weights")


# ------------------------------------------------------------------------------------------------ refused


@pytest.mark.parametrize(
    ("kind", "arguments", "error", "words"),
    [
        ("network", {"like": None}, MethodError, "there is none: its source is no model, and has no config"),
        ("network", {"like": None, "set": {"hidden_size": 8}}, MethodError, "its source is no model"),
        ("network", {"depth": "stack"}, MethodError, "grows no depth"),
        ("network", {"text": ["a.txt"]}, MethodError, "hypernetwork learns nothing from text"),
        ("network", {"set": {"width": 3}}, MethodError, "width cannot be set: the target has no config"),
        ("network", {"like": nn.ReLU()}, MatchError, "no Linear and no convolution to predict weights for"),
        ("network", {"like": "member.safetensors"}, MethodError, "does not say which of its tensors are layers"),
        ("network", {"options": {"rank": 2}}, MethodError, "unknown option 'rank': it has none"),
        ("network", {"like": {"hidden_size": 3}}, ScionwoodError, "names no model_type"),
        ("member", {}, SourceError, "is no saved hypernetwork: it holds weights, 6 tensors"),
        ("diffusion", {}, SourceError, "was saved for the method denoised_weights, not for hypernetwork"),
        ("diffusion", {"options": {}}, MethodError, "option 'condition' is required: a list, each a finite number"),
        ("diffusion", {"options": {"condition": "1,x"}}, MethodError, "option 'condition' must be a list"),
        ("diffusion", {"options": {"condition": [1]}}, MethodError, "has 1 numbers, and those of the bank have 2"),
        ("diffusion", {"options": {"condition": [1, float("nan")]}}, MethodError, "each a finite number"),
        ("diffusion", {"options": {"condition": [1, 2], "penalty": 0}}, MethodError, "'penalty' must be"),
    ],
)
def test_what_cannot_be_predicted_is_said(
    folder: Path, kind: str, arguments: dict[str, Any], error: type[Exception], words: str
) -> None:
    method = "denoised_weights" if "condition" in words + str(arguments.get("options")) else "hypernetwork"
    method = "denoised_weights" if arguments.get("options") == {} else method
    given = {"like": net(), "method": method} | arguments
    if isinstance(given["like"], str):
        given["like"] = folder / given["like"]
    with pytest.raises(error) as caught:
        scionwood.grow(folder / f"{kind}.safetensors", **given)
    assert words in str(caught.value)


def test_a_net_that_is_not_the_bank_s_is_listed(folder: Path) -> None:
    target = nn.Sequential(nn.Linear(6, 9), nn.LayerNorm(9), nn.ReLU(), nn.Linear(9, 3), nn.Linear(3, 2))
    options = {"condition": [1, 2]}
    with pytest.raises(MatchError, match="another net than those of the bank") as caught:
        scionwood.grow(folder / "diffusion.safetensors", like=target, method="denoised_weights", options=options)
    assert "0.weight: (9, 6), not (8, 6)" in caught.value.problems
    assert "4.weight: not of this model" in caught.value.problems
    del target[4], target[1]
    with pytest.raises(MatchError) as caught:
        scionwood.grow(folder / "diffusion.safetensors", like=target, method="denoised_weights", options=options)
    assert "3.weight: missing" in caught.value.problems


def test_what_is_not_predicted_needs_values(folder: Path) -> None:
    with torch.device("meta"):
        target = net()
    with pytest.raises(MethodError, match="1.weight of the target is not predicted, and has no values"):
        scionwood.grow(folder / "network.safetensors", like=target, method="hypernetwork")
    with torch.device("meta"):
        linear = nn.Linear(6, 3)
    made = scionwood.grow(folder / "network.safetensors", like=linear, method="hypernetwork")
    assert set(actions(made).values()) == {"predicted"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["network", "--method", "hypernetwork"], "its source is no model"),
        (["member", "--method", "hypernetwork", "--like", "config"], "is no saved hypernetwork"),
        (["diffusion", "--method", "denoised_weights", "--like", "config"], "option 'condition' is required"),
        (["network", "--like", "config"], "is no model that hypercloning can grow: it was saved for the method hyper"),
        (["network", "--method", "logah", "--like", "config"], "give --method hypernetwork"),
        (["network", "--method", "hypernetwork", "--like", "config", "--depth", "stack"], "leave --depth out"),
        (
            ["network", "--method", "hypernetwork", "--like", "config", "--set", "intermediate_size=65"],
            "(65, 16) has a side over 64",
        ),
    ],
)
def test_the_command_says_it_in_a_sentence(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    source, *rest = arguments
    rest = [str(folder / "config.json") if each == "config" else each for each in rest]
    code = run(["grow", str(folder / f"{source}.safetensors"), *rest, "--out", str(tmp_path / "out")])
    said = capsys.readouterr().err
    assert code == 2
    assert words in said
    assert "Traceback" not in said
    assert not (tmp_path / "out").exists()
