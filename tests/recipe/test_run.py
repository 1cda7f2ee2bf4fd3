"""What a recipe makes is what the same calls make, and its lineage makes it again."""

from pathlib import Path

import pytest
import torch

import scionwood
from scionwood.checkpoint import digest, open, write
from scionwood.errors import MatchError, RecipeError, SourceError
from scionwood.recipe.read import parse_recipe, read_recipe
from scionwood.recipe.run import make

TWO = {
    "steps": {
        "pair": {"verb": "merge", "method": "slerp", "models": ["chat", "code"], "options": {"t": 0.3}},
        "all": {
            "verb": "merge",
            "method": "ties",
            "base": "llama",
            "models": [{"model": "pair", "weight": 2, "density": 0.5}, "math"],
        },
    }
}


def made(plain, **settings):
    return make(parse_recipe(plain), **settings)


def test_steps_of_a_recipe_are_calls_of_verbs(family: Path) -> None:
    pair = scionwood.merge(["chat", "code"], method="slerp", options={"t": 0.3})
    options = {"weights": (2, 1), "density": (0.5, 0.2)}
    expected = scionwood.merge([pair, "math"], base="llama", method="ties", options=options)
    found = made(TWO)
    assert list(found.steps) == ["pair", "all"]
    assert found.steps["all"] is found.checkpoint
    assert digest(found.checkpoint, full=True) == digest(expected, full=True)


def test_a_step_inside_another_is_the_same_step(family: Path) -> None:
    inline = dict(TWO["steps"]["all"])
    inline["models"] = [{"model": TWO["steps"]["pair"], "weight": 2, "density": 0.5}, "math"]
    found = made(inline)
    assert list(found.steps) == ["merge.models.0", "merge"]
    assert digest(found.checkpoint, full=True) == digest(made(TWO).checkpoint, full=True)


def test_a_step_that_two_others_use_is_made_once(family: Path) -> None:
    steps = {
        "a": {"verb": "merge", "models": ["chat", "code"]},
        "b": {"verb": "merge", "models": ["a", "math"]},
        "c": {"verb": "merge", "models": ["a", "b"]},
    }
    found = made({"steps": steps})
    assert list(found.steps) == ["a", "b", "c"]
    mean = (open("chat")["head.weight"].double() + open("code")["head.weight"]) / 2
    expected = (mean + (mean + open("math")["head.weight"]) / 2) / 2
    torch.testing.assert_close(found.checkpoint["head.weight"].double(), expected, rtol=1e-6, atol=1e-6)


def test_a_step_is_stored_in_its_dtype(family: Path) -> None:
    plain = {"verb": "merge", "models": ["chat", "code"], "dtype": "bf16"}
    exact = made({"verb": "merge", "models": ["chat", "code"]}).checkpoint["head.weight"]
    assert torch.equal(made(plain).checkpoint["head.weight"], exact.bfloat16())
    assert torch.equal(made(plain, dtype="float32").checkpoint["head.weight"], exact)
    # A rounded step inside another is rounded before the other sees it.
    outer = made({"verb": "write", "source": plain, "dtype": "float32"}).checkpoint
    assert outer.lineage is not None
    assert outer.lineage.recipe["source"]["dtype"] == "bfloat16"
    assert digest(made(outer.lineage.to_dict()).checkpoint, full=True) == digest(outer, full=True)


def test_the_example_of_the_guide_runs(family: Path) -> None:
    guide = Path(__file__).parents[2] / "docs" / "guide" / "recipes.md"
    (family / "recipe.yml").write_text(guide.read_text("utf-8").partition("```yaml\n")[2].partition("```")[0])
    found = make(read_recipe("recipe.yml"))
    assert list(found.steps) == ["talk", "all"]
    write(found.checkpoint, "merged")
    expected = scionwood.merge(
        [scionwood.merge(["chat", "code"], method="slerp", options={"t": 0.3}), "math"],
        base="llama",
        method="ties",
        options={"weights": (2, 1), "density": (0.5, 0.2)},
    )["head.weight"]
    assert torch.equal(open("merged")["head.weight"], expected.bfloat16())


@pytest.mark.parametrize("form", ["yaml", "steps"])
def test_the_lineage_beside_an_output_is_a_recipe_that_makes_it_again(family: Path, form: str) -> None:
    plain = TWO if form == "steps" else {"verb": "merge", "method": "dare", "base": "llama", "models": ["chat", "math"]}
    plain = plain if form == "steps" else plain | {"seed": 5, "dtype": "bfloat16", "options": {"density": 0.4}}
    out = write(made(plain).checkpoint, "out")
    again = make(read_recipe(out / "scionwood.yaml")).checkpoint
    assert digest(again, full=True) == digest("out", full=True)
    assert again.lineage == open("out").lineage


def test_a_verb_that_refuses_is_told_with_its_step_and_line(family: Path) -> None:
    (family / "r.yml").write_text("steps:\n  odd:\n    verb: merge\n    models: [chat, other]\n")
    write({"head.weight": torch.zeros(2, 2)}, "other")
    with pytest.raises(MatchError) as caught:
        make(read_recipe("r.yml"))
    assert caught.value.message.startswith("r.yml:3: the step 'odd': The models cannot be merged")
    assert caught.value.problems


def test_all_inputs_that_are_not_there_are_told_with_their_lines(family: Path) -> None:
    (family / "r.yml").write_text("verb: merge\nmodels:\n  - ./nowhere\n  - chat\n  - ./neither\n")
    with pytest.raises(SourceError) as caught:
        make(read_recipe("r.yml"))
    assert caught.value.message == "2 inputs of the recipe cannot be read."
    assert [problem.partition(" ")[0] for problem in caught.value.problems] == ["r.yml:3:", "r.yml:5:"]


def test_what_was_in_memory_is_not_run_again(family: Path) -> None:
    merged = scionwood.merge([{"w": torch.zeros(2)}, {"w": torch.ones(2)}])
    assert merged.lineage is not None
    with pytest.raises(RecipeError, match="named twice"):
        make(parse_recipe(merged.lineage.to_dict()))


def test_stacks_and_options_that_vary_are_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = ["embed.weight", *(f"layers.{n}.{part}.weight" for n in range(3) for part in ("up", "down")), "norm.weight"]
    for number, model in enumerate(("llama", "chat"), 1):
        write({name: torch.full((2, 2), float(number)) for name in names}, model)
    rules = [{"tensors": "*.down.*", "value": 0.25}, {"layers": [0, 1]}]
    mixed = {"verb": "merge", "method": "slerp", "models": ["llama", "chat"], "options": {"t": rules}}
    plain = {"verb": "stack", "parts": [{"model": "llama", "layers": [0, 2]}, {"model": mixed, "layers": [1, 3]}]}
    out = write(made(plain).checkpoint, "out")
    found = {name: float(tensor[0, 0]) for name, tensor in open(out).items()}
    # Parallel tensors are interpolated: 1 + t. Layers 1 and 2 of the merge have become layers 2 and 3.
    assert [found[f"layers.{n}.up.weight"] for n in range(4)] == [1, 1, 1.5, 2]
    assert [found[f"layers.{n}.down.weight"] for n in range(4)] == [1, 1, 1.25, 1.25]
    again = make(read_recipe(out / "scionwood.yaml")).checkpoint
    assert digest(again, full=True) == digest(out, full=True)


def test_a_selection_out_of_a_merge_is_that_out_of_the_written_merge(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_attention_heads": 2, "num_key_value_heads": 2}
    config = LlamaConfig(vocab_size=32, num_hidden_layers=3, max_position_embeddings=32, **sizes)
    for model in ("llama", "chat"):
        LlamaForCausalLM(config).save_pretrained(model)
    dare = {"verb": "merge", "method": "dare", "base": "llama", "models": ["chat"], "options": {"density": 0.5}}
    write(made(dare).checkpoint, "merged")
    # Layer 2 becomes layer 1, and some of its tensors are passed on as they are: the random numbers stay those of layer 2.
    smaller = {"verb": "select", "set": {"num_hidden_layers": 2, "intermediate_size": 12}, "depth": [0, 2]}
    at_once, from_disk = (made(smaller | {"source": source}).checkpoint for source in (dare, "merged"))
    assert digest(at_once, full=True) == digest(from_disk, full=True)
