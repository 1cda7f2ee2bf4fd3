"""The verb: rows by text, whatever letters a tokenizer writes it with; files, numbers, padding, refusals."""

import json
import re
import shutil
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from tests.vocabulary.conftest import CODE, PROSE, byte_level, model_of, text, unigram, word_piece

import scionwood
from scionwood.checkpoint import Checkpoint
from scionwood.errors import MatchError, MethodError, RecipeError, SourceError
from scionwood.methods import registry
from scionwood.methods.record import Record
from scionwood.recipe.read import parse_recipe
from scionwood.recipe.reproduce import reproduce
from scionwood.verbs.vocabulary import report, vocabulary
from scionwood.verbs.vocabulary.overlap import overlap_of, pieces_of
from scionwood.verbs.vocabulary.tables import Table
from scionwood.verbs.vocabulary.tokens import read_tokens
from scionwood.verbs.vocabulary.vocabulary import Setting, setting_of

USER_MADE = {"units", "frames"}
METHODS = [
    entry.name.partition(".")[2]
    for entry in registry.listing("vocabulary")
    if not USER_MADE & set(Record.of(registry.load(entry.name)).inputs)
]
QUICK = {"hyperofa": {"epochs": 1, "hidden": 8}, "cw2v": {"epochs": 1, "inner": 8}}


@pytest.fixture(scope="module")
def llama(kept, tmp_path_factory):
    return model_of("Llama", tmp_path_factory.mktemp("llama"), kept(byte_level, PROSE, 600), 640)


def embedding(checkpoint, name="model.embed_tokens.weight"):
    return checkpoint[name]


# Tokens by their text.


@pytest.mark.parametrize("maker", [byte_level, unigram, word_piece])
def test_a_tokens_text_joined_is_the_text(kept, maker):
    tokens = read_tokens(kept(maker, CODE, 700))
    sample = "def parse_args(self, args=None): return known"
    joined = b"".join(tokens.spelled[number] for number in tokens.ids(sample)).decode()
    # WordPiece forgets where spaces were not; what is left is the same letters.
    same = joined.replace(" ", "") == sample.replace(" ", "") if maker is word_piece else joined.strip() == sample
    assert same, joined


@pytest.mark.parametrize(("first", "second"), [(byte_level, unigram), (unigram, word_piece), (word_piece, byte_level)])
def test_tokens_of_different_kinds_are_known_by_their_text(kept, first, second):
    source, target = read_tokens(kept(first, PROSE, 600)), read_tokens(kept(second, PROSE, 600))
    overlap = overlap_of(source, target)
    plain = [n for n in range(target.size) if int(overlap[n]) >= 0 and n not in target.special_ids]
    assert len(plain) > 150
    both = lambda tokens, n: {tokens.spelled[n], tokens.otherwise.get(n, tokens.spelled[n])}  # noqa: E731
    assert all(both(source, int(overlap[n])) & both(target, n) for n in plain)
    words = {target.spelled[n] for n in plain}
    assert {b" the", b" of"} <= words


def test_special_tokens_are_matched_by_what_they_are_for(kept):
    source, target = read_tokens(kept(word_piece, PROSE, 600)), read_tokens(kept(unigram, PROSE, 600))
    overlap = overlap_of(source, target)
    own, new = source.vocabulary.ids, target.vocabulary.ids
    matched = {name: int(overlap[new[name]]) for name in ("<unk>", "<s>", "</s>")}
    assert matched == {"<unk>": own["[UNK]"], "<s>": own["[CLS]"], "</s>": own["[SEP]"]}


@pytest.mark.parametrize("maker", [byte_level, unigram, word_piece])
def test_pieces_spell_their_token(kept, maker):
    source, target = read_tokens(kept(maker, PROSE, 600)), read_tokens(kept(byte_level, CODE, 700))
    found = pieces_of(source, target)
    overlap = overlap_of(source, target)
    spelled = [
        (target.spelled[number], b"".join(source.spelled[int(piece)] for piece in pieces))
        for number, pieces in enumerate(found)
        if len(pieces) and int(overlap[number]) < 0
    ]
    right = sum(a == b or a.replace(b" ", b"") == b.replace(b" ", b"") for a, b in spelled)
    assert len(spelled) > 100
    assert right > 0.95 * len(spelled)


def test_equal_tokenizers_change_nothing(llama, kept):
    made = vocabulary(llama, tokenizer=kept(byte_level, PROSE, 600))
    before = scionwood.open(llama)
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        assert torch.equal(made[name], before[name][:600])


@pytest.mark.parametrize(("first", "second"), [(byte_level, byte_level), (word_piece, unigram)])
def test_fuzzy_matches_letters_whatever_their_case_and_a_space_before_them(kept, first, second):
    source, target = read_tokens(kept(first, PROSE, 600)), read_tokens(kept(second, CODE, 700))
    exact, fuzzy = overlap_of(source, target), overlap_of(source, target, match="fuzzy")
    assert torch.equal(fuzzy[exact >= 0], exact[exact >= 0])
    assert int((fuzzy >= 0).sum()) > int((exact >= 0).sum()) + 20
    plain = lambda tokens, number: tokens.spelled[number].decode().lstrip(" ").lower()  # noqa: E731
    every = [(number, plain(source, number)) for number in sorted(source.spelled) if number in source.letters]
    for number in torch.nonzero((fuzzy >= 0) & (exact < 0)).flatten().tolist():
        same = [own for own, letters in every if letters == plain(target, number)]
        best = [own for own in same if source.spelled[own] == plain(target, number).encode()]
        assert int(fuzzy[number]) == (best or same)[0]
    missed = [n for n in torch.nonzero(fuzzy < 0).flatten().tolist() if n in target.letters]
    assert not {plain(target, number) for number in missed} & {letters for _, letters in every}


def test_fuzzy_rows_are_copied_reproduced_and_counted(llama, kept, texts, tmp_path, capsys):
    from scionwood.cli import run

    new = kept(byte_level, CODE, 700)
    fuzzy = overlap_of(read_tokens(llama), read_tokens(new), match="fuzzy")
    made = embedding(vocabulary(llama, tokenizer=new, match="fuzzy"))
    assert torch.equal(made[fuzzy >= 0], embedding(scionwood.open(llama))[fuzzy[fuzzy >= 0]])
    command = ["vocabulary", str(llama), "--tokenizer", str(new), "--match", "fuzzy"]
    assert run([*command, "--out", str(tmp_path / "out")]) == 0
    assert torch.equal(embedding(scionwood.open(tmp_path / "out")), made)
    assert run(["reproduce", str(tmp_path / "out")]) == 0
    capsys.readouterr()
    assert run([*command, "--report", str(texts / "code.txt"), "--method", "mean"]) == 0
    said = capsys.readouterr().out
    assert f"{int((fuzzy >= 0).sum())} whatever their case" in said
    assert f"{int((fuzzy >= 0).sum())}" in next(line for line in said.splitlines() if line.startswith("mean "))


# The verb.


def test_every_method_serves_every_table(llama, kept, texts):
    new = kept(byte_level, CODE, 700)
    for name in METHODS:
        made = vocabulary(llama, tokenizer=new, method=name, text=[texts / "code.txt"], options=QUICK.get(name))
        assert made.config["vocab_size"] == 700
        for table in ("model.embed_tokens.weight", "lm_head.weight"):
            assert made[table].shape == (700, 24)
            assert bool(made[table].isfinite().all()), name
        ledger = {entry.name: entry for entry in made.ledger.of("reworded")}
        assert set(ledger) == {"model.embed_tokens.weight", "lm_head.weight"}
        assert ledger["lm_head.weight"].detail.startswith("rows: ")


def test_hyperofa_serves_a_bias_of_zeros(kept, texts, tmp_path):
    """A fresh BERT's over its tokens, of which no network can learn anything."""
    folder = model_of("Bert", tmp_path / "m", kept(word_piece, PROSE, 600), 600)
    made = vocabulary(
        folder,
        tokenizer=kept(word_piece, CODE, 500),
        method="hyperofa",
        text=[texts / "code.txt"],
        options=QUICK["hyperofa"],
    )
    assert torch.equal(made["cls.predictions.bias"], torch.zeros(500))
    details = {entry.name: entry.detail for entry in made.ledger.of("reworded")}
    assert " mixed" in details["cls.predictions.bias"]
    assert " made" in details["bert.embeddings.word_embeddings.weight"]


def test_eigennoise_ranks_by_id_without_a_text_and_says_so(llama, kept, texts):
    new = kept(byte_level, CODE, 700)
    without, counted = (
        vocabulary(llama, tokenizer=new, method="eigennoise", text=files) for files in ([], [texts / "code.txt"])
    )
    lengths = embedding(without)[:10].norm(dim=1)
    assert torch.equal(lengths, lengths.sort(descending=True).values)
    assert not torch.equal(embedding(without), embedding(counted))
    said = [next(made.ledger.of("reworded")).detail for made in (without, counted)]
    assert ["ranked by id" in each for each in said] == [True, False]


def test_tokalign_counts_as_drawn_what_it_takes_at_random(llama, kept, tmp_path):
    (tmp_path / "short.txt").write_text("def main(): return the value, the name and the value " * 3)
    setting = setting_of(llama, kept(byte_level, CODE, 700), text=[tmp_path / "short.txt"])
    found = setting.rows(registry.load("vocabulary.tokalign"), {"pivots": 300, "similarity": "cosine", "replace": 0.0})
    rows = found["model.embed_tokens.weight"]
    unseen = (setting.inputs.counts < 2) & (setting.inputs.overlap < 0)
    assert int(unseen.sum()) == rows.counts["drawn"] > 100
    assert not setting.source.special_ids & set(rows.indices[unseen].flatten().tolist())


@pytest.mark.parametrize("method", ["focus", "tokalign"])
def test_vectors_are_trained_as_asked(llama, kept, texts, method):
    def make(**options):
        made = vocabulary(
            llama, tokenizer=kept(byte_level, CODE, 700), method=method, text=[texts / "code.txt"], options=options
        )
        detail = next(made.ledger.of("reworded")).detail
        return embedding(made), int(re.search(r"(\d+) drawn", detail)[1])

    (plain, drawn), (said, again), (narrow, _), (often, more) = (
        make(**options)
        for options in (
            {},
            {"dim": 100, "min_count": 2, "iterations": 15},
            {"dim": 8, "iterations": 2},
            {"min_count": 10},
        )
    )
    assert torch.equal(plain, said)
    assert drawn == again < more
    assert not torch.equal(plain, narrow)
    assert not torch.equal(plain, often)


def test_what_is_asked_of_vectors_that_are_given_is_refused(llama, kept, tmp_path):
    (tmp_path / "vectors.txt").write_text("the 1 2\nof 2 1\n")
    with pytest.raises(
        MethodError, match="dim and min_count say how vectors are trained on a text, but these are given"
    ):
        vocabulary(
            llama,
            tokenizer=kept(byte_level, CODE, 700),
            method="focus",
            vectors=[tmp_path / "vectors.txt"],
            options={"dim": 10, "min_count": 2},
        )


def test_what_is_shared_is_copied_bit_for_bit_and_pieces_are_averaged(llama, kept):
    source, target = read_tokens(llama), read_tokens(kept(byte_level, CODE, 700))
    made, before = vocabulary(llama, tokenizer=kept(byte_level, CODE, 700)), scionwood.open(llama)
    overlap, pieces = overlap_of(source, target), pieces_of(source, target)
    new, old = embedding(made), embedding(before)
    shared = overlap >= 0
    assert torch.equal(new[shared], old[overlap[shared]])
    for number in torch.nonzero(~shared).flatten().tolist()[:50]:
        if len(pieces[number]):
            assert torch.allclose(new[number], old[pieces[number]].mean(0), atol=1e-6)


def test_rows_do_not_hang_on_how_many_threads_torch_has():
    drawn = lambda: torch.Generator().manual_seed(0)  # noqa: E731
    held = torch.randn(8000, 256, generator=drawn())
    counts = torch.randint(0, 50, (8000,), generator=drawn())
    table = Table(scionwood.open({"t": held}).tensors["t"], "t", 0, "input", True)
    nowhere = torch.full((8000,), -1)
    hand = lambda *_: {"table": held, "overlap": nowhere, "generator": drawn(), "counts": counts}  # noqa: E731
    side: Any = SimpleNamespace(size=8000, used=torch.arange(8000))
    setting = Setting(
        Checkpoint({}), {"t": table}, (), False, side, side, 8000, cast("Any", SimpleNamespace(hand=hand))
    )
    found, before = [], torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append(setting.rows(registry.load("vocabulary.eigennoise"), {})["t"].values)
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert torch.equal(*found)


def test_rows_that_pad_the_source_are_not_averaged_and_the_target_is_padded(llama, kept, tmp_path):
    spoilt = tmp_path / "spoilt"
    shutil.copytree(llama, spoilt)
    held = scionwood.open(llama).state_dict()
    held["model.embed_tokens.weight"][600:] = 1e6
    from safetensors.torch import save_file

    save_file(held, spoilt / "model.safetensors", metadata={"format": "pt"})
    options = {"method": "mean", "tokenizer": kept(byte_level, CODE, 700), "pad_to_multiple_of": 64}
    made = vocabulary(spoilt, **options)
    assert made.config["vocab_size"] == 704
    new = embedding(made)
    assert float(new.abs().max()) < 10
    assert torch.allclose(new[700:], new[:700].mean(0).expand(4, -1), atol=1e-6)
    assert ", 4 of padding" in next(made.ledger.of("reworded")).detail


def holed(tokenizer, folder):
    """The same tokenizer, its last 20 tokens with numbers that are larger by 40."""
    shutil.copytree(tokenizer, folder, dirs_exist_ok=True)
    spec = json.loads((folder / "tokenizer.json").read_text())
    spec["model"]["vocab"] = {token: n + 40 * (n >= 580) for token, n in spec["model"]["vocab"].items()}
    (folder / "tokenizer.json").write_text(json.dumps(spec))
    return folder


@pytest.mark.parametrize(
    "method", ["mean", "mean_subword", "multivariate", "overlap_copy", "ofa", "wechsel", "hyperofa"]
)
def test_numbers_that_no_token_has_are_as_if_they_were_not(llama, kept, tmp_path, method):
    from safetensors.torch import save_file

    folder = holed(llama, tmp_path / "m")
    held = scionwood.open(llama).state_dict()
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        held[name][620:] = held[name][580:600].clone()
        held[name][580:620] = 5.0
    save_file(held, folder / "model.safetensors", metadata={"format": "pt"})
    (tmp_path / "v.txt").write_text("the 1 0 2\nreturn 0 1 1\nself 1 1 0\nof 2 0 1\nname 1 2 3\n")
    options = {"tokenizer": kept(byte_level, CODE, 700), "method": method, "options": QUICK.get(method)}
    made, plain = (vocabulary(each, **options, vectors=[tmp_path / "v.txt"]) for each in (folder, llama))
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        assert torch.equal(made[name], plain[name])
    assert list(made.ledger.of("reworded")) == list(plain.ledger.of("reworded"))


def test_numbers_that_no_new_token_has_are_padding(llama, kept, texts, tmp_path):
    plain = kept(byte_level, PROSE, 600)
    new = holed(plain, tmp_path / "new")
    made = vocabulary(llama, tokenizer=new, method="overlap_copy", pad_to_multiple_of=64)
    old, rows = embedding(scionwood.open(llama)), embedding(made)
    assert torch.equal(rows[:580], old[:580])
    assert torch.equal(rows[620:640], old[580:600])
    assert torch.allclose(rows[580:620], old[:600].mean(0).expand(40, -1), atol=1e-6)
    assert next(made.ledger.of("reworded")).detail == "rows: 600 copied, 40 of padding"
    found = report(setting_of(llama, new, text=[texts / "prose.txt"]), ["overlap_copy"])
    assert (found.tokens, sum(found.lines[0].counts.values())) == (600, 600)


@pytest.mark.parametrize("tied", [True, False])
def test_tied_and_untied_heads(kept, tmp_path, tied):
    folder = model_of("GPT2", tmp_path / "m", kept(byte_level, PROSE, 600), 600, tie_word_embeddings=tied)
    made = vocabulary(folder, tokenizer=kept(unigram, PROSE, 500))
    tables = [entry.name for entry in made.ledger.of("reworded")]
    assert len(tables) == (1 if tied else 2)
    scionwood.write(made, tmp_path / "out")
    from transformers import AutoModelForCausalLM

    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert loaded.get_output_embeddings().weight.shape == (500, 24)
    assert (loaded.lm_head.weight.data_ptr() == loaded.transformer.wte.weight.data_ptr()) == tied


@pytest.mark.parametrize(
    ("name", "own", "new"),
    [("Llama", byte_level, unigram), ("Bert", word_piece, word_piece), ("T5", unigram, unigram)],
)
def test_the_result_loads_with_its_tokenizer(kept, tmp_path, name, own, new):
    from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, AutoModelForSeq2SeqLM, AutoTokenizer

    folder = model_of(name, tmp_path / "m", kept(own, PROSE, 600), 600)
    made = vocabulary(folder, tokenizer=kept(new, CODE, 500), pad_to_multiple_of=8)
    scionwood.write(made, tmp_path / "out")
    kinds = {"Llama": AutoModelForCausalLM, "Bert": AutoModelForMaskedLM, "T5": AutoModelForSeq2SeqLM}
    loaded, tokenizer = kinds[name].from_pretrained(tmp_path / "out"), AutoTokenizer.from_pretrained(tmp_path / "out")
    assert len(tokenizer) == 500
    assert loaded.config.vocab_size == 504
    given = {
        key: value for key, value in tokenizer("a new text", return_tensors="pt").items() if key != "token_type_ids"
    }
    extra = {"decoder_input_ids": given["input_ids"]} if name == "T5" else {}
    assert loaded(**given, **extra).logits.shape[-1] == 504
    if name == "Bert":  # the head's bias over tokens is a table, too
        assert loaded.cls.predictions.bias.shape == (504,)
    assert loaded.config.eos_token_id in (
        None,
        tokenizer.eos_token_id,
        *([tokenizer.sep_token_id] if name == "Bert" else []),
    )


def test_generation_configs_follow(llama, kept, tmp_path):
    folder = tmp_path / "m"
    shutil.copytree(llama, folder)
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [0], "bos_token_id": 0, "top_k": 7}))
    scionwood.write(vocabulary(folder, tokenizer=kept(unigram, PROSE, 500)), tmp_path / "out")
    settings = json.loads((tmp_path / "out" / "generation_config.json").read_text())
    ids = read_tokens(kept(unigram, PROSE, 500)).vocabulary.ids
    assert settings["top_k"] == 7
    assert settings["bos_token_id"] == ids["<s>"]
    assert settings["eos_token_id"][0] in (ids["<s>"], ids["</s>"])


def test_it_is_made_again_from_its_lineage_and_a_changed_text_is_noticed(llama, kept, texts, tmp_path, capsys):
    from scionwood.cli import run

    learned = tmp_path / "learned.txt"
    shutil.copy(texts / "code.txt", learned)
    command = [
        "vocabulary",
        str(llama),
        "--tokenizer",
        str(kept(byte_level, CODE, 700)),
        "--out",
        str(tmp_path / "out"),
    ]
    assert run([*command, "--method", "focus", "--text", str(learned)]) == 0
    assert run(["reproduce", str(tmp_path / "out")]) == 0
    assert "identical" in capsys.readouterr().out
    learned.write_text("another text")
    assert run(["reproduce", str(tmp_path / "out")]) == 2
    assert "learned.txt has changed" in capsys.readouterr().err


def test_what_is_given_from_python_is_known_by_its_digest_and_not_made_again_without(llama, kept, texts, tmp_path):
    asked = {"tokenizer": kept(byte_level, CODE, 700), "method": "focus", "text": [texts / "code.txt"]}
    digests = []
    for kept_from in (100, 100, 200):
        anchors = torch.arange(700) >= kept_from
        made = vocabulary(llama, **asked, inputs={"anchors": anchors})
        digests.append(made.lineage.recipe["inputs"]["anchors"])
    assert digests[0] == digests[1] != digests[2]
    out = scionwood.write(made, tmp_path / "out")
    with pytest.raises(SourceError, match="cannot be made again") as refused:
        reproduce(out)
    assert refused.value.problems == (
        f"inputs['anchors'] was given from Python, and is gone: its digest was {digests[2]}",
    )
    assert "anchors" not in (out / "README.md").read_text().partition("\n---\n")[0]  # it is no base model
    with pytest.raises(RecipeError, match="inputs must be a string, or none, not a mapping"):
        parse_recipe(made.lineage.to_dict())


def test_vectors_from_a_file(llama, kept, tmp_path):
    words = ["the", "return", "of", "value", "name", "class"]
    lines = [f"{word} {' '.join(str(float(x)) for x in torch.randn(8))}" for word in words]
    (tmp_path / "vectors.txt").write_text("\n".join([f"{len(words)} 8", *lines]) + "\n")
    made = vocabulary(
        llama, tokenizer=kept(byte_level, CODE, 700), method="wechsel", vectors=[tmp_path / "vectors.txt"]
    )
    assert " mixed" in next(made.ledger.of("reworded")).detail


# The report.


def test_the_report_has_overlap_fertility_and_losses(llama, kept, texts, capsys):
    found = report(
        setting_of(llama, kept(byte_level, CODE, 700), text=[texts / "code.txt"]),
        ["mean_subword", "random", "speech_tokens"],
    )
    assert 0 < found.shared < found.tokens == 700
    assert found.fertility[1] < found.fertility[0]  # cut for code, code is shorter
    assert found.bytes_per_token[1] > found.bytes_per_token[0]
    bits = {line.method: line.bits for line in found.lines}
    assert bits["mean_subword"] is not None
    assert 0 < bits["mean_subword"] < 10
    assert "units, frames" in next(line.note for line in found.lines if line.method == "speech_tokens")


def test_it_is_measured_on_its_own_text_whatever_methods_learn_from(llama, kept, texts, capsys):
    from scionwood.cli import run

    command = [
        "vocabulary",
        str(llama),
        "--tokenizer",
        str(kept(byte_level, CODE, 700)),
        "--json",
        "--method",
        "mean,focus",
    ]
    measured, notes = [], []
    for more in ([], ["--text", str(texts / "code.txt")]):
        assert run([*command, "--report", str(texts / "prose.txt"), *more]) == 0
        said = capsys.readouterr()
        measured.append(json.loads(said.out))
        notes.append("learned from the one they are measured on" in said.err)
    assert notes == [True, False]
    seen, held = measured
    assert held["before"] == seen["before"]
    assert held["fertility"] == seen["fertility"]
    bits = [{line["method"]: line["bits"] for line in each["lines"]} for each in measured]
    assert bits[0]["mean"] == bits[1]["mean"]
    assert bits[0]["focus"] != bits[1]["focus"]  # its vectors are of another text


def test_the_reports_loss_is_that_of_the_model(llama, kept, texts):
    import math

    from transformers import AutoModelForCausalLM, AutoTokenizer

    found = report(setting_of(llama, kept(byte_level, PROSE, 600), text=[texts / "prose.txt"]), ["overlap_copy"])
    assert found.lines[0].bits == pytest.approx(found.before, rel=0.02)  # the same model, without the rows of padding
    model, tokenizer = AutoModelForCausalLM.from_pretrained(llama), AutoTokenizer.from_pretrained(llama)
    ids = torch.tensor(tokenizer((texts / "prose.txt").read_text())["input_ids"][:4096])
    lost = size = 0
    with torch.no_grad():
        for piece in ids.split(128):
            if len(piece) > 1:
                lost += float(model(input_ids=piece[None], labels=piece[None]).loss) * (len(piece) - 1)
                size += len(tokenizer.decode(piece[1:]).encode())
    assert found.before == pytest.approx(lost / math.log(2) / size, rel=0.02)


def test_every_method_is_in_the_report_and_what_learned_less_says_so(llama, kept, tmp_path, capsys, monkeypatch):
    from scionwood.cli import run
    from scionwood.verbs.vocabulary.report import SMALL

    (tmp_path / "short.txt").write_text(text(CODE)[:6_000])
    monkeypatch.setitem(SMALL, "steps", 2)
    command = ["vocabulary", str(llama), "--tokenizer", str(kept(byte_level, CODE, 700)), "--json"]
    assert run([*command, "--report", str(tmp_path / "short.txt")]) == 0
    said = capsys.readouterr()
    lines = {line["method"]: line for line in json.loads(said.out)["lines"]}
    assert set(lines) == {entry.name.partition(".")[2] for entry in registry.listing("vocabulary")}
    assert [name for name, line in lines.items() if line["bits"] is None] == ["speech_tokens"]
    assert "needs what no tokenizer says: units, frames" in lines["speech_tokens"]["note"]
    assert lines["hyperofa"]["note"].startswith(
        "a small network (hidden 64, context 32, learning_rate 0.003), learned 2 of"
    )
    assert not lines["cw2v"]["note"]  # so small a model has it in full
    assert lines["overlap_copy"]["bits"] == lines["univariate"]["bits"]
    assert f"1 of {len(lines)}: cw2v" in said.err


def test_a_large_table_has_cw2v_for_some_steps(llama, kept, texts, monkeypatch):
    import sys

    module = sys.modules["scionwood.verbs.vocabulary.report"]
    monkeypatch.setattr(module, "registry", Listed("cw2v"))
    monkeypatch.setattr(module, "WORK", 10**9)
    found = report(setting_of(llama, kept(byte_level, CODE, 700), text=[texts / "code.txt"]))
    taken, every = found.lines[0].note.removeprefix("learned ").partition(" steps")[0].split(" of ")
    assert 0 < int(taken) < int(every.replace(",", ""))
    assert found.lines[0].note.endswith("--method cw2v has all")


class Listed:
    """A registry of one method."""

    def __init__(self, name):
        self.entries = [entry for entry in registry.listing("vocabulary") if entry.name == f"vocabulary.{name}"]

    def listing(self, family):
        return self.entries

    def load(self, name, *, family):
        return registry.load(name, family=family)


def test_a_model_without_a_loss_is_not_trained_for_one(kept, texts, tmp_path):
    import transformers

    folder = model_of("Llama", tmp_path / "m", kept(byte_level, PROSE, 600), 600)
    config = transformers.AutoConfig.from_pretrained(folder)
    transformers.LlamaModel(config).save_pretrained(folder)
    found = report(setting_of(folder, kept(byte_level, CODE, 700), text=[texts / "code.txt"]))
    assert found.loss is None
    notes = {line.method: line.note for line in found.lines if not line.counts}
    assert set(notes) == {"cw2v", "hyperofa", "speech_tokens"}
    assert "name it (--method cw2v)" in notes["cw2v"]


@pytest.mark.parametrize(("name", "maker"), [("T5", unigram), ("Bert", word_piece)])
def test_encoders_with_and_without_a_decoder_have_a_loss_too(kept, texts, tmp_path, name, maker):
    """The second half of each piece from the first; every seventh token from the others: by the model's own loss."""
    import math

    from transformers import AutoModelForMaskedLM, AutoModelForSeq2SeqLM

    folder = model_of(name, tmp_path / "m", kept(maker, PROSE, 600), 600)
    setting = setting_of(folder, kept(maker, PROSE, 600), text=[texts / "prose.txt"])
    found = report(setting, ["overlap_copy", "random"])
    assert found.loss == {"T5": "prefix", "Bert": "masked"}[name]
    assert found.lines[0].bits == pytest.approx(found.before, rel=1e-5)
    model = (AutoModelForSeq2SeqLM if name == "T5" else AutoModelForMaskedLM).from_pretrained(folder)
    lost = size = 0
    for ids in torch.tensor(setting.source.ids((texts / "prose.txt").read_text())[:4096]).split(128):
        half, given, labels = (len(ids) + 1) // 2, ids.clone(), torch.full_like(ids, -100)
        labels[::7], given[::7] = ids[::7], setting.source.special.get("mask", 0)
        given, labels = (ids[:half], ids[half:]) if name == "T5" else (given, labels)
        wanted = labels[labels != -100]
        with torch.no_grad():
            lost += float(model(input_ids=given[None], labels=labels[None]).loss) * len(wanted)
        size += sum(len(setting.source.spelled.get(number, b"")) or 1 for number in wanted.tolist())
    assert found.before == pytest.approx(lost / math.log(2) / size, rel=1e-4)


def test_a_loss_that_cannot_be_measured_says_what_is_missing(kept, texts, tmp_path):
    folder = model_of("Bert", tmp_path / "m", kept(word_piece, PROSE, 600), 600)
    make = lambda **named: report(  # noqa: E731
        setting_of(folder, kept(unigram, PROSE, 500), text=[texts / "prose.txt"], special=named), ["mean"]
    )
    found = make()
    assert found.before is not None
    assert (found.lines[0].bits, found.lines[0].note[:8]) == (None, "no loss:")
    assert "--special mask=TOKEN" in found.lines[0].note
    assert make(mask="<unk>").lines[0].bits is not None


# Refusals.


def test_refusals(llama, kept, texts, tmp_path):
    new = kept(byte_level, CODE, 700)
    cases = [
        (MethodError, {"method": "focuss"}, "did you mean 'focus'"),
        (MethodError, {"method": "focus"}, "learns from text, and has none"),
        (MethodError, {"method": "speech_tokens"}, "needs what no tokenizer says: units, frames"),
        (MethodError, {"match": "fuzy"}, "match exact or fuzzy, not 'fuzy'"),
        (MethodError, {"pad_to_multiple_of": 0}, "cannot be brought up to a multiple of 0"),
        (SourceError, {"method": "focus", "text": [tmp_path / "no.txt"]}, "The text cannot be read"),
        (SourceError, {"tokenizer": tmp_path}, "has no tokenizer"),
        (MethodError, {"inputs": {"pices": []}}, "unknown input 'pices' .did you mean 'pieces'"),
        (MethodError, {"method": "focus", "inputs": {"zzz": []}}, "unknown input 'zzz': known are overlap,"),
        (MethodError, {"inputs": {"pieces": ["a"]}}, "'pieces' is a list with other things in it than numbers"),
        (MatchError, {"special": {"ens": "x", "eos": "<nope>"}}, "special tokens cannot be as asked"),
    ]
    for kind, changes, message in cases:
        with pytest.raises(kind, match=message):
            vocabulary(llama, **{"tokenizer": new, **changes})


def test_what_the_user_makes_may_be_lists_and_arrays_and_is_told_where_it_is_neither(llama, kept, texts):
    import numpy as np

    new = kept(byte_level, CODE, 700)
    fresh = torch.nonzero(setting_of(llama, new).inputs.overlap < 0).flatten()
    units, frames = fresh.repeat(3), torch.randn(3 * len(fresh), 6, generator=torch.Generator().manual_seed(0))
    make = lambda **inputs: embedding(  # noqa: E731
        vocabulary(llama, tokenizer=new, method="speech_tokens", inputs=inputs)
    )
    expected = make(units=units, frames=frames)
    assert torch.equal(make(units=units.tolist(), frames=frames.tolist()), expected)
    assert torch.equal(make(units=units.numpy(), frames=frames.numpy()), expected)
    with pytest.raises(MethodError, match="(?s)no tables of numbers.*frames: .*units: "):
        make(units=np.array(["a"]), frames=[[1.0], [2.0, 3.0]])
    with pytest.raises(MethodError, match="dictionary: 1 tables, and not the source's and the target's"):
        vocabulary(llama, tokenizer=new, method="wechsel", text=[texts / "code.txt"], inputs={"dictionary": [frames]})
    with pytest.raises(MethodError, match=r"Anchors are true or false for each of the 700 target tokens, not int64"):
        vocabulary(llama, tokenizer=new, method="focus", text=[texts / "code.txt"], inputs={"anchors": [1, 2]})


def test_speech_tokens_from_the_command_line(llama, kept, texts, tmp_path):
    """Units and frames in a file are a parent by digest: the output is made again, and a change is noticed."""
    from scionwood.cli import run

    new, file, out = kept(byte_level, CODE, 700), tmp_path / "speech.safetensors", tmp_path / "out"
    fresh = torch.nonzero(setting_of(llama, new).inputs.overlap < 0).flatten()
    given = {
        "units": fresh.repeat(3),
        "frames": torch.randn(3 * len(fresh), 6, generator=torch.Generator().manual_seed(0)),
    }
    scionwood.write(given, file)
    asked = ["vocabulary", str(llama), "--tokenizer", str(new), "--method", "speech_tokens", "--inputs", str(file)]
    assert run([*asked, "--out", str(out)]) == 0
    made = vocabulary(llama, tokenizer=new, method="speech_tokens", inputs=given)
    assert torch.equal(embedding(scionwood.open(out)), embedding(made))
    assert run(["reproduce", str(out)]) == 0
    assert run([*asked, "--report", str(texts / "code.txt")]) == 0
    scionwood.write(given | {"units": fresh.flip(0).repeat(3)}, file, overwrite=True)
    assert run(["reproduce", str(out)]) != 0
    scionwood.write({"unit": fresh}, file, overwrite=True)
    assert run([*asked, "--out", str(tmp_path / "other")]) == 2


def test_a_tokenizer_without_the_special_tokens_of_the_model(llama, kept, tmp_path):
    bare = tmp_path / "bare"
    shutil.copytree(kept(unigram, CODE, 700), bare)
    (bare / "tokenizer_config.json").write_text("{}")
    with pytest.raises(MatchError, match="does not cover the special tokens") as refused:
        vocabulary(llama, tokenizer=bare)
    assert any("bos_token_id is '<|end|>'" in problem for problem in refused.value.problems)
    made = vocabulary(llama, tokenizer=bare, special={"eos": "</s>", "bos": "<s>"})
    assert made.config["eos_token_id"] in (1, 2)


def test_tables_that_are_not_finite_are_named_with_how_many_numbers_they_are(llama, kept, tmp_path):
    from safetensors.torch import save_file

    shutil.copytree(llama, tmp_path / "m")
    held = scionwood.open(llama).state_dict()
    held["model.embed_tokens.weight"][7, 3:5] = float("nan")
    held["lm_head.weight"][620] = float("inf")  # a row that no token has
    save_file(held, tmp_path / "m" / "model.safetensors", metadata={"format": "pt"})
    for method in ("mean", "overlap_copy"):
        with pytest.raises(SourceError, match="hold NaN or infinity") as refused:
            vocabulary(tmp_path / "m", tokenizer=kept(byte_level, CODE, 700), method=method)
        assert refused.value.problems == ("model.embed_tokens.weight: 2 of 14,400",)


def test_a_model_without_a_tokenizer_or_with_too_few_rows(llama, kept, tmp_path):
    folder = tmp_path / "m"
    shutil.copytree(llama, folder)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(MatchError, match="has no tokenizer beside its weights"):
        vocabulary(folder, tokenizer=kept(byte_level, CODE, 700))
    shutil.copy(kept(byte_level, CODE, 700) / "tokenizer.json", folder)
    with pytest.raises(MatchError, match="60 tokens for which its table of 640 rows has none"):
        vocabulary(folder, tokenizer=kept(byte_level, PROSE, 600))


def test_a_model_without_a_vocabulary(kept, tmp_path):
    import transformers

    config = transformers.ViTConfig(
        hidden_size=24, num_hidden_layers=1, num_attention_heads=4, intermediate_size=32, image_size=16, patch_size=8
    )
    transformers.ViTForImageClassification(config).save_pretrained(tmp_path)
    with pytest.raises(MatchError, match="no tensor has an axis of tokens"):
        vocabulary(tmp_path, tokenizer=kept(byte_level, CODE, 700))


def test_the_command_line_refuses_in_one_sentence(llama, kept, tmp_path, capsys):
    from scionwood.cli import run

    command = ["vocabulary", str(llama), "--tokenizer", str(kept(byte_level, CODE, 700))]
    assert run([*command, "--method", "tokalign", "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert "--text FILE" in error
    assert not (tmp_path / "out").exists()
    assert run(command) == 2
    assert "--out says where to write" in capsys.readouterr().err
