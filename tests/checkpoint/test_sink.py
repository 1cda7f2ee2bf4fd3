"""Sinks: what is written past the cache is what would have been written through it, whoever writes beside."""

import errno
import itertools
import mmap
import multiprocessing
import os
import random
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from scionwood.checkpoint import open, sink, stream, write
from scionwood.checkpoint.sink import DIRECT_BYTES, PAGE, opened

Piece = tuple[int, int]
SIZE = 6 * sink.STAGE_BYTES + 12_345


@pytest.fixture(scope="module")
def content() -> bytes:
    return random.Random(0).randbytes(SIZE)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "file"
    file.touch()
    os.truncate(file, SIZE)
    return file


def cut(size: int, longest: int, seed: int) -> list[Piece]:
    """Cut a file into pieces of any length, in any order; some begin or end on a page."""
    draw = random.Random(seed)
    ends = {0, size, *(draw.randrange(size) for _ in range(size // longest * 2))}
    ends |= {end // PAGE * PAGE for end in draw.sample(sorted(ends), len(ends) // 4)}
    borders = sorted(ends)
    pieces = list(itertools.pairwise(borders))
    draw.shuffle(pieces)
    return pieces


def write_pieces(path: Path, content: bytes, pieces: Sequence[Piece]) -> None:
    for start, stop in pieces:
        with opened(path, DIRECT_BYTES) as file:
            file.write(memoryview(content)[start:stop], start)


@pytest.mark.parametrize("longest", [3000, 20_000, 3_000_000])
def test_pieces_of_any_length(path: Path, content: bytes, longest: int) -> None:
    write_pieces(path, content, cut(SIZE, longest, longest))
    assert path.read_bytes() == content


@pytest.mark.parametrize("seed", range(3))
def test_by_several_processes_at_once(path: Path, content: bytes, seed: int) -> None:
    """A page where two pieces meet is written by both; and what one process stages is not another's."""
    pieces = cut(SIZE, 50_000, seed)
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=write_pieces, args=(path, content, pieces[number::4])) for number in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert path.read_bytes() == content


def test_by_several_threads_at_once(path: Path, content: bytes) -> None:
    pieces = cut(SIZE, 50_000, 9)
    threads = [threading.Thread(target=write_pieces, args=(path, content, pieces[number::4])) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_bytes() == content


def test_whole_pages_alone_go_past_the_cache(path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    if not takes_direct(path):
        pytest.skip("the temporary folder is on a disk that is written through the cache alone")
    seen: list[tuple[bool, int, int]] = []
    real = os.pwrite

    def pwrite(descriptor: int, data: memoryview, offset: int) -> int:
        flags = int(Path(f"/proc/self/fdinfo/{descriptor}").read_text().split("flags:")[1].split()[0], 8)
        seen.append((bool(flags & os.O_DIRECT), len(data), offset))
        return real(descriptor, data, offset)

    monkeypatch.setattr(os, "pwrite", pwrite)
    write_pieces(path, content, [(100, 5 * PAGE + 7), (2 * PAGE, 3 * PAGE), (50, 60)])
    assert seen == [
        (False, PAGE - 100, 100),
        (True, 4 * PAGE, PAGE),
        (False, 7, 5 * PAGE),
        (True, PAGE, 2 * PAGE),
        (False, 10, 50),
    ]
    with opened(path, DIRECT_BYTES - 1) as file:
        file.write(memoryview(content)[:PAGE], 0)
    assert seen[-1] == (False, PAGE, 0)


def takes_direct(path: Path) -> bool:
    with opened(path, DIRECT_BYTES) as file:
        return file._direct is not None


# ------------------------------------------------------------------------------------------------- refusals


def opening(path: str | Path, flags: int, mode: int = 0o777, *, real: Callable[..., int] = os.open) -> int:
    if flags & os.O_DIRECT:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
    return real(path, flags, mode)


def refusing(answer: int | OSError, times: int = 1) -> Callable[..., int]:
    """Make the disk take less of what comes past the cache, or nothing."""
    real, left = os.pwrite, iter(range(times))

    def pwrite(descriptor: int, data: Any, offset: int) -> int:
        if len(data) >= PAGE and len(data) % PAGE == 0 and next(left, None) is not None:
            if isinstance(answer, OSError):
                raise answer
            return real(descriptor, data[:answer], offset)
        return real(descriptor, data, offset)

    return pwrite


def test_a_disk_without_it(path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "open", opening)
    write_pieces(path, content, [(0, SIZE)])
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    "answer", [OSError(errno.EINVAL, "no"), OSError(errno.EOPNOTSUPP, "no"), PAGE, 3 * PAGE, 3 * PAGE - 1, 100]
)
def test_a_disk_that_takes_less(
    path: Path, content: bytes, answer: int | OSError, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "pwrite", refusing(answer))
    write_pieces(path, content, [(10, SIZE), (0, 10)])
    assert path.read_bytes() == content


def test_a_full_disk_is_no_refusal(path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "pwrite", refusing(OSError(errno.ENOSPC, "full"), times=9))
    with pytest.raises(OSError, match="full"):
        write_pieces(path, content, [(0, SIZE)])


def test_no_descriptor_is_left(path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    before = os.listdir("/proc/self/fd")
    write_pieces(path, content, [(0, SIZE)])
    monkeypatch.setattr(os, "pwrite", refusing(OSError(errno.ENOSPC, "full")))
    with pytest.raises(OSError, match="full"):
        write_pieces(path, content, [(0, SIZE)])
    monkeypatch.setattr(os, "open", opening)
    write_pieces(path, content, [(0, 10)])
    assert len(os.listdir("/proc/self/fd")) == len(before)


def test_pages_are_those_of_the_system() -> None:
    assert PAGE % mmap.PAGESIZE == 0
    assert sink.STAGE_BYTES % PAGE == 0


# ------------------------------------------------------------------------------------------------- checkpoints


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_a_checkpoint_has_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int) -> None:
    generator = torch.Generator().manual_seed(0)
    sizes = [(1_000, 1_003), (7,), (3,), (512, 4096), (2_049,), (5_000_001,), (1,)]
    tensors = {str(number): torch.randn(size, generator=generator) for number, size in enumerate(sizes)}
    write(tensors, tmp_path / "source.safetensors")
    write(open(tmp_path / "source.safetensors"), tmp_path / "cached", shard_size="20MB")
    monkeypatch.setattr(sink, "DIRECT_BYTES", 0)
    monkeypatch.setattr(stream, "PROCESS_BYTES", 0)
    write(open(tmp_path / "source.safetensors"), tmp_path / "direct", shard_size="20MB", workers=workers)
    files = sorted((tmp_path / "cached").glob("*.safetensors"))
    assert len(files) > 1
    for file in files:
        assert (tmp_path / "direct" / file.name).read_bytes() == file.read_bytes()
