"""Vocabularies: rows go where their tokens go, base text stays as it was, and the result loads with AutoTokenizer."""

import ast
import email.message
import inspect
import json
import re
import textwrap
from dataclasses import replace

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from scionwood.checkpoint import CastTensor, digest, write
from scionwood.checkpoint import open as open_checkpoint
from scionwood.cli import run
from scionwood.errors import MatchError, MethodError, SourceError
from scionwood.verbs.merge import merge
from scionwood.verbs.tokenizer import TokenSource, align_vocabularies, with_chat_template
from scionwood.verbs.tokenizer.rows import vocabulary_tensors
from scionwood.verbs.tokenizer.template import TEMPLATES

CODE = "\n".join(inspect.getsource(module) for module in (textwrap, ast, email.message)).splitlines()
PROSE = [
    line
    for module in (textwrap, ast, json, inspect, email.message)
    for node in ast.walk(ast.parse(inspect.getsource(module)))
    if isinstance(node, ast.FunctionDef | ast.ClassDef)
    for line in (ast.get_docstring(node) or "").splitlines()
]
END = "<|end|>"
WIDTH = 4


def trained(kind, texts, size, specials=(END,)):
    """A small tokenizer of a kind, trained on texts."""
    common = {"vocab_size": size, "special_tokens": ["<unk>", *specials], "show_progress": False}
    if kind == "byte-level":
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), **common)
    elif kind == "metaspace":
        tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
        tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
        trainer = trainers.BpeTrainer(**common)
    elif kind == "unigram":
        tokenizer = Tokenizer(models.Unigram())
        tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
        trainer = trainers.UnigramTrainer(unk_token="<unk>", **common)
    else:
        tokenizer = Tokenizer(models.WordPiece(unk_token="<unk>"))
        tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
        tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.BertPreTokenizer(), decoders.WordPiece()
        trainer = trainers.WordPieceTrainer(**common)
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def words(*vocabulary):
    """A tokenizer whose tokens are these words."""
    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(vocabulary)}, unk_token="a"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return tokenizer


@pytest.fixture
def model(tmp_path):
    """Makes a model's folder: an embedding, a head, a layer, a config and a tokenizer."""

    def make(name, tokenizer, *, rows=None, config=None, generation=None, dtype=torch.float32, head=True, seed=0):
        count = tokenizer.get_vocab_size() if rows is None else rows
        generator = torch.Generator().manual_seed(seed + len(name) + sum(map(ord, name)))
        tensors = {
            "model.embed_tokens.weight": torch.randn(count, WIDTH, generator=generator).to(dtype),
            "model.layers.0.up.weight": torch.randn(WIDTH, WIDTH, generator=generator).to(dtype),
        }
        if head:
            tensors["lm_head.weight"] = torch.randn(count, WIDTH, generator=generator).to(dtype)
            tensors["lm_head.bias"] = torch.randn(count, generator=generator).to(dtype)
        own = {
            "model_type": "llama",
            "vocab_size": count,
            "hidden_size": WIDTH,
            "num_attention_heads": 1,
            **(config or {}),
        }
        write(replace(open_checkpoint(tensors), config=own), tmp_path / name)
        special = {"eos_token": END} if END in tokenizer.get_vocab() else {}
        PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(tmp_path / name)
        if generation is not None:
            (tmp_path / name / "generation_config.json").write_text(json.dumps(generation))
        return open_checkpoint(tmp_path / name)

    return make


EMBEDDING = "model.embed_tokens.weight"


def ids_of(aligned):
    """Token → id of the new tokenizer."""
    spec = json.loads(aligned.models[0].documents["tokenizer.json"])
    vocab = spec["model"]["vocab"]
    ids = {piece: place for place, (piece, _) in enumerate(vocab)} if isinstance(vocab, list) else dict(vocab)
    return ids | {entry["content"]: entry["id"] for entry in spec["added_tokens"]}


def test_shared_rows_are_averaged_and_own_rows_are_kept(model):
    first, second = model("first", words("a", "b")), model("second", words("a", "c"))
    aligned = align_vocabularies([first, second])
    assert ids_of(aligned) == {"a": 0, "b": 1, "c": 2}
    made = merge(aligned.models)
    for name in (EMBEDDING, "lm_head.weight", "lm_head.bias"):
        x, y = first[name], second[name]
        torch.testing.assert_close(made[name][0], (x[0] + y[0]) / 2)
        assert torch.equal(made[name][1:], torch.stack([x[1], y[1]])), name
    layer = "model.layers.0.up.weight"
    torch.testing.assert_close(made[layer], (first[layer] + second[layer]) / 2)
    assert made.config == {**(first.config or {}), "vocab_size": 3}
    assert aligned.details[EMBEDDING] == f"rows: 1 in all models, 1 only in {first.source}, 1 only in {second.source}"


def test_padding_is_the_mean_of_all_rows(model):
    first, second = model("first", words("a", "b")), model("second", words("a", "c"))
    made = merge(align_vocabularies([first, second], pad_to_multiple_of=8).models)
    rows = made[EMBEDDING]
    assert rows.shape == (8, WIDTH)
    assert made.config["vocab_size"] == 8
    torch.testing.assert_close(rows[3:], rows[:3].mean(0).expand(5, WIDTH))
    torch.testing.assert_close(made["lm_head.bias"][3:], made["lm_head.bias"][:3].mean().expand(5))


@pytest.mark.parametrize("has_base", [True, False])
def test_a_row_that_some_have_comes_from_the_base_or_is_their_mean(model, has_base):
    first, second, third = model("x", words("a", "b")), model("yy", words("b", "a")), model("zzz", words("a", "c"))
    if has_base:
        aligned = align_vocabularies([second, third], first)
        assert aligned.base is not None
        assert torch.equal(aligned.base[EMBEDDING][:2], first[EMBEDDING])
    else:
        aligned = align_vocabularies([first, second, third])
    assert ids_of(aligned) == {"a": 0, "b": 1, "c": 2}
    expected = first[EMBEDDING][1] if has_base else (first[EMBEDDING][1] + second[EMBEDDING][0]) / 2
    taken = aligned.models[-1][EMBEDDING]
    assert torch.equal(taken[0], third[EMBEDDING][0])
    assert torch.equal(taken[1], expected)
    assert torch.equal(taken[2], third[EMBEDDING][1])


def test_tokens_say_where_their_rows_come_from(model):
    first, second = model("first", words("a", "b")), model("second", words("a", "c"))
    aligned = align_vocabularies(
        [first, second],
        tokens={
            "a": TokenSource(model=second, force=True),
            "b": TokenSource(model=second, token="c"),
            "c": TokenSource(zero=True),
            "new": TokenSource(model=first, token_id=1),
            "none": TokenSource(),
        },
    )
    one, two = (made[EMBEDDING] for made in aligned.models)
    x, y = first[EMBEDDING], second[EMBEDDING]
    zeros = torch.zeros(WIDTH)
    assert ids_of(aligned) == {"a": 0, "b": 1, "c": 2, "new": 3, "none": 4}
    assert torch.equal(one, torch.stack([y[0], x[1], zeros, x[1], zeros]))  # its own b is not forced away
    assert torch.equal(two, torch.stack([y[0], y[1], y[1], x[1], zeros]))
    assert torch.equal(merge(aligned.models)[EMBEDDING][0], y[0])


def test_merge_takes_tokens_and_a_template_in_plain_values(model, tmp_path):
    first, second = model("first", words("a", "b")), model("second", words("a", "c"))
    tokens = {"b": {"model": str(tmp_path / "second"), "token": "c"}, "new": {"zero": True, "force": True}}
    made = merge([first, second], tokenizer="union", tokens=tokens, chat_template="chatml")
    rows = made[EMBEDDING]
    torch.testing.assert_close(rows[1], (first[EMBEDDING][1] + second[EMBEDDING][1]) / 2)
    assert torch.equal(rows[3], torch.zeros(WIDTH))
    assert made.lineage.recipe["tokens"] == tokens
    assert made.lineage.recipe["chat_template"] == "chatml"
    assert b"<|im_start|>" in made.documents["chat_template.jinja"]
    again = {"b": TokenSource(model=second, token="c"), "new": TokenSource(zero=True, force=True)}
    same = merge([first, second], tokenizer="union", tokens=again)
    assert torch.equal(same[EMBEDDING], rows)
    assert same.lineage.recipe["tokens"] == tokens
    wrong = {"b": {"modle": "x"}, "c": {"token_id": "1", "force": 1}, "d": "zero"}
    with pytest.raises(MethodError) as raised:
        merge([first, second], tokenizer="union", tokens=wrong)
    assert len(raised.value.problems) == 4
    assert "did you mean 'model'" in str(raised.value)
    with pytest.raises(MethodError, match="where a tokenizer is asked for"):
        merge([first, second], tokens=tokens)


def test_the_base_or_a_models_vocabulary_can_be_kept(model):
    first, second = model("first", words("a", "b")), model("second", words("a", "c", "b"))
    kept = align_vocabularies([first, second], source="base")
    assert torch.equal(kept.models[1][EMBEDDING], second[EMBEDDING][[0, 2]])
    assert not kept.models[0].documents  # the first model's files are right as they are
    theirs = align_vocabularies([first, second], source=second)
    assert torch.equal(
        theirs.models[0][EMBEDDING], torch.stack([first[EMBEDDING][0], second[EMBEDDING][1], first[EMBEDDING][1]])
    )
    assert theirs.models[0].side_files["tokenizer.json"] == second.side_files["tokenizer.json"]


def test_rows_of_one_number_that_stand_for_different_tokens_are_told(model):
    first, second = model("first", words("a", "b")), model("second", words("a", "c"))
    with pytest.warns(UserWarning, match="1 token of .*first and .*second have the same number and another spelling"):
        merge([first, second])
    merge([first, model("third", words("a", "b"))])
    short = model("short", words("a", "b", "c"), rows=2)
    with pytest.warns(UserWarning, match="1 tokens have no row"):
        merge([short, second], tokenizer="union")


def test_a_token_without_a_row_is_taken_for_absent(model):
    short, other = model("short", words("a", "b", "c"), rows=2), model("other", words("a", "c"))
    aligned = align_vocabularies([short, other])
    assert ids_of(aligned) == {"a": 0, "b": 1, "c": 2}
    assert torch.equal(aligned.models[0][EMBEDDING][2], other[EMBEDDING][1])
    assert "1 tokens have no row" in aligned.notes[0]


def test_special_ids_are_renumbered_in_both_configs(model):
    special = {"eos_token_id": 1, "pad_token_id": -1, "bos_token_id": 0}
    first = model("first", words("a", END), config=special, generation={"eos_token_id": [1, 0], "top_k": 3})
    second = model("second", words("x", "y", END), config={"bos_token_id": 1})
    aligned = align_vocabularies([first, second], source=second)
    made = aligned.models[0]
    assert made.config == {**first.config, "vocab_size": 3, "eos_token_id": 2, "bos_token_id": 1}
    assert json.loads(made.documents["generation_config.json"]) == {"eos_token_id": [2], "top_k": 3}
    same = align_vocabularies([first, second])
    assert same.models[0].config == {**first.config, "vocab_size": 4}


KINDS = ("byte-level", "metaspace", "unigram", "wordpiece")


@pytest.mark.parametrize("kind", KINDS)
def test_the_union_encodes_as_before_and_decodes_what_others_encode(model, tmp_path, kind):
    first = model("first", trained(kind, CODE, 400))
    second = model("second", trained(kind, PROSE, 400, (END, "<|chat|>")))
    aligned = align_vocabularies([first, second])
    write(merge(aligned.models), tmp_path / "out")
    old, other, new = (AutoTokenizer.from_pretrained(tmp_path / name) for name in ("first", "second", "out"))
    ids = ids_of(aligned)
    assert new.get_vocab() == ids
    assert len(ids) == len({*old.get_vocab(), *other.get_vocab()}) > len(old)
    assert sorted(ids.values()) == list(range(len(ids)))
    lines = [line for line in (*CODE[:600], *PROSE[:600]) if line.strip()]
    if kind == "wordpiece":  # the longest piece is taken, a new one, too
        fresh = set(ids) - set(old.get_vocab())
        lines = [line for line in lines if not fresh & set(new.tokenize(line))]
        assert len(aligned.notes) == 1
    assert len(lines) > 200
    assert [new.encode(line) for line in lines] == [old.encode(line) for line in lines]
    for line in PROSE[:200]:
        spelled = other.tokenize(line)
        assert new.decode([ids[token] for token in spelled]) == other.decode(other.convert_tokens_to_ids(spelled))
    assert new.tokenize("def f<|chat|>") == [*old.tokenize("def f"), "<|chat|>"]
    assert new.eos_token == END
    for token in ("<|chat|>", END):
        number = other.convert_tokens_to_ids(token)
        assert torch.equal(aligned.models[1][EMBEDDING][ids[token]], second[EMBEDDING][number])
    assert open_checkpoint(tmp_path / "out")[EMBEDDING].shape == (len(ids), WIDTH)


@pytest.mark.parametrize(
    ("kind", "family"),
    [("byte-level", "GPT2Tokenizer"), ("metaspace", "LlamaTokenizer"), ("unigram", "T5Tokenizer")],
)
def test_a_tokenizer_of_a_family_is_joined_and_loads_as_that_family(model, tmp_path, kind, family):
    settings = {"tokenizer_class": family, "extra_ids": 0, "unk_token": "<unk>"}
    settings |= {"bos_token": END, "eos_token": END, "pad_token": END}
    for name, texts, specials in (("first", CODE, (END,)), ("second", PROSE, (END, "<|chat|>"))):
        model(name, trained(kind, texts, 400, specials))
        (tmp_path / name / "tokenizer_config.json").write_text(json.dumps(settings))
        AutoTokenizer.from_pretrained(tmp_path / name).save_pretrained(tmp_path / name)
    # What older versions of transformers write besides.
    added = {"1": {"content": END, "special": True, "normalized": False}}
    resaved = json.loads((tmp_path / "first" / "tokenizer_config.json").read_text())
    (tmp_path / "first" / "tokenizer_config.json").write_text(json.dumps({**resaved, "added_tokens_decoder": added}))
    aligned = align_vocabularies([open_checkpoint(tmp_path / "first"), open_checkpoint(tmp_path / "second")])
    write(merge(aligned.models), tmp_path / "out")
    old, new = (AutoTokenizer.from_pretrained(tmp_path / name) for name in ("first", "out"))
    assert type(new).__name__ == family
    assert new.get_vocab() == ids_of(aligned)
    assert all(new.encode(line) == old.encode(line) for line in CODE[:200])
    assert new.convert_tokens_to_ids("<|chat|>") in new.encode("x<|chat|>")


def test_a_tokenizer_in_older_files_is_converted(model, tmp_path):
    model("first", trained("wordpiece", CODE, 300))
    second = model("second", trained("wordpiece", PROSE, 300))
    spec = json.loads((tmp_path / "first" / "tokenizer.json").read_text())
    (tmp_path / "first" / "tokenizer.json").unlink()
    (tmp_path / "first" / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "BertTokenizer", "unk_token": "<unk>", "sep_token": END, "cls_token": END})
    )
    ordered = sorted(spec["model"]["vocab"], key=spec["model"]["vocab"].get)
    (tmp_path / "first" / "vocab.txt").write_text("\n".join(ordered) + "\n")
    aligned = align_vocabularies([open_checkpoint(tmp_path / "first"), second])
    ids = ids_of(aligned)
    assert [ids[token] for token in ordered] == list(range(300))
    assert "vocab.txt" not in aligned.models[0].side_files  # it would lack the new tokens


def test_half_precision_rows_are_bit_for_bit(model):
    first = model("first", trained("byte-level", CODE, 400), dtype=torch.bfloat16)
    second = model("second", trained("byte-level", PROSE, 400), dtype=torch.bfloat16)
    aligned = align_vocabularies([first, second])
    ids, own = ids_of(aligned), json.loads(second.side_files["tokenizer.json"].read_text())["model"]["vocab"]
    order = [ids[token] for token in own]
    assert torch.equal(aligned.models[1][EMBEDDING][order], second[EMBEDDING][list(own.values())])
    lazy = aligned.models[1].tensors[EMBEDDING]
    tiles = torch.cat([lazy.read(start, min(start + 7, len(ids))) for start in range(0, len(ids), 7)])
    assert torch.equal(tiles, lazy.read())


def test_a_merge_in_half_precision_is_the_rounded_merge(model):
    names = {"x": ("a", "b"), "yy": ("a", "c"), "zzz": ("c", "b")}
    asked = {"tokenizer": "union", "pad_to_multiple_of": 8}
    half = [model(name, words(*own), dtype=torch.bfloat16) for name, own in names.items()]
    single = [
        replace(each, tensors={name: CastTensor(tensor, torch.float32) for name, tensor in each.tensors.items()})
        for each in half
    ]
    made, expected = merge(half, **asked), merge(single, **asked)
    for name in made.tensors:
        assert made[name].dtype == torch.bfloat16
        assert torch.equal(made[name], expected[name].bfloat16()), name


def test_the_same_models_give_the_same_bytes(model, tmp_path):
    first = model("first", trained("unigram", CODE, 300))
    second = model("second", trained("unigram", PROSE, 300))
    for name, workers in (("one", 1), ("four", 4)):
        write(
            merge(align_vocabularies([first, second], pad_to_multiple_of=64).models), tmp_path / name, workers=workers
        )
    assert digest(tmp_path / "one", full=True) == digest(tmp_path / "four", full=True)
    for file in ("tokenizer.json", "tokenizer_config.json", "config.json"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "four" / file).read_bytes()


def test_a_tied_head_is_aligned_once(model):
    first, second = model("first", words("a", "b"), head=False), model("second", words("a", "c"))
    tied = replace(first, ties={"lm_head.weight": EMBEDDING})
    aligned = align_vocabularies([tied, second])
    assert aligned.models[0]["lm_head.weight"].shape == (3, WIDTH)
    # What the tied model lacks in its embedding it takes from the other's embedding.
    assert torch.equal(aligned.models[0]["lm_head.weight"][2], second[EMBEDDING][1])
    assert torch.equal(aligned.models[1]["lm_head.weight"][1], first[EMBEDDING][1])


def test_a_model_without_a_tokenizer_has_the_bases_if_it_fits(model):
    first, second = model("first", words("a", "b")), model("second", words("a", "b"))
    bare = replace(second, side_files={})
    aligned = align_vocabularies([first, bare])
    assert torch.equal(aligned.models[1][EMBEDDING], second[EMBEDDING])
    assert "no tokenizer" in aligned.notes[0]
    with pytest.raises(MatchError, match="has no tokenizer beside its weights"):
        align_vocabularies([first, replace(model("third", words("a", "b", "c")), side_files={})])


def test_kinds_that_cannot_be_joined_are_refused(model):
    first, second = model("first", trained("byte-level", CODE, 300)), model("second", trained("unigram", PROSE, 300))
    with pytest.raises(MatchError) as raised:
        align_vocabularies([first, second])
    assert f"{first.source}: byte-level BPE" in str(raised.value)
    assert f"{second.source}: Unigram" in str(raised.value)
    assert "tokenizer base" in str(raised.value)
    kept = align_vocabularies([first, second], source="base")
    assert kept.rows == 300


def test_impossible_requests_are_told_all_at_once(model):
    first, second = model("first", words("a", "b")), model("second", words("a", "c"))
    stranger = model("stranger", words("a"))
    with pytest.raises(MethodError) as raised:
        align_vocabularies(
            [first, second],
            tokens={
                "x": TokenSource(model=stranger),
                "y": TokenSource(model=first, token="c"),
                "z": TokenSource(model=first, token_id=2),
                "w": TokenSource(token="a"),
            },
            pad_to_multiple_of=0,
        )
    assert len(raised.value.problems) == 5
    assert "has 2 rows" in str(raised.value)


@pytest.mark.parametrize("text", ["{", "[]", '{"model": {}}', '{"model": {"vocab": {"a": "0"}}}'])
def test_a_broken_tokenizer_is_a_clear_error(model, tmp_path, text):
    first = model("first", words("a", "b"))
    (tmp_path / "first" / "tokenizer.json").write_text(text)
    with pytest.raises(SourceError, match=r"tokenizer\.json of .*first"):
        align_vocabularies([first, model("second", words("a", "c"))])


MESSAGES = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hello"},
    {"role": "assistant", "content": "Hi"},
    {"role": "user", "content": "Bye"},
]
RENDERED = {
    "alpaca": "Be brief.\n\n### Instruction:\nHello\n\n### Response:\nHi<|end|>\n\n### Instruction:\nBye\n\n### Response:\n",
    "chatml": (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHello<|im_end|>\n"
        "<|im_start|>assistant\nHi<|im_end|>\n<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\n"
    ),
    "exaone": "[|system|]Be brief.[|endofturn|]\n[|user|]Hello\n[|assistant|]Hi[|endofturn|]\n[|user|]Bye\n[|assistant|]",
    "llama3": (
        "<unk><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nHello<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\nHi<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nBye<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
    ),
    "mistral": "<unk>[INST] Be brief.\n\nHello [/INST] Hi<|end|>[INST] Bye [/INST]",
}


@pytest.mark.parametrize("name", sorted(TEMPLATES))
def test_chat_templates_by_name(model, tmp_path, name):
    first = model("first", trained("byte-level", CODE, 300))
    write(with_chat_template(first, name), tmp_path / "out")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out", bos_token="<unk>")
    assert tokenizer.apply_chat_template(MESSAGES, tokenize=False, add_generation_prompt=True) == RENDERED[name]


def test_the_chat_template_that_most_models_have(model, tmp_path):
    first, _, third = (model(name, words("a", "b")) for name in ("x", "yy", "zzz"))
    (tmp_path / "yy" / "chat_template.jinja").write_text("{{ messages }}\n")
    settings = json.loads(third.side_files["tokenizer_config.json"].read_text())
    (tmp_path / "zzz" / "tokenizer_config.json").write_text(json.dumps({**settings, "chat_template": "{{ messages }}"}))
    everyone = [open_checkpoint(tmp_path / name) for name in ("x", "yy", "zzz")]
    assert with_chat_template(everyone[0], "auto", everyone).documents["chat_template.jinja"] == b"{{ messages }}"
    moved = with_chat_template(everyone[2], "{{ bos_token }}", everyone)
    assert moved.documents["chat_template.jinja"] == b"{{ bos_token }}"
    assert "chat_template" not in json.loads(moved.documents["tokenizer_config.json"])
    assert with_chat_template(first, "auto", [first]) is first
    with pytest.raises(MethodError, match="did you mean 'chatml'"):
        with_chat_template(first, "chatlm")


def test_the_command_merges_models_with_different_vocabularies(model, tmp_path, capsys):
    first, second = model("first", words("a", "b")), model("second", words("a", "c"))
    asked = ["merge", "linear", f"{tmp_path}/first", f"{tmp_path}/second", "--out", f"{tmp_path}/out"]
    assert run(asked) == 0, capsys.readouterr().err
    # Of one size: what their rows stand for, the tensors do not say.
    assert "1: 'b' and 'c'; a tokenizer (--tokenizer union" in re.sub(r"\s+", " ", capsys.readouterr().err)
    model("third", words("a", "b", "c"))
    asked[3] = f"{tmp_path}/third"
    assert run([*asked, "--overwrite"]) == 2
    assert "--tokenizer union" in capsys.readouterr().err
    asked[3] = f"{tmp_path}/second"
    assert run([*asked, "--overwrite", "--tokenizer", "union", "--pad-to-multiple-of", "4"]) == 0
    assert "only in" in capsys.readouterr().out
    made, expected = open_checkpoint(tmp_path / "out"), merge([first, second], tokenizer="union", pad_to_multiple_of=4)
    assert all(torch.equal(made[name], expected[name]) for name in expected)
    assert made[EMBEDDING].shape == (4, WIDTH)
    assert AutoTokenizer.from_pretrained(tmp_path / "out").get_vocab() == {"a": 0, "b": 1, "c": 2}
    theirs = merge([first, second], tokenizer=tmp_path / "second")
    assert torch.equal(theirs[EMBEDDING][1], second[EMBEDDING][1])
    assert theirs.lineage.recipe["tokenizer"] == f"{tmp_path}/second"


def test_tensors_of_tokens_are_known_by_their_size_where_no_other_size_is_theirs():
    sizes = {"embed.odd_name": (50, 8), "head.odd_name": (50,), "norm.weight": (8,), "blocks.0.up.weight": (50, 8)}
    model = open_checkpoint({name: torch.zeros(size) for name, size in sizes.items()})
    known = replace(model, config={"vocab_size": 50, "hidden_size": 8})
    assert vocabulary_tensors(known) == ["embed.odd_name", "head.odd_name"]
    assert vocabulary_tensors(replace(model, config={"vocab_size": 50, "intermediate_size": 50})) == []
