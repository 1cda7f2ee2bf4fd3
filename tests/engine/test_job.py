"""What all tensors of one merge have in common: summaries over the model, and numbers that are not finite."""

import pytest
import torch

from scionwood.checkpoint import MemoryTensor
from scionwood.engine import combine, job
from scionwood.engine.combine import CombinedTensor
from scionwood.engine.job import Job
from scionwood.errors import MethodError, SourceError
from scionwood.methods import registry
from scionwood.methods.merge.whole import merge_models
from scionwood.methods.record import resolve

OPTIONS = {"density": 0.3, "scope": "model", "zero": "majority"}


def family(count=3):
    generator = torch.Generator().manual_seed(0)
    shapes = {"up": (40, 30), "norm": (30,), "scale": (), "down": (30, 40)}
    base = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    # Tensors that differ in size: one threshold for all keeps much of some and little of others.
    sizes = {"up": 0.1, "norm": 1.0, "scale": 0.5, "down": 0.02}
    models = [
        {name: base[name] + sizes[name] * torch.randn(base[name].shape, generator=generator) for name in shapes}
        for _ in range(count)
    ]
    return base, models


def combined(base, models, options, common):
    ties = registry.load("merge.ties")
    return {
        name: CombinedTensor(
            name,
            torch.float32,
            ties,
            [MemoryTensor(name, model[name]) for model in models],
            MemoryTensor(name, base[name]),
            resolve(ties, options),
            job=common,
        )
        for name in base
    }


@pytest.mark.parametrize("group", [1, 1000, 1 << 22])
@pytest.mark.parametrize("first", ["up", "scale"])
def test_a_threshold_of_the_whole_model(group, first, monkeypatch):
    monkeypatch.setattr(combine, "TILE", 128)
    monkeypatch.setattr(job, "GROUP_ELEMENTS", group)
    base, models = family()
    made = combined(base, models, OPTIONS, Job())
    expected = merge_models(registry.load("merge.ties"), models, base, OPTIONS)
    made[first].read()  # whichever is asked first
    for name, tensor in made.items():
        torch.testing.assert_close(tensor.read(), expected[name], rtol=1e-6, atol=1e-7)
    assert not torch.equal(
        expected["down"], combined(base, models, {**OPTIONS, "scope": "tensor"}, Job())["down"].read()
    )


def test_options_cannot_vary_where_the_whole_model_counts():
    base, models = family()
    common = Job()
    first = combined({"up": base["up"]}, models, OPTIONS, common)["up"]
    combined({"norm": base["norm"]}, models, {**OPTIONS, "density": 0.5}, common)
    with pytest.raises(MethodError, match="norm has other options than up"):
        first.read()


def test_what_is_not_finite_is_counted_everywhere_and_refused():
    base, models = family()
    models[1]["up"][3, 4] = float("nan")
    models[1]["up"][3, 5] = float("inf")
    models[2]["norm"][0] = -float("inf")
    base["down"][0, 0] = float("nan")
    made = combined(base, models, {"density": 0.5}, Job(["chat", "code", "math", "llama"]))
    with pytest.raises(SourceError) as caught:
        made["up"].read()
    assert caught.value.message.startswith("3 tensors hold NaN or infinity")
    assert list(caught.value.problems) == ["up: 2 in code", "norm: 1 in math", "down: 1 in llama"]
    assert "--allow-nonfinite" in (caught.value.hint or "")
    # A tensor that is finite says so too: the merge as a whole is refused when the first is met.
    assert made["scale"].read().isfinite()


def test_what_is_not_finite_may_be_allowed_and_is_counted():
    base, models = family()
    models[1]["up"][3, 4] = float("nan")
    common = Job(["chat", "code", "math", "llama"], allow_nonfinite=True)
    made = combined(base, models, {"density": 0.5}, common)
    with pytest.warns(UserWarning, match="1 tensor holds NaN or infinity, merged as they come; up: 1 in code"):
        assert int(made["up"].read().isnan().sum()) == 1
    assert made["norm"].read().isfinite().all()
    assert int(made["up"].read().isnan().sum()) == 1  # and it is said once


def test_finite_numbers_whose_sum_is_not_are_merged():
    huge = {"w": torch.full((4, 4), 1e38)}
    made = combined({"w": torch.zeros(4, 4)}, [huge, huge], {"density": 0.5}, Job())
    assert torch.equal(made["w"].read(), huge["w"])
