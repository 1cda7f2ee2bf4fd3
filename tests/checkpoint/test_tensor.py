"""Lazy tensors: rows, tiles, and what they hold in memory."""

import gc
import math
import os
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from scionwood.checkpoint import CastTensor, ComputedTensor, LazyTensor, MemoryTensor, open
from scionwood.checkpoint import mapping as mapping_module
from scionwood.checkpoint.mapping import MappedFile
from scionwood.checkpoint.tensor import FileTensor
from scionwood.errors import SourceError

SHAPES = st.lists(st.integers(0, 5), max_size=4).map(tuple)


def kinds(tensor: torch.Tensor, path: Path) -> dict[str, LazyTensor]:
    """The same values as every kind of lazy tensor."""
    path.write_bytes(b"head" * 3 + tensor.numpy().tobytes())
    rows = tensor if tensor.ndim else tensor.reshape(1)

    def function(start: int, stop: int) -> torch.Tensor:
        return rows[start:stop] if tensor.ndim else tensor

    return {
        "memory": MemoryTensor("x", tensor),
        "file": FileTensor("x", tensor.shape, tensor.dtype, MappedFile(path), 12),
        "computed": ComputedTensor("x", tensor.shape, tensor.dtype, function),
        "whole": ComputedTensor("x", tensor.shape, tensor.dtype, function, whole=True),
        "cast": CastTensor(MemoryTensor("x", tensor.double()), tensor.dtype),
        "strided": MemoryTensor("x", tensor.T.contiguous().T if tensor.ndim == 2 else tensor),
    }


@given(shape=SHAPES, data=st.data())
def test_every_kind_reads_the_same_rows(
    tmp_path_factory: pytest.TempPathFactory, shape: tuple[int, ...], data: st.DataObject
) -> None:
    tensor = torch.arange(math.prod(shape), dtype=torch.int32).reshape(shape)
    start = data.draw(st.integers(0, shape[0])) if shape else 0
    stop = data.draw(st.integers(start, shape[0])) if shape else None
    expected = tensor[start:stop] if shape else tensor
    for kind, lazy in kinds(tensor, tmp_path_factory.mktemp("rows") / "file").items():
        assert torch.equal(lazy.read(start, stop), expected), kind
        assert torch.equal(lazy.read(), tensor), kind
        assert (lazy.nbytes, lazy.num_elements) == (tensor.nbytes, tensor.numel()), kind


@given(shape=SHAPES, nbytes=st.integers(1, 100))
def test_tiles_cover_every_row_once_and_are_no_larger_than_asked(
    tmp_path_factory: pytest.TempPathFactory, shape: tuple[int, ...], nbytes: int
) -> None:
    tensor = torch.arange(math.prod(shape), dtype=torch.int32).reshape(shape)
    for kind, lazy in kinds(tensor, tmp_path_factory.mktemp("tiles") / "file").items():
        tiles = list(lazy.tiles(nbytes))
        pieces = [lazy.read_rows(start, stop).flatten() for start, stop in tiles]
        assert torch.equal(torch.cat([*pieces, torch.empty(0, dtype=torch.int32)]), tensor.flatten()), kind
        if kind != "whole":
            assert all(piece.nbytes <= nbytes or stop - start == 1 for piece, (start, stop) in zip(pieces, tiles)), kind


def test_a_tensor_in_memory_is_never_copied_whole_for_a_tile() -> None:
    assert MemoryTensor("x", torch.zeros(4, 3)).num_rows == 12
    assert MemoryTensor("x", torch.zeros(4, 3).T).num_rows == 3


def test_rows_can_count_several_dimensions() -> None:
    experts = torch.arange(24.0).reshape(2, 3, 4)
    asked: list[tuple[int, int]] = []

    def function(start: int, stop: int) -> torch.Tensor:
        asked.append((start, stop))
        return experts.reshape(6, 4)[start:stop]

    lazy = ComputedTensor("experts", (2, 3, 4), torch.float32, function, row_dims=2)
    assert list(lazy.tiles(2 * 16)) == [(0, 2), (2, 4), (4, 6)]
    assert torch.equal(lazy.read(1, 2), experts[1:2])
    assert asked == [(3, 6)]


def test_row_dims_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match=r"row_dims of 'x' is 3, but its shape is \(2, 2\)"):
        ComputedTensor("x", (2, 2), torch.float32, lambda start, stop: torch.zeros(stop - start, 2), row_dims=3)


def test_whole_calls_its_function_once_a_pass() -> None:
    calls: list[tuple[int, int]] = []

    def function(start: int, stop: int) -> torch.Tensor:
        calls.append((start, stop))
        return torch.zeros(stop - start, 3)

    lazy = ComputedTensor("x", (4, 3), torch.float32, function, whole=True)
    assert [lazy.read_rows(*tile).shape for tile in lazy.tiles(1)] == [(4, 3)]
    assert calls == [(0, 4)]
    assert lazy.read(1, 3).shape == (2, 3)


@pytest.mark.parametrize(("start", "stop"), [(0, 5), (-1, 2), (3, 2)])
def test_rows_outside_are_refused(start: int, stop: int) -> None:
    with pytest.raises(IndexError, match=f"'x' has 4 rows, not the rows {start} to {stop}"):
        MemoryTensor("x", torch.zeros(4, 2)).read(start, stop)


def test_a_scalar_takes_no_range() -> None:
    with pytest.raises(IndexError, match="'x' is a scalar and takes no range"):
        MemoryTensor("x", torch.tensor(1)).read(0, 1)


@pytest.mark.parametrize("result", [torch.zeros(3, 2), torch.zeros(2, 2, dtype=torch.float64), torch.zeros(2)])
def test_a_function_that_returns_something_else_is_an_error(result: torch.Tensor) -> None:
    lazy = ComputedTensor("x", (2, 2), torch.float32, lambda start, stop: result)
    with pytest.raises(ValueError, match=r"The function of 'x' returned .* not \[2, 2\] torch.float32"):
        lazy.read()


def test_named_leaves_the_first_name() -> None:
    first = MemoryTensor("a", torch.ones(2))
    second = first.named("b")
    assert (first.name, second.name, torch.equal(second.read(), torch.ones(2))) == ("a", "b", True)


def test_misaligned_values_are_read(tmp_path: Path) -> None:
    values = torch.randn(9)
    path = tmp_path / "file"
    path.write_bytes(b"\0" * 3 + values.numpy().tobytes())
    read = FileTensor("x", (9,), torch.float32, MappedFile(path), 3).read()
    assert torch.equal(read, values)
    assert read.data_ptr() % 4 == 0


def test_a_mapped_tensor_is_the_file_and_not_a_copy(tmp_path: Path) -> None:
    save_file({"x": torch.zeros(64 << 20, dtype=torch.uint8)}, tmp_path / "x.safetensors")
    before = anonymous_bytes()
    values = open(tmp_path / "x.safetensors").tensors["x"].read()
    assert int(values.sum()) == 0
    assert anonymous_bytes() - before < 16 << 20


def test_what_a_checkpoint_gives_is_the_callers_own(folder: Path, weights: dict[str, torch.Tensor]) -> None:
    checkpoint = open(folder)
    checkpoint["embed.weight"].zero_()
    assert torch.equal(checkpoint["embed.weight"], weights["embed.weight"])


def test_opening_again_and_again_leaves_no_file_open(folder: Path) -> None:
    open(folder)["steps"]
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(50):
        open(folder)["steps"]
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before


def test_many_files_share_few_mappings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapping_module, "MOST_MAPPINGS", 3)
    files = []
    for number in range(8):
        path = tmp_path / f"{number}"
        path.write_bytes(bytes([number]))
        files.append(MappedFile(path))
    before = len(os.listdir("/proc/self/fd"))
    assert [file.bytes(0, 1)[0] for file in files * 2] == [*range(8), *range(8)]
    assert len(os.listdir("/proc/self/fd")) - before <= 3


def test_a_file_that_changed_before_it_was_mapped_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights"
    path.write_bytes(b"1234")
    file = MappedFile(path)
    path.write_bytes(b"12345")
    with pytest.raises(SourceError, match=r"weights changed after it was opened"):
        file.bytes(0, 4)


def test_a_mapped_file_outlives_its_name(folder: Path, weights: dict[str, torch.Tensor]) -> None:
    checkpoint = open(folder)
    (folder / "model.safetensors").unlink()
    assert torch.equal(checkpoint["embed.weight"], weights["embed.weight"])


def anonymous_bytes() -> int:
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("RssAnon")).split()[1]) << 10
