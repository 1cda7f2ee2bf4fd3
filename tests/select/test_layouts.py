"""What is on disk is not always what is in the module: names of today, of yesterday, shards, dtypes, too much and too little."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

import scionwood


@pytest.fixture
def rewritten(tmp_path):
    """rewritten(folder, change): a copy of a folder whose tensors, by name, went through a function."""

    def rewrite(folder, change, **config):
        copy = tmp_path / "rewritten"
        shutil.copytree(folder, copy)
        save_file(change(load_file(folder / "model.safetensors")), copy / "model.safetensors", {"format": "pt"})
        told = json.loads((copy / "config.json").read_text())
        (copy / "config.json").write_text(json.dumps(told | config))
        return copy

    return rewrite


EXPERTS = {
    # family: name on disk, and which dimensions of it the residual stream and the inner units are
    "mixtral": {
        "block_sparse_moe.experts.{}.w1.weight": ("inner", "hidden"),
        "block_sparse_moe.experts.{}.w2.weight": ("hidden", "inner"),
        "block_sparse_moe.experts.{}.w3.weight": ("inner", "hidden"),
    },
    "qwen3_moe": {
        "mlp.experts.{}.gate_proj.weight": ("inner", "hidden"),
        "mlp.experts.{}.down_proj.weight": ("hidden", "inner"),
        "mlp.experts.{}.up_proj.weight": ("inner", "hidden"),
    },
}


@pytest.mark.parametrize("family", EXPERTS)
def test_experts_that_are_apart_on_disk(family, numbered, smaller, places, loads, tmp_path):
    made = scionwood.select(numbered(family), like=smaller(family), depth="stride")
    scionwood.write(made, tmp_path / "out")
    loads(tmp_path / "out")
    source, written = scionwood.open(numbered(family)), scionwood.open(tmp_path / "out")
    inner = 48 if family == "mixtral" else 12
    index = {"hidden": list(range(0, 32, 2)), "inner": list(range(0, inner, 2))}
    # In the module all experts are one tensor, numbered through: experts x (gate, up) x inner x hidden.
    for layer, expert in ((layer, expert) for layer in (0, 1) for expert in (0, 1)):
        for name, dims in EXPERTS[family].items():
            mine = written[f"model.layers.{layer}.{name.format(expert)}"]
            theirs = source[f"model.layers.{2 * layer}.{name.format(2 * expert)}"]
            expected = theirs[index[dims[0]]][:, index[dims[1]]]
            assert torch.equal(mine, expected), name
    router = "block_sparse_moe.gate.weight" if family == "mixtral" else "mlp.gate.weight"
    rows, columns = places(written[f"model.layers.1.{router}"], (4, 32))
    assert (rows.tolist(), columns.tolist()) == ([0, 2], index["hidden"])


def test_the_module_itself_as_source_gives_what_its_files_give(larger, smaller, model_of, same, tmp_path):
    """In memory the experts are packed, on disk they are apart."""
    model = model_of(larger("mixtral"))
    model.save_pretrained(tmp_path / "saved")
    assert "model.layers.0.mlp.experts.gate_up_proj" in model.state_dict()
    from_module, from_files = (
        scionwood.select(source, like=smaller("mixtral"), method="random") for source in (model, tmp_path / "saved")
    )
    assert same(from_module, from_files)


def to_older_bert(tensors):
    """As TensorFlow checkpoints were converted: gamma and beta, and a table of positions that is no weight."""
    older = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): tensor
        for name, tensor in tensors.items()
    }
    return older | {"bert.embeddings.position_ids": torch.arange(32)[None]}


def test_older_names(drawn, smaller, rewritten, same, loads, tmp_path):
    older = rewritten(drawn("bert"), to_older_bert)
    assert "bert.encoder.layer.0.output.LayerNorm.gamma" in scionwood.open(older)
    today, yesterday = (scionwood.select(source, like=smaller("bert")) for source in (drawn("bert"), older))
    assert same(today, yesterday)
    entries = {entry.name: entry for entry in yesterday.ledger if entry.action != "dropped"}
    assert (
        entries["bert.encoder.layer.1.output.LayerNorm.weight"].source == "bert.encoder.layer.1.output.LayerNorm.gamma"
    )
    dropped = {entry.name: entry.detail for entry in yesterday.ledger.of("dropped")}
    assert dropped["bert.embeddings.position_ids"] == "the source's model has no such tensor"
    scionwood.write(yesterday, tmp_path / "out")
    loads(tmp_path / "out")


def without_prefix(prefix):
    return lambda tensors: {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}


@pytest.mark.parametrize(("family", "prefix"), [("bert", "bert."), ("gpt2", "transformer."), ("llama", "model.")])
def test_a_base_model_as_source_of_a_model_with_a_head(family, prefix, drawn, smaller, rewritten, same):
    """Saved without the head and without the prefix, as the hub's GPT-2 is."""
    source = rewritten(drawn(family), without_prefix(prefix))
    with_prefix, plain = (scionwood.select(folder, like=smaller(family)) for folder in (drawn(family), source))
    assert same(with_prefix, plain)


def test_shards(larger, smaller, model_of, same, tmp_path, drawn):
    model_of(larger("llama")).save_pretrained(tmp_path / "sharded", max_shard_size="40KB")
    assert len(list((tmp_path / "sharded").glob("*.safetensors"))) > 2
    assert same(*(scionwood.select(f, like=smaller("llama")) for f in (tmp_path / "sharded", drawn("llama"))))


def test_torch_files(larger, smaller, model_of, same, tmp_path, drawn):
    model = model_of(larger("bert"))
    model.config.save_pretrained(tmp_path)
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    assert same(*(scionwood.select(f, like=smaller("bert")) for f in (tmp_path, drawn("bert"))))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_dtypes_stay(dtype, drawn, smaller, rewritten, loads, tmp_path):
    def to_dtype(tensors):
        return {name: tensor.to(dtype) for name, tensor in tensors.items()}

    name = str(dtype).removeprefix("torch.")
    source = rewritten(drawn("bert"), to_dtype, dtype=name)
    made = scionwood.select(source, like=smaller("bert"), rescale="variance")
    assert {tensor.dtype for tensor in made.tensors.values()} == {dtype}
    assert "classifier.weight" in {entry.name for entry in made.ledger.of("fresh")}
    scionwood.write(made, tmp_path / "out")
    assert loads(tmp_path / "out").dtype == dtype
    plain = scionwood.select(drawn("bert"), like=smaller("bert"))
    reads = "bert.encoder.layer.0.intermediate.dense.weight"
    torch.testing.assert_close(made[reads].float(), plain[reads] * 2**0.5, rtol=1e-2, atol=1e-4)


def test_too_much_and_too_little(drawn, smaller, rewritten, loads, tmp_path):
    def change(tensors):
        tensors = {name: tensor for name, tensor in tensors.items() if "pooler" not in name}
        return tensors | {"extra.weight": torch.zeros(3), "bert.encoder.layer.9.output.dense.bias": torch.zeros(32)}

    made = scionwood.select(rewritten(drawn("bert"), change), like=smaller("bert"))
    fresh = {entry.name: entry.detail for entry in made.ledger.of("fresh")}
    assert fresh["bert.pooler.dense.weight"] == "the checkpoint holds no bert.pooler.dense.weight"
    dropped = {entry.name: entry.detail for entry in made.ledger.of("dropped")}
    for name in ("extra.weight", "bert.encoder.layer.9.output.dense.bias"):
        assert dropped[name] == "the source's model has no such tensor"
    scionwood.write(made, tmp_path / "out")
    loads(tmp_path / "out")


def test_a_missing_expert_is_fresh(drawn, smaller, rewritten, loads, tmp_path):
    lost = "model.layers.0.block_sparse_moe.experts.2.w3.weight"
    source = rewritten(drawn("mixtral"), lambda tensors: {n: t for n, t in tensors.items() if n != lost})
    made = scionwood.select(source, like=smaller("mixtral"))
    fresh = {entry.name: entry.detail for entry in made.ledger.of("fresh")}
    assert fresh == {"model.layers.0.block_sparse_moe.experts.1.w3.weight": "the checkpoint lacks a part of it"}
    assert made["model.layers.0.block_sparse_moe.experts.1.w3.weight"].std() == pytest.approx(0.02, rel=0.2)
    scionwood.write(made, tmp_path / "out")
    loads(tmp_path / "out")


def test_a_tied_head_that_was_stored_twice(drawn, smaller, rewritten):
    def twice(tensors):
        return tensors | {"lm_head.weight": tensors["transformer.wte.weight"].clone()}

    made = scionwood.select(rewritten(drawn("gpt2"), twice), like=smaller("gpt2"))
    assert made.ties == {"lm_head.weight": "transformer.wte.weight"}
    dropped = {entry.name: entry.detail for entry in made.ledger.of("dropped")}
    assert dropped["lm_head.weight"] == "stored twice: it is tied"


def test_weights_that_are_not_those_of_the_config(drawn, smaller, rewritten):
    source = rewritten(drawn("bert"), lambda tensors: tensors, hidden_size=24)
    with pytest.raises(scionwood.AnatomyError) as refused:
        scionwood.select(source, like=smaller("bert"))
    assert "bert.embeddings.word_embeddings.weight: [40, 32] in the file, [40, 24] by the config" in str(refused.value)


def test_quantized_weights_are_refused(drawn, smaller, rewritten):
    source = rewritten(drawn("bert"), lambda tensors: tensors, quantization_config={"quant_method": "fp8"})
    with pytest.raises(scionwood.MatchError, match=r"is quantized \(fp8\)"):
        scionwood.select(source, like=smaller("bert"))
