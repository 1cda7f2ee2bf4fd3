"""The budget of memory: what must be held whole is made only where it fits, and nothing waits for ever."""

import hashlib
import os
import threading
import time
from pathlib import Path

import pytest
import torch

from scionwood.checkpoint import CastTensor, Checkpoint, ComputedTensor, LazyTensor, open, write
from scionwood.errors import OutputError

SIZES = [30, 500, 1000, 70, 1000, 400, 250, 999, 10, 600]


class Scales:
    """Counts what is held at once, from inside the functions that hold it."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.held = 0
        self.most = 0
        self.order: list[int] = []

    def tensor(self, number: int, size: int) -> LazyTensor:
        def function(start: int, stop: int) -> torch.Tensor:
            with self.lock:
                self.held += 4 * size
                self.most = max(self.most, self.held)
                self.order.append(size)
            time.sleep(0.003)
            with self.lock:
                self.held -= 4 * size
            return torch.full((stop - start,), float(number))

        return ComputedTensor(f"x{number}", (size,), torch.float32, function, whole=True)

    def checkpoint(self) -> Checkpoint:
        return Checkpoint({f"x{number}": self.tensor(number, size) for number, size in enumerate(SIZES)})


@pytest.mark.parametrize("memory", [4000, 5000, 8000, "12kB"])
@pytest.mark.parametrize("workers", [1, 4])
def test_never_more_is_held_than_allowed(tmp_path: Path, memory: int | str, workers: int) -> None:
    scales = Scales()
    out = write(scales.checkpoint(), tmp_path / "out", memory=memory, workers=workers)
    assert sorted(scales.order) == sorted(SIZES), "everything is made, once"
    assert scales.most <= int(str(memory).replace("kB", "000"))
    if workers > 1:
        assert scales.most > 3000, "and not one by one"
    for number, size in enumerate(SIZES):
        assert torch.equal(open(out)[f"x{number}"], torch.full((size,), float(number)))


def test_the_bytes_do_not_depend_on_the_memory(tmp_path: Path) -> None:
    found = {
        hashlib.sha256(
            write(
                Scales().checkpoint(), tmp_path / str(memory) / "out.safetensors", memory=memory, workers=3
            ).read_bytes()
        ).hexdigest()
        for memory in (None, 4000, "6 kB", "1GiB")
    }
    assert len(found) == 1


def test_the_largest_are_made_first_and_equal_ones_in_their_order(tmp_path: Path) -> None:
    scales = Scales()
    write(scales.checkpoint(), tmp_path / "out", workers=1)
    assert scales.order == sorted(SIZES, reverse=True)


def test_an_idle_worker_goes_on_with_what_fits(tmp_path: Path) -> None:
    """Two tensors exclude each other; the small one and the one in tiles are made meanwhile, or the first never ends."""
    made = {name: threading.Event() for name in ("small", "tiled")}
    alone = threading.Lock()

    def large(start: int, stop: int) -> torch.Tensor:
        assert alone.acquire(blocking=False), "both large ones at once"
        for event in made.values():
            assert event.wait(20)
        alone.release()
        return torch.zeros(stop - start)

    def other(name: str, size: int, *, whole: bool) -> LazyTensor:
        def function(start: int, stop: int) -> torch.Tensor:
            made[name].set()
            return torch.ones(stop - start)

        return ComputedTensor(name, (size,), torch.float32, function, whole=whole)

    tensors = {name: ComputedTensor(name, (1000,), torch.float32, large, whole=True) for name in ("a", "b")}
    tensors |= {"small": other("small", 20, whole=True), "tiled": other("tiled", 5000, whole=False)}
    write(Checkpoint(tensors), tmp_path / "out", memory=4100, workers=2)


def test_a_failure_frees_those_who_wait_for_memory(tmp_path: Path) -> None:
    def function(start: int, stop: int) -> torch.Tensor:
        time.sleep(0.05)
        raise RuntimeError("no luck")

    tensors = {name: ComputedTensor(name, (1000,), torch.float32, function, whole=True) for name in "abcd"}
    with pytest.raises(RuntimeError, match="no luck"):
        write(Checkpoint(tensors), tmp_path / "out", memory=4000, workers=4)
    assert os.listdir(tmp_path) == []


def test_too_little_for_the_largest_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    scales = Scales()
    checkpoint = Checkpoint({"y": CastTensor(scales.tensor(2, 1000).named("y"), torch.float16)})
    with pytest.raises(OutputError) as caught:
        write(checkpoint, tmp_path / "out", memory=2000)
    assert caught.value.message == "'y' takes 4.00 kB of memory while it is made, more than 2.00 kB."
    assert "Allow 4,000 bytes or more (memory, --memory)" in str(caught.value)
    assert scales.order == []
    assert os.listdir(tmp_path) == []
    write(checkpoint, tmp_path / "out", memory=4000)


@pytest.mark.parametrize("memory", ["5 apples", "0GB", 0, -1])
def test_memory_that_is_no_size(tmp_path: Path, memory: int | str) -> None:
    with pytest.raises(OutputError, match="is not a size|must be positive"):
        write({"x": torch.ones(1)}, tmp_path / "out", memory=memory)


def test_small_tensors_are_handed_out_together(tmp_path: Path) -> None:
    """Three thousand of them are made by few hand-outs, each by one thread, and still by all threads."""
    threads: list[int] = []

    def function(start: int, stop: int) -> torch.Tensor:
        threads.append(threading.get_ident())
        return torch.ones(stop - start)

    named = {f"x{number}": ComputedTensor(f"x{number}", (4,), torch.float32, function) for number in range(3000)}
    reports: list[int] = []
    write(Checkpoint(named), tmp_path / "out", workers=2, progress=lambda state: reports.append(state.tensors_done))
    assert len(threads) == 3000
    assert reports[-1] == 3000
    assert len(reports) < 100
