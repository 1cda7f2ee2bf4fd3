"""The plan: what is read, how often, what is held; the same numbers that a run has."""

import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from tests.timed import assert_linear

from scionwood.checkpoint import Checkpoint, FileTensor, cast, open, write
from scionwood.engine.plan import Plan
from scionwood.errors import RecipeError
from scionwood.verbs.merge import merge

SHAPES = {"a": (1024, 256), "b": (32,)}
NBYTES = (1024 * 256 + 32) * 4


@pytest.fixture
def models(tmp_path: Path) -> list[str]:
    generator = torch.Generator().manual_seed(0)
    for number in range(4):
        tensors = {name: torch.randn(shape, generator=generator) for name, shape in SHAPES.items()}
        save_file(tensors, tmp_path / f"{number}.safetensors", metadata={"format": "pt"})
    return [str(tmp_path / f"{number}.safetensors") for number in range(4)]


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Count the bytes that are really read from files from now on."""
    read = [0]
    original = FileTensor.read_rows

    def read_rows(self: FileTensor, start: int, stop: int) -> Any:
        read[0] += (stop - start) * self.dtype.itemsize
        return original(self, start, stop)

    monkeypatch.setattr(FileTensor, "read_rows", read_rows)
    return read


def nested(models: list[str]) -> Checkpoint:
    pair = merge(models[:2], method="slerp")
    return merge([pair, models[2]], base=models[3], method="ties")


CASES = {
    "copy": (lambda models: open(models[0]), 1),
    "mean": (merge, 4),
    "mean in bfloat16": (lambda models: cast(merge(models), "bfloat16"), 4),
    "slerp": (lambda models: merge(models[:2], method="slerp"), 4),
    "ties": (lambda models: merge(models[:2], base=models[2], method="ties"), 6),
    # Slerp looks twice and is looked at twice: three times at two models. Ties looks twice at two more.
    "nested": (nested, 10),
    "shared": (lambda models: merge([merge(models[:2]), merge(models[1:3])]), 4),
}


@pytest.mark.parametrize("case", CASES)
def test_bytes_read_are_those_that_a_run_reads(models, tmp_path, monkeypatch, case):
    make, times = CASES[case]
    checkpoint = make(models)
    plan = Plan.of(checkpoint)
    assert plan.bytes_read == times * NBYTES
    read = counted(monkeypatch)
    write(checkpoint, tmp_path / "out", workers=1)
    # A rank is looked for between bounds that a sample gives: a few thousand elements more.
    assert plan.bytes_read <= read[0] <= 1.05 * plan.bytes_read
    assert plan.bytes_written == sum(tensor.nbytes for tensor in open(tmp_path / "out").tensors.values())


def test_a_row_for_each_step(models):
    pair = merge(models[:2], method="slerp")
    whole = merge([pair, models[2]], base=models[3], method="ties")
    first, last = Plan.of(whole, {"pair": pair, "all": whole}).steps
    assert (first.bytes_read, first.bytes_made, first.written, first.passes) == (6 * NBYTES, NBYTES, False, (3, 3))
    assert (last.bytes_read, last.bytes_made, last.written, last.passes) == (4 * NBYTES, NBYTES, True, (2, 2))
    assert first.operations == {"merge.slerp": 2}
    assert sum(step.bytes_read for step in (first, last)) == Plan.of(whole).bytes_read


def test_what_is_held_whole_is_told_with_the_reason(models):
    plan = Plan.of(merge(models[:2], base=models[2], method="tsv_m"))
    (whole,) = plan.steps[0].whole
    assert whole.reason == "merge.tsv_m works on a whole tensor at once"
    assert (whole.tensors, whole.largest) == (2, "a")
    assert whole.working_bytes == plan.working_bytes[0] >= 3 * 1024 * 256 * 4
    assert plan.peak_bytes(1) < plan.peak_bytes(2)
    assert not Plan.of(merge(models)).steps[0].whole
    lines = "\n".join(plan.lines(2))
    assert "held whole in memory" in lines
    assert "with 2 workers" in lines


def test_the_nodes_are_a_graph_that_names_what_it_holds(models):
    plan = Plan.of(merge([merge(models[:2]), merge([models[1], models[0]])]))
    stored = [node for node in plan.nodes.values() if node.operation == "stored"]
    assert len(stored) == 4  # two tensors of two files, though each is opened twice
    assert sum(node.looks for node in stored) == 8
    known: set[str] = set()
    for node in plan.nodes.values():
        assert set(node.inputs) <= known
        known.add(node.name)
    assert list(Plan.of(merge(models[:2])).nodes) == list(Plan.of(merge(models[:2])).nodes)
    other = Plan.of(merge(models[:2], options={"weights": (1, 2)})).nodes
    assert {name for name, node in other.items() if node.operation != "stored"}.isdisjoint(plan.nodes)


def test_the_digest_changes_with_what_changes_the_result(models):
    digest = Plan.of(nested(models)).digest
    assert Plan.of(nested(models)).digest == digest
    Plan.of(nested(models)).check(digest)
    others = [
        merge([merge(models[:2], method="slerp"), models[2]], base=models[3], method="ties", options={"density": 0.3}),
        merge([merge(models[:2], method="slerp"), models[2]], base=models[3], method="ties", seed=1),
        cast(nested(models), "bfloat16"),
    ]
    data = bytearray(Path(models[1]).read_bytes())
    data[-1] ^= 1
    Path(models[1]).write_bytes(data)
    found = {Plan.of(checkpoint).digest for checkpoint in (*others, nested(models))}
    assert len(found) == 4
    assert digest not in found
    with pytest.raises(RecipeError, match="no longer the expected one"):
        Plan.of(nested(models)).check(digest)


def test_planning_is_linear(tmp_path):
    def seconds(count):
        tensors = {f"layers.{number}.weight": torch.zeros(2) for number in range(count)}
        paths = [str(tmp_path / f"{name}{count}.safetensors") for name in "ab"]
        for path in paths:
            save_file(tensors, path, metadata={"format": "pt"})
        checkpoint = merge(paths)
        begin = time.process_time()
        plan = Plan.of(checkpoint)
        spent = time.process_time() - begin
        assert len(plan.nodes) == 3 * count
        return spent

    assert_linear(seconds, 36_000)
