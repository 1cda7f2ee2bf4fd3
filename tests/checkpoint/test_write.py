"""Writing: what comes back, what lies in the folder, and that its bytes depend on nothing else."""

import hashlib
import json
import math
import re
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from tests.timed import assert_linear

from scionwood.checkpoint import (
    Checkpoint,
    ComputedTensor,
    Entry,
    Ledger,
    Lineage,
    Parent,
    Progress,
    digest,
    lineage,
    open,
    write,
)
from scionwood.checkpoint.header import DTYPES
from scionwood.checkpoint.plan import parse_size
from scionwood.errors import OutputError

Same = Callable[..., bool]
Weights = dict[str, torch.Tensor]

NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=12).filter(
    lambda name: name != "__metadata__" and not name.startswith("module.") and "_orig_mod" not in name.split(".")
)


@st.composite
def tensors(draw: st.DrawFn) -> torch.Tensor:
    """A tensor of any dtype and shape, its bits at random: NaN, infinities and subnormal numbers are among them."""
    dtype = draw(st.sampled_from(list(DTYPES.values())))
    shape = draw(st.lists(st.integers(0, 4), max_size=4))
    size = math.prod(shape) * dtype.itemsize
    bits = torch.tensor(list(draw(st.binary(min_size=size, max_size=size))), dtype=torch.uint8)
    if dtype == torch.bool:
        bits %= 2
    return bits.view(dtype).reshape(shape) if size else torch.empty(shape, dtype=dtype)


@settings(max_examples=60)
@given(
    weights=st.dictionaries(NAMES, tensors(), max_size=6), shard_size=st.sampled_from([1, 40, 10**9]), data=st.data()
)
def test_what_is_written_is_read_back_bit_for_bit(
    tmp_path_factory: pytest.TempPathFactory, same: Same, weights: Weights, shard_size: int, data: st.DataObject
) -> None:
    checkpoint = open(weights)
    if weights:
        kept = data.draw(st.sampled_from(list(weights)))
        alias = data.draw(NAMES.filter(lambda name: name not in weights and name not in ("format", "scionwood")))
        checkpoint = replace(checkpoint, ties={alias: kept})
    out = write(checkpoint, tmp_path_factory.mktemp("law") / "out", shard_size=shard_size)
    again = open(out)
    assert same(again, checkpoint)
    assert dict(again.ties) == dict(checkpoint.ties)
    assert digest(again, full=True) == digest(checkpoint, full=True)
    for file in again.files.values():
        with safe_open(file, "pt") as opened:
            for name in opened.keys():  # noqa: SIM118 - not a mapping
                if weights[name].dtype != torch.float8_e8m0fnu:  # safetensors writes it but cannot read it
                    assert same({name: opened.get_tensor(name)}, {name: weights[name]})


def test_the_folder_holds_what_a_model_has(folder: Path, tmp_path: Path, weights: Weights, same: Same) -> None:
    out = write(open(folder), tmp_path / "new" / "out")
    assert sorted(path.name for path in out.iterdir()) == [
        "LICENSE",
        "README.md",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "scionwood.yaml",
        "tokenizer.json",
    ]
    assert same(open(out), weights)
    assert (out / "tokenizer.json").read_bytes() == (folder / "tokenizer.json").read_bytes()
    assert (out / "config.json").read_text() == (
        '{\n  "model_type": "oak",\n  "torch_dtype": "float32",\n  "hidden_size": 4\n}\n'
    )
    assert [path.name for path in out.parent.iterdir()] == ["out"]


def test_a_module_or_a_path_is_written_as_it_is(folder: Path, tmp_path: Path, weights: Weights, same: Same) -> None:
    assert same(open(write(weights, tmp_path / "a")), weights)
    assert same(open(write(str(folder), str(tmp_path / "b"))), weights)
    model = torch.nn.Linear(2, 3)
    assert same(open(write(model, tmp_path / "c")), model.state_dict())


def test_code_travels_only_when_asked(folder: Path, tmp_path: Path) -> None:
    assert not (write(open(folder), tmp_path / "a") / "modeling_oak.py").exists()
    assert (write(open(folder), tmp_path / "b", code=True) / "modeling_oak.py").exists()


def test_side_files_in_folders(folder: Path, tmp_path: Path) -> None:
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text('{"mean": true}')
    (folder / "modules.json").write_text('[{"path": "1_Pooling"}]')
    assert (write(open(folder), tmp_path / "out") / "1_Pooling" / "config.json").read_text() == '{"mean": true}'


def test_shards_have_the_names_and_the_index_that_the_hub_expects(folder: Path, tmp_path: Path) -> None:
    out = write(open(folder), tmp_path / "out", shard_size=100)
    index = json.loads((out / "model.safetensors.index.json").read_text())
    files = sorted(path.name for path in out.glob("*.safetensors"))
    assert files == [f"model-{number:05d}-of-{len(files):05d}.safetensors" for number in range(1, len(files) + 1)]
    assert len(files) > 2
    assert index["metadata"] == {"total_parameters": 89, "total_size": 296}
    for file in files:
        with safe_open(out / file, "pt") as opened:
            names = list(opened.keys())
            assert opened.metadata()["format"] == "pt"
        assert {index["weight_map"][name] for name in names} == {file}
        sizes = [open(folder).tensors[name].nbytes for name in names]
        assert sum(sizes) <= 100 or len(sizes) == 1
    assert not (out / "model.safetensors").exists()


def test_tensors_are_aligned_to_their_elements(tmp_path: Path) -> None:
    out = write(
        open({"a": torch.ones(3, dtype=torch.bool), "b": torch.ones(3), "c": torch.ones(3).half()}), tmp_path / "o"
    )
    for tensor in open(out).tensors.values():
        assert tensor.offset % tensor.dtype.itemsize == 0  # type: ignore[attr-defined]
    assert list(open(out)) == ["b", "c", "a"]


def test_a_path_that_ends_with_safetensors_is_one_file(
    folder: Path, tmp_path: Path, weights: Weights, same: Same
) -> None:
    out = write(open(folder), tmp_path / "out.safetensors", shard_size=1)
    assert out.is_file()
    assert same(open(out), weights)
    assert lineage(out) is not None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["oak", "out.safetensors"]


def test_an_adapter_stays_an_adapter(tmp_path: Path, weights: Weights, same: Same) -> None:
    checkpoint = replace(open(weights), config={"peft_type": "LORA", "base_model_name_or_path": "acme/oak"})
    out = write(checkpoint, tmp_path / "out", shard_size=1)
    assert {"adapter_model.safetensors", "adapter_config.json"} <= {path.name for path in out.iterdir()}
    assert same(open(out), weights)
    assert open(out).is_adapter
    assert "library_name: peft" in (out / "README.md").read_text()


# ------------------------------------------------------------------------------------------------ dtype


@pytest.mark.parametrize("dtype", ["bfloat16", "bf16", torch.bfloat16, "torch.bfloat16"])
def test_a_cast_changes_floating_tensors_and_the_config(
    folder: Path, tmp_path: Path, weights: Weights, dtype: object
) -> None:
    weights["mask"] = torch.tensor([True, False])
    checkpoint = replace(
        open(weights), config={"dtype": "float32", "text_config": {"torch_dtype": "float32"}, "size": 4}
    )
    out = open(write(checkpoint, tmp_path / "out", dtype=dtype))  # type: ignore[arg-type]
    for name, value in weights.items():
        expected = value.bfloat16() if value.is_floating_point() else value
        assert torch.equal(out[name], expected), name
        assert out[name].dtype == expected.dtype
    assert out.config == {"dtype": "bfloat16", "text_config": {"torch_dtype": "bfloat16"}, "size": 4}
    assert list(out.config) == ["dtype", "text_config", "size"]
    assert checkpoint.config == {"dtype": "float32", "text_config": {"torch_dtype": "float32"}, "size": 4}
    assert out.lineage is not None
    assert out.lineage.recipe == {"verb": "write", "source": "memory", "dtype": "bfloat16"}


def test_a_cast_names_the_dtype_in_a_config_that_had_none(tmp_path: Path) -> None:
    checkpoint = replace(open({"x": torch.ones(1)}), config={"quantization_config": {"dtype": "int8"}})
    config = open(write(checkpoint, tmp_path / "out", dtype="fp16")).config
    assert config == {"quantization_config": {"dtype": "int8"}, "dtype": "float16"}


def test_a_tensor_called_like_the_format_is_not_tied_to_it(tmp_path: Path) -> None:
    assert list(open(write(open({"pt": torch.ones(1)}), tmp_path / "out"))) == ["pt"]


def test_a_cast_to_what_weights_cannot_be(tmp_path: Path) -> None:
    for dtype, said in (("int8", "cannot be cast to 'int8'"), ("float23", "did you mean 'float32'")):
        with pytest.raises(OutputError, match=said):
            write(open({"x": torch.ones(1)}), tmp_path / "out", dtype=dtype)
    with pytest.raises(OutputError, match="1 tensors are 8-bit floats, such as 'x'; a cast would lose their scales"):
        write(open({"x": torch.ones(1).to(torch.float8_e4m3fn)}), tmp_path / "out", dtype="bf16")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "size"), [("5GB", 5 * 10**9), ("2GiB", 2**31), ("10mb", 10**7), ("7", 7), (" 1.5 KB ", 1500)]
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("size", ["5 apples", "GB", "-5GB", "", 0, -1, "0GB"])
def test_sizes_that_are_none(tmp_path: Path, size: object) -> None:
    with pytest.raises(OutputError, match="is not a size|must be positive"):
        write(open({"x": torch.ones(1)}), tmp_path / "out", shard_size=size)  # type: ignore[arg-type]


def test_no_workers_cannot_write(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="0 workers cannot write"):
        write(open({}), tmp_path / "out", workers=0)


def test_what_safetensors_cannot_hold_is_listed(tmp_path: Path) -> None:
    checkpoint = open(
        {"a": torch.ones(1, dtype=torch.complex128), "__metadata__": torch.ones(1), "\ud800": torch.ones(1)}
    )
    with pytest.raises(OutputError) as caught:
        write(checkpoint, tmp_path / "out")
    assert len(caught.value.problems) == 3
    with pytest.raises(OutputError, match="'format' cannot be the name of a tied tensor"):
        write(replace(open({"a": torch.ones(1)}), ties={"format": "a"}), tmp_path / "out")
    assert caught.value.problems[0] == "'a' is complex128, which safetensors does not have"


# ------------------------------------------------------------------------------------------------ same bytes


def hashes(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def test_the_bytes_do_not_depend_on_the_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scionwood.checkpoint.stream.TILE_BYTES", 1 << 12)
    left, right = torch.randn(300, 200), torch.randn(200, 100)
    product = ComputedTensor("product", (300, 100), torch.float32, lambda start, stop: left[start:stop] @ right)
    checkpoint = Checkpoint(
        {"product": product, **open({f"x{number}": torch.randn(999) for number in range(9)}).tensors},
        config={"model_type": "oak"},
        lineage=Lineage({"verb": "test"}, seed=3),
    )
    first = hashes(write(checkpoint, tmp_path / "a" / "out", shard_size=20_000, workers=1))
    for workers in (2, 4):
        assert hashes(write(checkpoint, tmp_path / str(workers) / "out", shard_size=20_000, workers=workers)) == first


def test_a_write_leaves_torch_with_the_threads_it_had(tmp_path: Path) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        seen: list[int] = []

        def function(start: int, stop: int) -> torch.Tensor:
            seen.append(torch.get_num_threads())
            return torch.ones(stop - start)

        write(Checkpoint({"x": ComputedTensor("x", (4,), torch.float32, function)}), tmp_path / "out")
        assert seen == [1]
        later = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
        later.start()
        later.join()
        assert (torch.get_num_threads(), seen[1:]) == (2, [2])
    finally:
        torch.set_num_threads(before)


def test_several_workers_read_at_once(tmp_path: Path) -> None:
    meeting = threading.Barrier(3, timeout=300)

    def function(start: int, stop: int) -> torch.Tensor:
        meeting.wait()
        return torch.ones(stop - start)

    named = {f"x{number}": ComputedTensor(f"x{number}", (4,), torch.float32, function) for number in range(3)}
    write(Checkpoint(named), tmp_path / "out", workers=3)


def test_memory_does_not_grow_with_the_tensor(tmp_path: Path) -> None:
    """512 MB of computed rows, cast, pass through a few tiles."""
    peak = [0]
    rows, columns = 64 << 10, 2048

    def anonymous() -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("RssAnon")).split()[1]) << 10

    def function(start: int, stop: int) -> torch.Tensor:
        tile = torch.full((stop - start, columns), 1.0)
        peak[0] = max(peak[0], anonymous())
        return tile

    before = anonymous()
    checkpoint = Checkpoint({"x": ComputedTensor("x", (rows, columns), torch.float32, function)})
    out = write(checkpoint, tmp_path / "out.safetensors", dtype="float16", workers=2)
    assert out.stat().st_size > rows * columns * 2
    assert peak[0] - before < 64 << 20
    out.unlink()


def test_progress_counts_every_byte_and_tensor_in_the_callers_thread(folder: Path, tmp_path: Path) -> None:
    seen: list[Progress] = []
    threads: set[int] = set()

    def progress(state: Progress) -> None:
        seen.append(state)
        threads.add(threading.get_ident())

    write(open(folder), tmp_path / "out", progress=progress)
    assert seen[-1][:4] == (296, 296, 6, 6)
    for field in ("bytes_done", "tensors_done"):
        counts = [getattr(state, field) for state in seen]
        assert counts == sorted(counts)
    assert {state.tensor for state in seen} == set(open(folder))
    assert {state.tensors_before for state in seen} == {0}
    assert threads == {threading.get_ident()}


# ------------------------------------------------------------------------------------------------ lineage and card


def test_a_copy_of_what_has_no_lineage_names_its_parent(folder: Path, tmp_path: Path) -> None:
    out = write(open(folder), tmp_path / "out")
    found = lineage(out)
    assert found is not None
    assert found.recipe == {"verb": "write", "source": str(folder)}
    assert found.parents == (Parent(str(folder), digest=digest(folder), role="source", license="mit"),)
    assert set(found.versions) == {"scionwood", "torch"}
    assert Lineage.from_yaml((out / "scionwood.yaml").read_text()) == found


def test_a_copy_of_what_has_a_lineage_keeps_it_and_a_cast_adds_to_it(folder: Path, tmp_path: Path) -> None:
    first = write(open(folder), tmp_path / "first")
    assert lineage(write(open(first), tmp_path / "copy", shard_size=50)) == lineage(first)
    cast = lineage(write(open(first), tmp_path / "cast", dtype="bf16"))
    assert cast is not None
    assert cast.recipe == {"verb": "write", "source": str(first), "dtype": "bfloat16"}
    assert cast.parents[0].lineage == lineage(first)


def test_what_a_verb_made_keeps_the_lineage_of_the_verb(tmp_path: Path, weights: Weights) -> None:
    made = Lineage({"verb": "select", "method": "uniform"}, (Parent("acme/oak", "c0ffee", "sha256:1", "source"),), 7)
    checkpoint = Checkpoint(open(weights).tensors, lineage=made)
    assert lineage(write(checkpoint, tmp_path / "a")) == made
    with_dtype = lineage(write(checkpoint, tmp_path / "b", dtype="bf16"))
    assert with_dtype == replace(made, recipe={**made.recipe, "dtype": "bfloat16"})


def test_the_lineage_is_read_from_the_yaml_where_the_metadata_has_none(folder: Path) -> None:
    (folder / "scionwood.yaml").write_text(Lineage({"verb": "old"}).to_yaml())
    assert lineage(folder) == Lineage({"verb": "old"})


def test_the_card(folder: Path, tmp_path: Path, weights: Weights) -> None:
    ledger = Ledger(
        [Entry(f"layers.{n}.weight", "selected", f"layers.{2 * n}.weight", "2 of 4 rows", 8) for n in range(3)]
    )
    made = Lineage(
        {"verb": "merge", "method": "ties", "density": 0.2},
        (
            Parent("acme/oak", "c0ffee", "sampled-sha256:1", "base", "mit"),
            Parent(str(folder), None, "sampled-sha256:2", "donor", "mit"),
        ),
        7,
    )
    checkpoint = Checkpoint(open(weights).tensors, config={"model_type": "oak"}, lineage=made, ledger=ledger)
    text = (write(checkpoint, tmp_path / "out") / "README.md").read_text()
    fields = yaml.safe_load(text.split("---\n")[1])
    assert fields == {
        "base_model": ["acme/oak", "oak"],
        "base_model_relation": "merge",
        "library_name": "transformers",
        "license": "mit",
        "tags": ["scionwood", "merge"],
    }
    assert "| base | acme/oak | c0ffee | `sampled-sha256:1` |" in text
    assert "verb: merge\nmethod: ties\ndensity: 0.2\nseed: 7\n" in text
    assert "selected  3 tensors, 24 parameters\n  layers.{0-2}.weight  from layers.{0,2,4}.weight: 2 of 4 rows" in text
    assert str(tmp_path) not in text


def test_parents_with_different_licences_are_told(tmp_path: Path) -> None:
    parents = (Parent("a/b", "1", license="mit"), Parent("c/d", "2", license="gpl-3.0"))
    text = (write(Checkpoint({}, lineage=Lineage({}, parents)), tmp_path / "out") / "README.md").read_text()
    assert not re.search("^license:", text, re.MULTILINE)
    assert "different licences (mit, gpl-3.0)" in text


def test_a_name_cannot_break_the_front_matter(tmp_path: Path) -> None:
    parents = (Parent("x: y\n---\nlicense: fake | #", digest="d"),)
    text = (
        write(Checkpoint({}, lineage=Lineage({"verb": "a: b"}, parents)), tmp_path / "out") / "README.md"
    ).read_text()
    fields = yaml.safe_load(text.split("\n---\n")[0])
    assert fields["tags"] == ["scionwood", "a: b"]
    assert "license" not in fields


def test_writing_small_tensors_is_linear(tmp_path: Path) -> None:
    def seconds(count: int) -> float:
        checkpoint = open({f"layers.{number}.weight": torch.ones(2, 2) for number in range(count)})
        begun = time.process_time()
        write(checkpoint, tmp_path / f"{count}.safetensors")
        open(tmp_path / f"{count}.safetensors")
        return time.process_time() - begun

    assert_linear(seconds, 20_000)


def test_documents_are_written_beside_the_side_files_and_in_their_place(tmp_path):
    copied = tmp_path / "tokenizer.json"
    copied.write_text("old")
    (tmp_path / "merges.txt").write_text("a b")
    checkpoint = replace(
        open({"w": torch.ones(2)}),
        config={"model_type": "llama"},
        side_files={"tokenizer.json": copied, "merges.txt": tmp_path / "merges.txt"},
        documents={"tokenizer.json": b"new", "chat_template.jinja": b"{{ messages }}", "config.json": b"not this one"},
    )
    out = write(checkpoint, tmp_path / "out")
    assert (out / "tokenizer.json").read_bytes() == b"new"
    assert (out / "merges.txt").read_bytes() == b"a b"
    assert (out / "chat_template.jinja").read_bytes() == b"{{ messages }}"
    assert json.loads((out / "config.json").read_bytes()) == {"model_type": "llama"}
    assert copied.read_text() == "old"
