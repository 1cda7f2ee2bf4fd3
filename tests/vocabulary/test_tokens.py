"""Tokenizers of every way of writing, by hand: which tokens are one text, and what a token is cut into."""

import json

import pytest
import torch
from tests.vocabulary.conftest import CODE, byte_level, text
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from scionwood.errors import SourceError
from scionwood.verbs.vocabulary.inputs import Inputs
from scionwood.verbs.vocabulary.overlap import overlap_of, pieces_of
from scionwood.verbs.vocabulary.tokens import read_tokens
from scionwood.verbs.vocabulary.vectors import read_vectors

LETTERS = "abcdefghijklmnopqrstuvwxyz"
WORDS = ["self", "return", "name", "the"]


def numbered(*tokens):
    return {token: number for number, token in enumerate(dict.fromkeys(tokens))}


def byte_fallback():
    """As Llama's: the bytes stand before the letters, and a space is put before the text."""
    single = [f"<0x{byte:02X}>" for byte in range(256)]
    vocab = numbered("<unk>", "<s>", "</s>", *single, "▁", *LETTERS, "th", "the", "▁the")
    merges = [("t", "h"), ("th", "e"), ("▁", "the")]
    made = Tokenizer(models.BPE(vocab=vocab, merges=merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    made.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    return made


def low_lines(cutting=None, normalizer=None):
    """As T5's and XLM-R's: words without spaces, each of which then gets one."""
    pieces = ["▁", *LETTERS, ":", *("▁" + word for word in WORDS), "ame", "elf"]
    made = Tokenizer(models.Unigram([("<unk>", 0.0), *((piece, -2.0 - len(piece) / 9) for piece in pieces)], 0))
    split = [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]
    made.pre_tokenizer = cutting or pre_tokenizers.Sequence(split)
    made.decoder = decoders.Metaspace()
    if normalizer is not None:
        made.normalizer = normalizer
    return made


def pieces_that_go_on():
    """As BERT's."""
    alone = "!#():,中国"
    going_on = [f"##{letter}" for letter in LETTERS + alone]
    vocab = numbered("[PAD]", "[UNK]", *going_on, *LETTERS, *alone, *WORDS, "##elf", "##ame")
    made = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))
    made.normalizer, made.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    return made


def ends_of_words():
    """As XLM's: what ends a word says so."""
    ended = [f"{letter}</w>" for letter in LETTERS + "!,"]
    vocab = numbered("<unk>", *LETTERS, "!", ",", *ended, "se", "lf</w>", "self</w>", "el", "elf</w>")
    merges = [("s", "e"), ("l", "f</w>"), ("se", "lf</w>"), ("e", "l"), ("el", "f</w>")]
    made = Tokenizer(models.BPE(vocab=vocab, merges=merges, unk_token="<unk>", end_of_word_suffix="</w>"))
    made.pre_tokenizer, made.decoder = pre_tokenizers.BertPreTokenizer(), decoders.BPEDecoder()
    return made


def ends_of_bytes():
    """As CLIP's: the same, of bytes."""
    split = pre_tokenizers.Split(Regex(r"\w+|[^\s\w]+"), behavior="removed", invert=True)
    made = ends_of_words()
    made.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    made.decoder = decoders.ByteLevel()
    return made


def whole_words():
    made = Tokenizer(models.WordLevel(numbered("[UNK]", *WORDS, "(", ")"), unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    return made


def bytes_of(*tokens):
    vocab = numbered("<|end|>", *sorted(pre_tokenizers.ByteLevel.alphabet()), *tokens)
    made = Tokenizer(models.BPE(vocab=vocab, merges=[], ignore_merges=True))
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    return made


EVERY = [byte_fallback, low_lines, pieces_that_go_on, ends_of_words, ends_of_bytes, whole_words, bytes_of]


@pytest.fixture
def read(tmp_path):
    """Tokens of a tokenizer, read from a folder."""

    def reading(made, **named):
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        made.save(str(folder / "tokenizer.json"))
        (folder / "tokenizer_config.json").write_text(json.dumps({f"{key}_token": named[key] for key in named}))
        return read_tokens(folder)

    return reading


def matched(source, target, **options):
    """Target token → the source token of its row."""
    spelled = {number: token for token, number in source.vocabulary.ids.items()}
    overlap = overlap_of(source, target, **options).tolist()
    return {token: spelled.get(overlap[number]) for token, number in target.vocabulary.ids.items()}


def cut(source, target):
    """Target token → the source's tokens of its text."""
    spelled = {number: token for token, number in source.vocabulary.ids.items()}
    pieces = pieces_of(source, target)
    return {token: [spelled[piece] for piece in pieces[n].tolist()] for token, n in target.vocabulary.ids.items()}


@pytest.fixture
def edited(read):
    """The same, of a tokenizer.json that was changed."""

    def reading(made, change):
        folder = read(made).files["tokenizer.json"].parent
        spec = json.loads((folder / "tokenizer.json").read_text())
        change(spec)
        (folder / "tokenizer.json").write_text(json.dumps(spec))
        return read_tokens(folder)

    return reading


@pytest.mark.parametrize("made", EVERY)
def test_a_file_of_the_first_kind_does_not_say_what_its_model_is(read, edited, made):
    first = edited(made(), lambda spec: spec["model"].pop("type"))
    assert first.vocabulary.kind == read(made()).vocabulary.kind
    assert first.spelled == read(made()).spelled


@pytest.mark.parametrize(
    "part",
    [{"normalizer": {"x": 1}}, {"normalizer": "x"}, {"pre_tokenizer": {"type": "Sequence"}}, {"pre_tokenizer": [1]}],
)
def test_parts_that_are_none_are_refused(edited, part):
    tokens = edited(whole_words(), lambda spec: spec.update(part))
    with pytest.raises(SourceError, match="normalizer or its pre_tokenizer is not one"):
        overlap_of(tokens, tokens)


# Which tokens are one text.


@pytest.mark.parametrize("made", EVERY)
def test_a_tokenizer_beside_itself_is_the_same_everywhere(read, made):
    tokens = read(made())
    assert torch.equal(overlap_of(tokens, tokens), torch.arange(tokens.size))


def test_a_letter_has_the_row_of_the_letter_and_not_of_its_byte(read):
    source, target = read(byte_fallback(), unk="<unk>"), read(bytes_of("Ġthe"))
    found = matched(source, target)
    assert (found["a"], found["Ġ"], found["Ġthe"]) == ("a", "▁", "▁the")
    assert found["Ċ"] == "<0x0A>"


def test_of_two_tokens_of_one_text_that_is_meant_which_the_tokenizer_writes(read):
    found = matched(read(pieces_that_go_on()), read(bytes_of()))
    assert (found["!"], found["#"], found["a"]) == ("!", "#", "##a")


@pytest.mark.parametrize(
    ("purposes", "expected"),
    [
        ({"bos": "<|end|>", "eos": "<|end|>", "unk": "<|end|>"}, "</s>"),
        ({"eos": "<|end|>", "pad": "<|end|>"}, "</s>"),
        ({"bos": "<|end|>", "pad": "<|end|>"}, "<s>"),
        ({"sep": "<|end|>", "pad": "<|end|>"}, "</s>"),
        ({"unk": "<|end|>", "pad": "<|end|>"}, "<unk>"),
        ({"pad": "<|end|>"}, "<pad>"),
    ],
)
def test_a_token_of_several_purposes_goes_by_the_weightiest(read, purposes, expected):
    source = byte_fallback()
    source.add_special_tokens(["<pad>"])
    told = read(source, bos="<s>", eos="</s>", unk="<unk>", pad="<pad>")
    assert matched(told, read(bytes_of(), **purposes))["<|end|>"] == expected


def test_a_special_token_that_is_called_the_same_is_the_same(read):
    source, target = byte_fallback(), bytes_of()
    source.add_special_tokens(["<s>", "</s>", "<pad>"])
    target.add_special_tokens(["<s>", "</s>"])
    told = read(source, bos="<s>", eos="</s>", unk="<unk>", pad="<pad>")
    found = matched(told, read(target, bos="</s>", pad="</s>", eos="<s>"))
    assert (found["<s>"], found["</s>"]) == ("<s>", "</s>")


def test_whole_words_have_a_space_before_them_where_the_other_has_such_a_token(read):
    found = matched(read(bytes_of("Ġself", "self", "name", "Ġ(")), read(whole_words()))
    assert (found["self"], found["name"], found["the"]) == ("Ġself", "name", None)
    assert (found["("], found[")"]) == ("(", ")")
    back = matched(read(whole_words()), read(bytes_of("Ġself", "self", "Ġ(")))
    assert (back["Ġself"], back["self"], back["Ġ("], back["("]) == ("self", "self", "(", "(")


@pytest.mark.parametrize("spaced", [True, False])
def test_letters_that_are_words_by_themselves_may_have_a_space_or_not(read, spaced):
    spelled = ("Ġ" if spaced else "") + "ä¸Ń"  # 中
    other = read(bytes_of("ä¸Ń", spelled))
    assert matched(other, read(pieces_that_go_on()))["中"] == spelled
    assert matched(read(pieces_that_go_on()), other)[spelled] == "中"


@pytest.mark.parametrize("made", [ends_of_words, ends_of_bytes])
def test_what_ends_a_word_is_a_word_or_the_end_of_one(read, made):
    other, own = read(bytes_of("Ġself", "elf", "Ġse", "Ġel", "se")), read(made())
    found = matched(other, own)
    assert (found["self</w>"], found["elf</w>"], found["!</w>"]) == ("Ġself", "elf", "!")
    assert (found["se"], found["el"]) == ("se", "Ġel")
    back = matched(own, other)
    assert (back["Ġself"], back["elf"], back["Ġse"]) == ("self</w>", "elf</w>", "se")
    assert cut(own, read(bytes_of("Ġselfself", "self,")))["self,"] == ["self</w>", ",</w>"]
    assert cut(read(bytes_of("Ġself")), own)["self</w>"] == ["Ġself"]


# What a token is cut into.


@pytest.mark.parametrize(
    ("cutting", "normalizer"),
    [
        (None, None),
        (pre_tokenizers.Metaspace(), normalizers.Sequence([normalizers.Strip(), normalizers.NFKC()])),
        (pre_tokenizers.Metaspace(), normalizers.Strip()),
    ],
    ids=["split at spaces", "stripped", "stripped alone"],
)
def test_a_space_before_a_word_stays(read, cutting, normalizer):
    found = cut(read(low_lines(cutting, normalizer)), read(bytes_of("Ġname", "name", "Ġnames", "Ġnameself")))
    assert found["Ġname"] == ["▁name"]
    assert found["name"] == ["n", "ame"]
    assert found["Ġnames"] == ["▁name", "s"]


def test_spaces_that_are_dropped_are_no_pieces(read):
    found = cut(read(low_lines()), read(bytes_of("ĠĠname", "Ċ", "name:Ċ")))
    assert found["ĠĠname"] == ["▁name"]
    assert found["Ċ"] == []
    assert found["name:Ċ"] == ["n", "ame", ":"]


def test_a_word_goes_on_where_no_space_parts_it_and_signs_are_words(read):
    source = read(pieces_that_go_on())
    found = cut(source, read(bytes_of("):", "self", "Ġself", "elf):self", "ame,Ġself", "ä¸ŃåĽ½", "Ġ(self")))
    assert found["):"] == [")", ":"]
    assert found["self"] == ["##s", "##elf"]
    assert found["Ġself"] == ["self"]
    assert found["elf):self"] == ["##elf", ")", ":", "self"]
    assert found["ame,Ġself"] == ["##ame", ",", "self"]
    assert found["ä¸ŃåĽ½"] == ["中", "国"]
    assert found["Ġ(self"] == ["(", "self"]


def test_a_text_that_looks_like_a_special_token_is_text(read):
    source = byte_fallback()
    source.add_special_tokens(["self"])
    assert cut(read(source, pad="self"), read(bytes_of("self")))["self"] == list("self")


def test_all_of_a_text_is_cut_whatever_length_the_file_says(read, kept):
    plain = read_tokens(kept(byte_level, CODE, 700))
    made = Tokenizer.from_file(str(plain.files["tokenizer.json"]))
    made.enable_truncation(16)
    made.enable_padding(length=16)
    made.post_processor = processors.ByteLevel()
    short = read(made)
    for some in ("a", text(CODE)[:2000]):
        assert short.ids(some) == plain.ids(some)
    assert [len(ids) for ids in short.cut(["a", "a b " * 40])] == [len(ids) for ids in plain.cut(["a", "a b " * 40])]


# The words that hold a token.


@pytest.fixture
def held(read, tmp_path):
    """Source token → the words of a file of vectors that hold it."""

    def holding(made, *words, **named):
        (tmp_path / "v.txt").write_text("".join(f"{word} {place} 1\n" for place, word in enumerate(words)))
        source = read(made, **named)
        inputs = Inputs(source, source, vectors=[read_vectors(tmp_path / "v.txt")])
        found = inputs._words_of(source, inputs.words)
        return {token: [words[word] for word in found[n].tolist()] for token, n in source.vocabulary.ids.items()}

    return holding


def test_a_capital_letter_and_a_space_before_it_leave_a_word_the_word(held):
    found = held(bytes_of("none", "None", "ĠNone", "Self"), "none", "error", "self", "NASA")
    assert found["none"] == found["None"] == found["ĠNone"] == ["none"]
    assert (found["Self"], found["E"], found["A"]) == (["self"], ["error"], ["NASA"])


def test_words_that_cannot_be_spelled_are_no_words_of_special_tokens(held):
    found = held(pieces_that_go_on(), "self", "ж", "[UNK]")
    assert (found["self"], found["[UNK]"]) == (["self"], [])
    assert not any(held(low_lines(), "selfж", "ж")["<unk>"])
    assert held(byte_fallback(), "</s>", "the", eos="</s>")["</s>"] == []
