"""The safetensors header: what is read, and every way in which it can be wrong."""

import json
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from scionwood.checkpoint import open
from scionwood.checkpoint.header import DTYPES, StoredTensor, encode_header
from scionwood.errors import SourceError

GOOD = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


@pytest.mark.parametrize(
    ("header", "data", "said"),
    [
        ({"x": {**GOOD, "dtype": "F31"}}, 8, "'x' has the unknown dtype 'F31' (did you mean 'F32'?)"),
        ({"x": {**GOOD, "shape": [-2]}}, 8, "'x' has the shape [-2], not a list of sizes"),
        ({"x": {**GOOD, "shape": [True, 2]}}, 8, "'x' has the shape [True, 2], not a list of sizes"),
        ({"x": {**GOOD, "shape": 2}}, 8, "'x' has the shape 2, not a list of sizes"),
        ({"x": {**GOOD, "shape": [2**70]}}, 8, "not a list of sizes"),
        ({"x": {**GOOD, "data_offsets": [0]}}, 8, "'x' has the offsets [0], not two numbers"),
        ({"x": {**GOOD, "data_offsets": [0.0, 8.0]}}, 8, "not two numbers"),
        ({"x": {**GOOD, "shape": [3]}}, 8, "'x' takes 12 bytes as F32 [3], but its offsets [0, 8] span 8"),
        ({"x": {**GOOD, "data_offsets": [8, 0]}}, 8, "but its offsets [8, 0] span -8"),
        ({"x": {"dtype": "F32"}}, 8, "'x' is not an object of dtype, shape and data_offsets"),
        ({"x": {**GOOD, "stride": [1]}}, 8, "'x' is not an object of dtype, shape and data_offsets"),
        ({"x": [1]}, 8, "'x' is not an object of dtype, shape and data_offsets"),
        ({"__metadata__": {"step": 3}}, 0, "__metadata__ 'step' is a int, not a string"),
        ({"__metadata__": [3]}, 0, "__metadata__ is a list, not an object"),
        ({"x": GOOD}, 6, "the tensors end at byte 8 of the data, but the file ends at 6: it is cut short"),
        ({"x": GOOD}, 9, "1 bytes at the end of the file belong to no tensor"),
        ({"x": {**GOOD, "data_offsets": [4, 12]}}, 12, "4 bytes before 'x' belong to no tensor"),
        ({"x": GOOD, "y": {**GOOD, "data_offsets": [4, 12]}}, 12, "'y' begins at byte 4, inside the tensor before it"),
    ],
)
def test_a_wrong_header_is_refused(make_safetensors: Any, header: Any, data: int, said: str) -> None:
    path = make_safetensors(header, b"\0" * data)
    with pytest.raises(SourceError) as caught:
        open(path)
    assert str(caught.value).startswith(f"The header of {path} is damaged.")
    assert said in str(caught.value)


def test_everything_wrong_is_listed_at_once(make_safetensors: Any) -> None:
    path = make_safetensors({"x": {**GOOD, "dtype": "X"}, "y": {**GOOD, "shape": "2"}, "__metadata__": {"a": 1}}, b"")
    with pytest.raises(SourceError) as caught:
        open(path)
    assert len(caught.value.problems) == 3


def test_very_many_problems_are_counted(make_safetensors: Any) -> None:
    path = make_safetensors({f"x{number}": 0 for number in range(100)})
    with pytest.raises(SourceError, match="… and 80 more"):
        open(path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"[1]", "does not begin with '{'"),
        (b" {}", "does not begin with '{'"),
        (b"{", "is not JSON: Expecting property name"),
        (b'{"a": 1}}', "is not JSON: Extra data"),
        (b'{"\xff": 1}', "is not UTF-8 text (byte 2)"),
        (b'{"x": {"dtype": "F32", "dtype": "F32"}}', "writes the key 'dtype' twice"),
        (b'{"x": 1, "x": 1, "y": 1, "y": 1}', "writes the keys 'x', 'y' twice"),
        (b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "is nested too deeply"),
        (b'{"x": ' + b"9" * 5000 + b"}", "is not JSON"),
    ],
)
def test_a_header_that_is_not_an_object_is_refused(make_safetensors: Any, text: bytes, said: str) -> None:
    with pytest.raises(SourceError) as caught:
        open(make_safetensors(text))
    assert said in str(caught.value)


def test_a_length_that_is_absurd_is_refused_without_reading_it(make_safetensors: Any) -> None:
    with pytest.raises(SourceError, match=r"claims a header of 123,456,789,012 bytes, more than 100,000,000"):
        open(make_safetensors({}, length=123_456_789_012))
    with pytest.raises(SourceError, match=r"is cut short: its header has 500 bytes, the file only 10"):
        open(make_safetensors({}, length=500))


@pytest.mark.parametrize("size", [0, 5])
def test_a_file_shorter_than_a_length_is_refused(tmp_path: Path, size: int) -> None:
    path = tmp_path / "short.safetensors"
    path.write_bytes(b"\0" * size)
    with pytest.raises(SourceError, match=f"is cut short: {size} bytes"):
        open(path)


@pytest.mark.parametrize("cut", [1, 7, 40])
def test_a_truncated_file_is_refused(folder: Path, cut: int) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(SourceError, match="it is cut short"):
        open(folder)


@settings(max_examples=300)
@given(bit=st.integers(0, 8 * 200 - 1))
def test_a_bit_that_flips_in_the_header_never_gives_another_error(
    tmp_path_factory: pytest.TempPathFactory, bit: int
) -> None:
    """Refused, or still a sound header (a letter of a name may change): nothing else, and never more than it holds."""
    data = bytearray(save({"a": torch.ones(3), "b": torch.ones(2, 2).half()}))
    bit %= 8 * (8 + struct.unpack("<Q", data[:8])[0])
    data[bit // 8] ^= 1 << bit % 8
    path = tmp_path_factory.mktemp("flip") / "x.safetensors"
    path.write_bytes(data)
    try:
        checkpoint = open(path)
    except SourceError:
        return
    assert checkpoint.nbytes == 3 * 4 + 4 * 2
    for name in checkpoint:
        checkpoint[name]


def test_we_refuse_what_the_safetensors_library_refuses(make_safetensors: Any) -> None:
    for header, data in (
        ({"x": GOOD}, b"\0" * 9),
        ({"x": {**GOOD, "data_offsets": [1, 9]}}, b"\0" * 9),
        ({"x": 1}, b""),
    ):
        path = make_safetensors(header, data)
        with pytest.raises(SafetensorError), safe_open(path, "pt"):
            pass
        with pytest.raises(SourceError):
            open(path)


def test_the_header_is_byte_for_byte_what_the_format_says() -> None:
    text = encode_header(
        [StoredTensor("a", torch.float32, (2, 1), 0, 8), StoredTensor("é", torch.bool, (), 8, 9)], {"format": "pt"}
    )
    expected = (
        '{"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]},'
        '"é":{"dtype":"BOOL","shape":[],"data_offsets":[8,9]}}'
    ).encode()
    assert text[8:].rstrip(b" ") == expected
    assert len(text) % 8 == 0
    assert struct.unpack("<Q", text[:8])[0] == len(text) - 8


def test_every_dtype_has_the_size_that_its_code_says() -> None:
    sizes = {"BOOL": 1, "BF16": 2, "C64": 8}
    for code, dtype in DTYPES.items():
        bits = int("".join(letter for letter in code.split("_")[0] if letter.isdigit()) or 8)
        assert dtype.itemsize == sizes.get(code, bits // 8), code


def test_an_empty_file_of_tensors_is_an_empty_checkpoint(make_safetensors: Any) -> None:
    assert dict(open(make_safetensors({}))) == {}


def test_headers_are_read_without_the_values(tmp_path: Path) -> None:
    """A file of 100 GB that is all hole opens at once."""
    header = json.dumps({"x": {"dtype": "F32", "shape": [25, 10**9], "data_offsets": [0, 10**11]}}).encode()
    path = tmp_path / "huge.safetensors"
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        file.truncate(8 + len(header) + 10**11)
    checkpoint = open(path)
    assert checkpoint.num_parameters == 25 * 10**9
    assert float(checkpoint.tensors["x"].read_rows(10**9, 10**9 + 1)) == 0.0
