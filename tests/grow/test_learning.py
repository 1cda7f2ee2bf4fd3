"""LiGO by the verb: maps between axes that the graph names, learned on real text, stored, and made again."""

import dataclasses
import json
import re
from pathlib import Path
from typing import Any, cast

import pytest
import torch
import transformers
from tests.architectures.zoo import LISTED
from tests.grow.preservation import random_source, stored
from tests.grow.zoo import DOUBLED
from tests.vocabulary.made import DOCSTRINGS, saved, tokenizer
from torch import Tensor, nn

import scionwood
from scionwood import anatomy
from scionwood.anatomy.layout import layout_of, layout_on_disk
from scionwood.anatomy.match import match
from scionwood.checkpoint.parent import Parent
from scionwood.cli import run
from scionwood.engine.threads import use_threads
from scionwood.errors import MatchError, MethodError, ScionwoodError, SourceError
from scionwood.methods.grow.growth import Growth
from scionwood.methods.record import method
from scionwood.train.text import text_loss
from scionwood.verbs.fresh import FreshWeights
from scionwood.verbs.grow.blocks import follow
from scionwood.verbs.grow.learning import Learned, Learner, _map
from scionwood.verbs.grow.making import Grower
from scionwood.verbs.grow.maps import Growths
from scionwood.verbs.pair import models_of
from scionwood.verbs.predicting import state_of

LARGER: dict[str, dict[str, Any]] = {
    "llama": {"hidden_size": 24, "num_attention_heads": 3, "num_key_value_heads": 3, "intermediate_size": 40},
    "gpt2": {"n_embd": 24, "n_head": 3, "n_positions": 80},
    "bert": {"hidden_size": 24, "num_attention_heads": 3, "intermediate_size": 40},
    "t5": {"d_model": 24, "num_heads": 3, "d_ff": 40},
}
SHORT = {"steps": 15, "length": 24, "batch": 8}
LONGER = {"bert": {**SHORT, "steps": 60}}
"""Where masks are filled in, few tokens of a step are learned on."""


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("text") / "docstrings.txt"
    where.write_text("\n\n".join(DOCSTRINGS), encoding="utf-8")
    return where


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Small models of one layer, all but the encoder-decoder after learning for a while."""
    where = tmp_path_factory.mktemp("small")
    kinds = {"llama": "byte-level", "gpt2": "byte-level", "bert": "wordpiece"}
    made = {family: taught(where / family, family, kind) for family, kind in kinds.items()}
    return {**made, "t5": saved(where / "t5", "t5", tokenizer("unigram", "docstrings"))}


@pytest.fixture(scope="module")
def deep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same of two layers."""
    return taught(tmp_path_factory.mktemp("deep") / "small", "llama", "byte-level", num_hidden_layers=2)


def taught(where: Path, family: str, kind: str, **settings: Any) -> Path:
    own = tokenizer(kind, "docstrings")
    saved(where, family, own, **settings)
    masked = family == "bert"
    mask = own.get_vocab()["[MASK]"] if masked else None
    module: Any = (transformers.AutoModelForMaskedLM if masked else transformers.AutoModelForCausalLM).from_pretrained(
        where
    )
    ids = torch.tensor(own("\n\n".join(DOCSTRINGS), add_special_tokens=False)["input_ids"])
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(module.parameters(), 1e-2)
    with use_threads(1):  # a hundred steps amplify the last bits
        for _ in range(100):
            batch = ids[torch.randint(len(ids) * 9 // 10 - 32, (16, 1), generator=generator) + torch.arange(32)]
            loss = text_loss(module, batch, "masked" if masked else "causal", mask=mask)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    module.save_pretrained(where)
    return where


def tensors(checkpoint: scionwood.Checkpoint) -> dict[str, Tensor]:
    return {name: checkpoint[name] for name in checkpoint.tensors}


def losses(checkpoint: scionwood.Checkpoint) -> tuple[float, float]:
    """What the ledger says of the loss before and after."""
    (entry,) = [entry for entry in checkpoint.ledger or () if entry.name == "the function"]
    assert entry.action == "changed"
    found = re.search(r": ([\d.]+) nats a token before, ([\d.]+) after", entry.detail)
    assert found
    return float(found[1]), float(found[2])


@pytest.mark.parametrize("family", list(LARGER))
def test_the_loss_falls_and_the_result_loads(family: str, folders: dict[str, Path], text: Path, tmp_path: Path) -> None:
    """Rotary and learned positions, separate and fused projections, tied heads, going on with a text and filling in."""
    grown = scionwood.grow(
        folders[family], set=LARGER[family], method="ligo", text=[text], options=LONGER.get(family, SHORT)
    )
    before, after = losses(grown)
    assert after < before
    scionwood.write(grown, tmp_path / "out")
    kinds = {"bert": transformers.AutoModelForMaskedLM, "t5": transformers.AutoModelForSeq2SeqLM}
    kind = kinds.get(family, transformers.AutoModelForCausalLM)
    loaded: Any = kind.from_pretrained(tmp_path / "out", output_loading_info=True)
    module, told = loaded
    assert not told["missing_keys"]
    assert not told["unexpected_keys"]
    ids = torch.arange(8)[None]
    beside = {"decoder_input_ids": ids} if family == "t5" else {}
    assert module(input_ids=ids, **beside).logits.isfinite().all()


def test_maps_of_a_taught_model_halve_the_way_back_to_its_loss(deep: Path, text: Path, tmp_path: Path) -> None:
    larger = {**LARGER["llama"], "num_hidden_layers": 3}
    grown = scionwood.grow(
        deep, set=larger, method="ligo", text=[text], options={"steps": 60, "length": 32, "learning_rate": 0.03}
    )
    before, after = losses(grown)
    own = tokenizer("byte-level", "docstrings")
    ids = torch.tensor(own("\n\n".join(DOCSTRINGS), add_special_tokens=False)["input_ids"])
    held = ids[len(ids) - len(ids) // 10 :][:4096].split(32)

    def loss_of(folder: Path) -> float:
        module = transformers.AutoModelForCausalLM.from_pretrained(folder)
        with torch.no_grad():
            pairs = [(module(input_ids=piece[None]).logits[0, :-1], piece[1:]) for piece in held if len(piece) > 1]
        logits, wanted = (torch.cat(each) for each in zip(*pairs, strict=True))
        return float(nn.functional.cross_entropy(logits, wanted))

    scionwood.write(grown, tmp_path / "out")
    assert loss_of(tmp_path / "out") == pytest.approx(after, abs=1e-3)  # what the ledger says is what was stored
    assert after - loss_of(deep) < (before - loss_of(deep)) / 2


def test_one_map_an_axis_and_what_lies_inside_a_head_stays(folders: dict[str, Path], text: Path) -> None:
    source = tensors(scionwood.open(folders["llama"]))
    grown = tensors(scionwood.grow(folders["llama"], set=LARGER["llama"], method="ligo", text=[text], options=SHORT))
    table, norm = "model.embed_tokens.weight", "model.layers.0.input_layernorm.weight"
    assert torch.equal(grown[table][:, :16], source[table])  # one layer, so that nothing is mixed in depth
    new = torch.linalg.lstsq(source[table], grown[table][:, 16:]).solution.T
    torch.testing.assert_close(grown[table][:, 16:], source[table] @ new.T, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(grown[norm], torch.cat([source[norm], new @ source[norm]]), atol=1e-4, rtol=1e-4)
    mixtures = []
    for name in ("q_proj", "k_proj"):
        weight = f"model.layers.0.self_attn.{name}.weight"
        heads, wide = source[weight].view(2, 8, 16), grown[weight].view(3, 8, 24)
        assert torch.equal(wide[:2, :, :16], heads)
        # The new head is a mixture of the old ones, position by position.
        mixtures.append(torch.linalg.lstsq(heads.reshape(2, -1).T, wide[2, :, :16].reshape(-1, 1)).solution)
        torch.testing.assert_close(wide[2, :, :16], (mixtures[-1].view(2, 1, 1) * heads).sum(0), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(*mixtures, atol=1e-4, rtol=1e-3)  # one axis of heads


@method(family="grow", unit="axis", resizes=("free", "output", "positional"))
def copying(source: int, target: int) -> Growth:
    """Return every index again and again, undivided."""
    return Growth(torch.arange(target) % source)


@method(family="grow", unit="axis", resizes=("free", "output", "positional"), learned=True)
def mixing(source: int, target: int) -> Growth:
    """Return mixtures that are copies."""
    index = torch.cat([torch.arange(source), torch.full((target - source,), -1)])
    return Growth(index, mixing=torch.eye(source)[torch.arange(source, target) % source])


@pytest.mark.parametrize("family", [name for name in DOUBLED if "all" in DOUBLED[name]])
def test_a_map_of_copies_is_copying_whatever_the_architecture(family: str) -> None:
    """Products of axes, axes laid end to end, ties, nested lists: index by index is the oracle."""
    module, _ = random_source(LISTED[family])
    checkpoint = stored(module, LISTED[family])
    smaller, larger, _ = models_of(checkpoint, checkpoint, None, DOUBLED[family]["all"], "stack", None, "grown", follow)
    small = anatomy.derive(smaller)
    # The last block again: the first of a stage may have parts of its own.
    pair = match(
        small,
        anatomy.derive(larger),
        depth=lambda _, old, new: [min(block, old - 1) for block in range(new)],
        growing=True,
    )
    held = {name: tensor.shape for name, tensor in checkpoint.tensors.items()}
    read, fresh = layout_on_disk(smaller, held), FreshWeights(larger, 0)
    plain, mixed = (Growths(pair, function, {}, 0, (), ()) for function in (copying, mixing))
    expected, _ = Grower(checkpoint, pair, cast("Any", plain), read, layout_of(larger), fresh, larger).make()
    growth, layers = _map(mixed, state_of(smaller, read, checkpoint), fresh, 0.0, 0)
    learned = Learned(growth.materialise(), layers, "")
    found, _ = Learner(checkpoint, pair, cast("Any", mixed), read, layout_of(larger), fresh, larger, learned).make()
    assert found.keys() == expected.keys()
    for name, tensor in found.items():
        torch.testing.assert_close(tensor.read(), expected[name].read(), atol=1e-6, rtol=1e-5, msg=name)


def test_depth_begins_where_it_is_told_and_learns(deep: Path, text: Path) -> None:
    still = {"noise": 0.0, "steps": 1, "learning_rate": 1e-12, "length": 24}
    source = tensors(scionwood.open(deep))
    depths: list[tuple[Any, list[int]]] = [
        (None, [0, 1, 0, 1]),
        ("interleave", [0, 0, 1, 1]),
        ([0, 1, 1, 1], [0, 1, 1, 1]),
    ]
    for depth, order in depths:
        sizes = {"num_hidden_layers": 4}
        grown = scionwood.grow(deep, set=sizes, method="ligo", text=[text], options=still, depth=depth)
        made = tensors(grown)
        for layer, block in enumerate(order):
            name = "model.layers.{}.mlp.up_proj.weight"
            torch.testing.assert_close(made[name.format(layer)], source[name.format(block)])
    mixed = scionwood.grow(deep, set={"num_hidden_layers": 4}, method="ligo", text=[text], options=SHORT)
    assert "2 layers" in {entry.name: entry for entry in mixed.ledger or ()}["model.layers.3.mlp.up_proj.weight"].detail
    before, after = losses(mixed)
    assert after < before


def test_the_command_and_making_it_again(folders: dict[str, Path], text: Path, tmp_path: Path) -> None:
    out, moved = tmp_path / "out", tmp_path / "moved.txt"
    own = tmp_path / "own.txt"
    own.write_bytes(text.read_bytes())
    sizes = [f"--set={name}={size}" for name, size in LARGER["llama"].items()]
    options = [f"--option={name}={value}" for name, value in SHORT.items()]
    given = ["grow", str(folders["llama"]), *sizes, "--method", "ligo", *options, "--text", str(own), "--out", str(out)]
    assert run(given) == 0
    lineage = scionwood.lineage(out)
    assert lineage is not None
    assert [(parent.role, parent.digest) for parent in lineage.parents[1:]] == [
        ("text", Parent.of_file(text, "text").digest)
    ]
    assert json.loads(json.dumps(lineage.to_dict()))["recipe"]["text"] == [str(own)]
    assert run(["reproduce", str(out)]) == 0
    own.rename(moved)
    assert run(["reproduce", str(out)]) == 2
    assert run(["reproduce", str(out), "--parent", f"{own}={moved}"]) == 0
    moved.write_text("other words")
    assert run(["reproduce", str(out), "--parent", f"{own}={moved}"]) == 2


def test_the_bytes_do_not_depend_on_the_threads_at_hand(text: Path, tmp_path: Path) -> None:
    own = tokenizer("byte-level", "docstrings")
    where = saved(tmp_path / "small", "llama", own, hidden_size=64, intermediate_size=128)
    sizes = {"hidden_size": 96, "num_attention_heads": 3, "num_key_value_heads": 3, "intermediate_size": 200}

    def made(**options: int) -> dict[str, Tensor]:
        return tensors(scionwood.grow(where, set=sizes, method="ligo", text=[text], options={"steps": 4, **options}))

    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        found = made()
        assert torch.get_num_threads() == 2
        torch.set_num_threads(1)
        again, shared = made(), made(threads=2)
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(found[name], again[name]) for name in found)
    assert any(not torch.equal(found[name], shared[name]) for name in found)  # it would show


def test_half_precision_is_rounded_at_the_end_and_what_the_source_lacks_is_fresh(
    folders: dict[str, Path], text: Path
) -> None:
    source = scionwood.open(folders["llama"])
    half = {name: tensor.cast(torch.bfloat16) for name, tensor in source.tensors.items()}
    wide = {name: tensor.cast(torch.float32) for name, tensor in half.items()}
    given: dict[str, Any] = {"set": {**LARGER["llama"], "attention_bias": True}, "method": "ligo"}
    given |= {"text": [text], "options": SHORT}
    rounded, exact = (scionwood.grow(dataclasses.replace(source, tensors=stored_), **given) for stored_ in (half, wide))
    assert losses(rounded) == losses(exact)
    learned = {entry.name for entry in exact.ledger or () if entry.action == "learned"}
    fresh = {entry.name for entry in exact.ledger or () if entry.action == "fresh"}
    assert fresh == {f"model.layers.0.self_attn.{name}_proj.bias" for name in "qkvo"}
    assert learned
    assert all(torch.equal(rounded[name], exact[name].bfloat16()) for name in learned)


REFUSED: list[tuple[dict[str, Any], type[ScionwoodError], str]] = [
    ({"method": "ligo"}, MethodError, "ligo learns its maps on text, and has none. give --text FILE"),
    ({"method": "hypercloning", "text": True}, MethodError, "hypercloning learns nothing from text"),
    ({"method": "ligo", "text": ["none.txt"]}, SourceError, "none.txt: No such file or directory"),
    ({"method": "ligo", "text": True, "options": {"steps": 0}}, MethodError, "steps"),
    ({"method": "ligo", "text": True, "options": {"learning_rate": 0}}, MethodError, "learning_rate"),
    ({"method": "ligo", "text": True, "options": {"learning_rate": 1e30, "steps": 3}}, MethodError, "do not learn"),
    ({"method": "ligo", "text": True, "depth": "block_expansion"}, MethodError, "give --depth stack, interleave"),
    ({"method": "ligo", "text": True, "set": {"head_dim": 16}}, MethodError, "a copy or a mixture would have another"),
    ({"method": "ligo", "text": True, "set": {"head_dim": 12}}, MethodError, "it is positional, and cannot grow"),
]


@pytest.mark.parametrize(("how", "kind", "words"), REFUSED, ids=range(len(REFUSED)))
def test_bad_requests(
    how: dict[str, Any], kind: type[ScionwoodError], words: str, folders: dict[str, Path], text: Path
) -> None:
    how = {"set": LARGER["llama"], **how, **({"text": [text]} if how.get("text") is True else {})}
    with pytest.raises(kind) as caught:
        scionwood.grow(folders["llama"], **how)
    assert words in " ".join([caught.value.message, *caught.value.problems, caught.value.hint or ""])


def test_what_predicts_no_tokens_or_has_no_tokenizer_is_sent_to_the_part(
    folders: dict[str, Path], text: Path, tmp_path: Path
) -> None:
    small, large = (nn.Sequential(nn.Linear(4, n), nn.ReLU(), nn.Linear(n, 2)) for n in (6, 9))
    with pytest.raises(MethodError, match="Sequential predicts no tokens") as caught:
        scionwood.grow(small, like=large, inputs=torch.zeros(1, 4), method="ligo", text=[text])
    assert "scionwood.train.growth.learned.fit" in (caught.value.hint or "")
    transformers.AutoModelForCausalLM.from_pretrained(folders["llama"]).save_pretrained(tmp_path / "bare")
    with pytest.raises(MatchError, match="has no tokenizer beside its weights"):
        scionwood.grow(tmp_path / "bare", set=LARGER["llama"], method="ligo", text=[text])


def test_the_command_refuses_before_it_writes(
    folders: dict[str, Path], text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    start = ["grow", str(folders["llama"]), "--set=intermediate_size=40", "--method=ligo", f"--out={out}"]
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe\x00")
    for more, words in (
        ([], "give --text FILE"),
        ([f"--text={tmp_path / 'none'}"], "No such file or directory"),
        ([f"--text={binary}"], "is no UTF-8 text: byte 0"),
        ([f"--text={text}", "--option=steps=0"], "steps"),
        ([f"--text={text}", "--option=step=3"], "did you mean 'steps'"),
    ):
        assert run([*start, *more]) == 2
        assert words in capsys.readouterr().err
    short = tmp_path / "short"
    short.write_text("some words")
    assert run([*start, f"--text={short}"]) == 2
    assert "The text is too short: of its" in capsys.readouterr().err
    assert not out.exists()
