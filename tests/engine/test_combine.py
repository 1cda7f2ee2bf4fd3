"""The engine against its oracle: tile by tile, from files, by several threads, it gives the bits of the merge in memory."""

import hashlib

import pytest
import torch
from tests.engine.pretended import Accelerator

from scionwood.checkpoint import cast, write
from scionwood.checkpoint import open as open_checkpoint
from scionwood.engine import combine, job
from scionwood.engine.combine import CombinedTensor
from scionwood.engine.random import Uniforms
from scionwood.methods import registry
from scionwood.methods.merge.whole import merge_models, merge_tensors
from scionwood.methods.record import Record
from scionwood.verbs.merge import merge

NAMES = [entry.name for entry in registry.listing("merge")]
# Every method as it comes, and the options that take another way through it.
CASES = [(name, {}) for name in NAMES] + [
    ("merge.arcee_fusion", {"precision": "float32"}),
    ("merge.breadcrumbs", {"density": (0.5, 0.6, 0.7), "rescale": "l1"}),
    ("merge.breadcrumbs", {"density": 0.5, "gamma": 0.1, "per": "row"}),
    ("merge.dare", {"rescale": "l1", "density": 0.5}),
    ("merge.dare", {"density": (0.5, 0.6, 1.0)}),
    ("merge.della", {"rescale": "l1"}),
    ("merge.della", {"rescale": "l1", "density": (0.5, 0.6, 1.0), "epsilon": (0.1, 0.2, 0.0)}),
    ("merge.emr", {"task": 1}),
    ("merge.emr", {"task": 1, "scope": "means"}),
    ("merge.fusing", {"center": "median", "screen": 1.0}),
    ("merge.model_stock", {"filter_wise": True}),
    ("merge.nuslerp", {"arc": "row"}),
    ("merge.nuslerp", {"arc": "column"}),
    ("merge.pcb_merging", {"scope": "tensor"}),
    ("merge.ram", {"r": 0.1, "epsilon": 0.05}),
    ("merge.reversible", {"p": 1, "granularity": "row", "member": 1}),
    ("merge.reversible", {"p": 1, "granularity": "column", "center": True}),
    ("merge.robust_weight_signatures", {"levels": 16}),
    ("merge.sce", {"select_topk": 0.5, "least_energy": 0.01}),
    ("merge.ties", {"scope": "model", "density": (0.5, 0.6, 0.7), "rescale": "l1"}),
    ("merge.ties", {"zero": "majority", "function": "max", "official_trim": True}),
]
IDS = ["-".join([name.partition(".")[2], *(str(value) for value in options.values())]) for name, options in CASES]
MODELS = {
    "merge.interpolate": 2,
    "merge.slerp": 2,
    "merge.nuslerp": 2,
    "merge.nearswap": 1,
    "merge.arcee_fusion": 1,
    "merge.timber": 1,
    "merge.passthrough": 1,
}
SHAPES = {
    "matrix": (60, 40),
    "vector": (37,),
    "long vector": (300,),
    "scalar": (),
    "empty": (0, 3),
    "cube": (3, 5, 7),
    "wide": (2, 300),
    "column": (50, 1),
}


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


def takes_base(name):
    record = Record.of(registry.load(name))
    return record.space == "delta" or "base" in record.inputs


def merged(name, dtype, device="cpu", **options):
    base, tuned = family(dtype)
    models = tuned[: MODELS.get(name, 3)]
    return merge(models, base=base if takes_base(name) else None, method=name, options=options, seed=3, device=device)


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch):
    """So that every tensor here is cut into many."""
    monkeypatch.setattr(combine, "TILE", 128)


@pytest.mark.parametrize(("name", "options"), CASES, ids=IDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_tiles_give_the_bits_of_the_whole(name, options, dtype, monkeypatch):
    base, tuned = family(dtype)
    function = registry.load(name)
    made = merged(name, dtype, **options)
    models = tuned[: MODELS.get(name, 3)]
    with monkeypatch.context() as patch:
        patch.setattr(torch, "rand", drawn(made, len(models)))
        whole = merge_models(function, models, base if takes_base(name) else None, options)
    for tensor in SHAPES:
        # Sums over tiles are in float64, so thresholds and angles agree to the last bit of float32 or nearly: a number in
        # the middle between two of the output's dtype may be rounded to the other one.
        rounded = whole[tensor].to(dtype)
        step = 1e-6 if dtype == torch.float32 else torch.finfo(dtype).eps
        torch.testing.assert_close(made[tensor], rounded, rtol=step, atol=1e-6)
        assert dtype == torch.float32 or int((made[tensor] != rounded).sum()) <= 3


@pytest.mark.parametrize(("name", "options"), CASES, ids=IDS)
def test_what_is_computed_on_an_accelerator_stays_there(name, options, monkeypatch):
    """By the one of pretence, nothing on the way is of two devices; and the numbers are those of the CPU."""
    monkeypatch.setattr(combine, "DEVICE_TILE", 128)
    monkeypatch.setattr(job, "_each", lambda function, items: [function(item) for item in items])  # it is one thread's
    here = merged(name, torch.bfloat16, **options)
    with Accelerator():
        there = merged(name, torch.bfloat16, "cuda", **options)
        found = {tensor: there[tensor] for tensor in SHAPES}
    for tensor in SHAPES:
        assert found[tensor].device.type == "cpu"
        assert torch.equal(found[tensor], here[tensor]), tensor


def test_the_accelerator_of_pretence_refuses_what_one_refuses():
    with Accelerator():
        there = torch.ones(3, device="cuda")
        assert there.device.type == "cuda"
        assert torch.equal((there * 2).cpu(), torch.full((3,), 2.0))
        with pytest.raises(RuntimeError, match="found cuda:0 and cpu"):
            there + torch.ones(3)
        with pytest.raises((RuntimeError, TypeError)):
            there.numpy()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no accelerator")
def test_an_accelerator_gives_nearly_the_same(monkeypatch):
    monkeypatch.setattr(combine, "DEVICE_TILE", 128)
    differ = []
    for (name, options), case in zip(CASES, IDS, strict=True):
        here, there = (merged(name, torch.float32, device, **options) for device in ("cpu", "cuda"))
        differ += [
            f"{case}: {tensor}"
            for tensor in SHAPES
            if not torch.allclose(there[tensor], here[tensor], rtol=1e-4, atol=1e-5)
        ]
    assert not differ


def drawn(made, count):
    """A torch.rand that gives the numbers that the engine draws, tensor by tensor and model by model."""
    merged = [tensor for tensor in made.tensors.values() if isinstance(tensor, CombinedTensor) and tensor.num_elements]
    numbers = iter(
        Uniforms(tensor.seed, tensor.name, n).draw(0, (tensor.num_elements,)).numbers
        for tensor in merged
        for n in range(count)
    )
    return lambda shape, **_: next(numbers).reshape(shape)


@pytest.mark.parametrize("name", NAMES)
def test_a_half_precision_run_is_the_rounded_float32_run(name):
    base, tuned = family(torch.bfloat16)
    widened = [{k: v.float() if v.is_floating_point() else v for k, v in model.items()} for model in (base, *tuned)]
    count = MODELS.get(name, 3)
    narrow = merge(tuned[:count], base=base if takes_base(name) else None, method=name)
    wide = merge(widened[1 : count + 1], base=widened[0] if takes_base(name) else None, method=name)
    for tensor in SHAPES:
        assert torch.equal(narrow[tensor], wide[tensor].bfloat16()), tensor


@pytest.mark.parametrize(("name", "options"), CASES, ids=IDS)
def test_the_bytes_do_not_depend_on_workers_or_tiles(name, options, tmp_path, monkeypatch):
    digests = set()
    for number, (workers, tile) in enumerate([(1, 128), (4, 128), (2, 4096), (1, 1000)]):
        monkeypatch.setattr(combine, "TILE", tile)
        out = write(merged(name, torch.bfloat16, **options), tmp_path / f"{number}.safetensors", workers=workers)
        digests.add(hashlib.sha256(out.read_bytes()).hexdigest())
    assert len(digests) == 1


@pytest.mark.parametrize(("name", "options"), CASES, ids=IDS)
def test_rows_read_alone_are_the_rows_of_the_whole(name, options):
    made = merged(name, torch.bfloat16, **options)
    for tensor, start, stop in [("matrix", 20, 33), ("vector", 5, 9), ("cube", 1, 2), ("wide", 1, 2)]:
        assert torch.equal(made.tensors[tensor].read(start, stop), made[tensor][start:stop]), tensor


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


def test_a_merge_of_what_must_be_seen_whole_computes_it_once(tmp_path):
    base, tuned = family(torch.float32)
    inner = merge(tuned[:2], base=base, method="iso_c")
    tensor = inner.tensors["matrix"]
    assert isinstance(tensor, CombinedTensor)
    function, calls = tensor.method, []

    def counted(*arguments, **options):
        calls.append(1)
        return function(*arguments, **options)

    tensor.method = counted
    outer = merge([inner, tuned[2]], method="linear")
    assert outer.tensors["matrix"].indivisible
    out = write(outer, tmp_path / "outer.safetensors", workers=4)
    assert len(calls) == 1
    assert tensor._result is None  # and nothing of it is kept
    expected = (merge_tensors(function, [t["matrix"] for t in tuned[:2]], base["matrix"]) + tuned[2]["matrix"]) / 2
    torch.testing.assert_close(open_checkpoint(out)["matrix"], expected, rtol=1e-6, atol=1e-6)


def test_summaries_that_no_option_needs_cost_no_pass():
    base, tuned = family(torch.float32)
    assert not merge(tuned, base=base, method="dare").tensors["matrix"].indivisible
    assert merge(tuned, base=base, method="dare", options={"rescale": "l1"}).tensors["matrix"].indivisible


def test_the_inputs_may_have_different_dtypes_and_orders(tmp_path):
    base, tuned = family(torch.float32)
    narrow = write(open_checkpoint(tuned[0]), tmp_path / "a.safetensors", dtype="bfloat16")
    backwards = dict(reversed(tuned[1].items()))
    made = merge([narrow, backwards], base=base, method="task_arithmetic")
    expected = merge([open_checkpoint(narrow), tuned[1]], base=base, method="task_arithmetic")
    assert torch.equal(made["matrix"], expected["matrix"])
    assert made["matrix"].dtype == torch.float32


def test_a_merge_in_another_dtype_is_rounded_once():
    models = [{"w": torch.randn(64, 8).bfloat16()} for _ in range(3)]
    exact = merge([{"w": model["w"].float()} for model in models], options={"weights": (1, 2, 4)})["w"]
    merged = merge(models, options={"weights": (1, 2, 4)})
    assert torch.equal(cast(merged, "float32")["w"], exact)
    assert torch.equal(merged["w"], exact.bfloat16())
