"""The engine against its oracle: tile by tile, from files, by several threads, it gives the bits of the merge in memory."""

import hashlib

import pytest
import torch

from scionwood.checkpoint import open as open_checkpoint
from scionwood.checkpoint import write
from scionwood.engine import combine
from scionwood.methods import registry
from scionwood.methods.merge.whole import merge_tensors
from scionwood.methods.record import Record
from scionwood.verbs.merge import merge

NAMES = [entry.name for entry in registry.listing("merge")]
MODELS = {"merge.slerp": 2, "merge.nearswap": 1}
SHAPES = {"matrix": (90, 70), "vector": (37,), "scalar": (), "empty": (0, 3), "cube": (3, 5, 7)}


def family(dtype, count=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    base = {name: torch.randn(shape, generator=generator).to(dtype) for name, shape in SHAPES.items()}
    base["table"] = torch.arange(5)
    tuned = [
        {
            name: (t.float() + 0.1 * torch.randn(t.shape, generator=generator)).to(dtype) if name in SHAPES else t
            for name, t in base.items()
        }
        for _ in range(count)
    ]
    return base, tuned


def merged(name, dtype, **options):
    base, tuned = family(dtype)
    uses_base = Record.of(registry.load(name)).space == "delta"
    return merge(tuned[: MODELS.get(name, 3)], base=base if uses_base else None, method=name, options=options, seed=3)


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch):
    """So that every tensor here is cut into many."""
    monkeypatch.setattr(combine, "TILE", 128)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "merge.dare"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_tiles_give_the_bits_of_the_whole(name, dtype):
    base, tuned = family(dtype)
    function = registry.load(name)
    made = merged(name, dtype)
    for tensor in SHAPES:
        if tensor == "empty":
            assert made[tensor].shape == (0, 3)
            continue
        whole = merge_tensors(function, [model[tensor] for model in tuned[: MODELS.get(name, 3)]], base[tensor])
        # Sums over tiles are in float64, so thresholds and angles agree to the last bit of float32 but for ties of rounding.
        torch.testing.assert_close(made[tensor], whole.to(dtype), rtol=1e-6 if dtype == torch.float32 else 0, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_a_half_precision_run_is_the_rounded_float32_run(name):
    base, tuned = family(torch.bfloat16)
    widened = [{k: v.float() if v.is_floating_point() else v for k, v in model.items()} for model in (base, *tuned)]
    uses_base = Record.of(registry.load(name)).space == "delta"
    count = MODELS.get(name, 3)
    narrow = merge(tuned[:count], base=base if uses_base else None, method=name)
    wide = merge(widened[1 : count + 1], base=widened[0] if uses_base else None, method=name)
    for tensor in SHAPES:
        assert torch.equal(narrow[tensor], wide[tensor].bfloat16()), tensor


@pytest.mark.parametrize("name", NAMES)
def test_the_bytes_do_not_depend_on_workers_or_tiles(name, tmp_path, monkeypatch):
    digests = set()
    for number, (workers, tile) in enumerate([(1, 128), (4, 128), (2, 4096)]):
        monkeypatch.setattr(combine, "TILE", tile)
        out = write(merged(name, torch.bfloat16), tmp_path / f"{number}.safetensors", workers=workers)
        digests.add(hashlib.sha256(out.read_bytes()).hexdigest())
    assert len(digests) == 1


def test_random_numbers_belong_to_seed_tensor_model_and_element():
    base, tuned = family(torch.float32)

    def run(seed, models):
        return merge(models, base=base, method="dare", options={"density": 0.5}, seed=seed)

    first = run(1, tuned)
    assert torch.equal(first["matrix"], run(1, tuned)["matrix"])
    assert not torch.equal(first["matrix"], run(2, tuned)["matrix"])
    # Rows read alone are the rows of the whole.
    assert torch.equal(first.tensors["matrix"].read(40, 60), first["matrix"][40:60])
    kept = (run(1, tuned[:1])["matrix"] != base["matrix"]).float().mean()
    assert 0.45 < kept < 0.55


def test_integers_are_copied_and_the_ledger_says_so():
    made = merged("merge.linear", torch.float32)
    assert torch.equal(made["table"], torch.arange(5))
    assert {entry.name: entry.action for entry in made.ledger or ()}["table"] == "copied"


def test_merges_compose_without_files():
    base, tuned = family(torch.float32)
    inner = merge(tuned[:2], method="linear")
    outer = merge([inner, tuned[2]], base=base, method="ties", options={"density": 0.5})
    whole = merge_tensors(
        registry.load("merge.ties"),
        [(tuned[0]["matrix"] + tuned[1]["matrix"]) / 2, tuned[2]["matrix"]],
        base["matrix"],
        {"density": 0.5},
    )
    torch.testing.assert_close(outer["matrix"], whole, rtol=1e-5, atol=1e-6)


def test_the_inputs_may_have_different_dtypes_and_orders(tmp_path):
    base, tuned = family(torch.float32)
    narrow = write(open_checkpoint(tuned[0]), tmp_path / "a.safetensors", dtype="bfloat16")
    backwards = dict(reversed(tuned[1].items()))
    made = merge([narrow, backwards], base=base, method="task_arithmetic")
    expected = merge([open_checkpoint(narrow), tuned[1]], base=base, method="task_arithmetic")
    assert torch.equal(made["matrix"], expected["matrix"])
    assert made["matrix"].dtype == torch.float32
