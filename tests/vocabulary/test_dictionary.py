"""Dictionaries: pairs of words in a file, and the rotation that WECHSEL makes of them."""

import numpy as np
import pytest
import torch
from tests.vocabulary.conftest import CODE, PROSE, byte_level, model_of

import scionwood
from scionwood.cli import run
from scionwood.errors import MethodError, SourceError
from scionwood.verbs.vocabulary.dictionary import read_dictionary, vectors_of_pairs
from scionwood.verbs.vocabulary.vectors import Vectors, read_vectors
from scionwood.verbs.vocabulary.vocabulary import setting_of

WORDS = ["the", "return", "of", "value", "name", "class", "None", "self"]


@pytest.fixture
def read(tmp_path):
    def reading(some):
        (tmp_path / "pairs").write_bytes(some)
        return read_dictionary(tmp_path / "pairs")

    return reading


@pytest.mark.parametrize(
    "some",
    [b"house Haus\nof von\n", b"house\tHaus\r\nof\tvon", b"\xef\xbb\xbfhouse  Haus\n\n of\tvon \n"],
    ids=["spaces", "tabs", "mark-and-empty-line"],
)
def test_a_line_is_a_pair(read, some):
    assert read(some) == [("house", "Haus"), ("of", "von")]


def test_with_tabs_a_word_may_be_several(read):
    assert read(b"of course\tja doch\n") == [("of course", "ja doch")]


@pytest.mark.parametrize(
    ("some", "message"),
    [
        (b"a b\nc\nd e f\n", "(?s)is no dictionary.*line 2: 'c'.*line 3: 'd e f'"),
        (b"a\n" * 9, "(?s)line 5: 'a'.*and 4 more"),
        (b"a\t\n", "line 1: 'a'"),
        (b" \n", "holds no pairs of words"),
        (b"a \xff\n", "is no UTF-8 text: byte 2"),
    ],
)
def test_what_is_no_dictionary_is_told(read, some, message):
    with pytest.raises(SourceError, match=message):
        read(some)


def test_a_dictionary_that_is_not_there(tmp_path):
    with pytest.raises(SourceError, match=r"none cannot be read: No such file"):
        read_dictionary(tmp_path / "none")


def test_words_are_looked_for_in_every_case_and_each_pair_counts_once():
    first = Vectors({"house": 0, "House": 1, "of": 2}, torch.arange(3.0)[:, None])
    second = Vectors({"Haus": 0, "von": 1}, torch.arange(10.0, 12)[:, None])
    source, target = vectors_of_pairs(
        [("house", "haus"), ("HOUSE", "Haus"), ("of", "aus"), ("of", "von")], first, second
    )
    assert source.flatten().tolist() == [0, 1, 2]
    assert target.flatten().tolist() == [10, 10, 11]
    with pytest.raises(MethodError, match="Of none of the 1 pairs of the dictionary both words have vectors"):
        vectors_of_pairs([("house", "von aus")], first, second)


@pytest.fixture
def given(kept, tmp_path):
    """A model, a tokenizer, and two spaces: of words, and of the same with a low line behind them, turned."""
    folder = model_of("Llama", tmp_path / "m", kept(byte_level, PROSE, 600), 600)
    rows = np.random.default_rng(0).standard_normal((len(WORDS), 4))
    turn = np.linalg.qr(np.random.default_rng(1).standard_normal((4, 4)))[0]
    for name, some, end in (("old", rows, ""), ("new", rows @ turn, "_")):
        lines = (f"{word}{end} {' '.join(map(str, row))}" for word, row in zip(WORDS, some.tolist()))
        (tmp_path / name).write_text("\n".join(lines))
    (tmp_path / "pairs").write_text("".join(f"{word}\t{word}_\n" for word in WORDS))
    return folder, kept(byte_level, CODE, 700)


def test_pairs_turn_the_source_to_the_target(given, tmp_path):
    folder, new = given
    files = {"vectors": [tmp_path / "old", tmp_path / "new"], "dictionary": tmp_path / "pairs"}
    source, target = setting_of(folder, new, **files).inputs.dictionary
    assert torch.equal(source, read_vectors(tmp_path / "old").matrix)
    assert torch.equal(target, read_vectors(tmp_path / "new").matrix)
    with pytest.raises(MethodError, match=r"no word in common(?s:.*)--dictionary FILE"):
        scionwood.vocabulary(folder, tokenizer=new, method="wechsel", vectors=files["vectors"])
    with pytest.raises(MethodError, match="turns the space of one file of vectors into that of another; 1 are given"):
        scionwood.vocabulary(folder, tokenizer=new, **files | {"vectors": [tmp_path / "old"]})


def test_a_dictionary_is_a_parent_and_known_again(given, tmp_path, capsys):
    folder, new = given
    command = ["vocabulary", str(folder), "--tokenizer", str(new), "--method", "wechsel"]
    command += ["--vectors", str(tmp_path / "old"), "--vectors", str(tmp_path / "new")]
    assert run([*command, "--dictionary", str(tmp_path / "pairs"), "--out", str(tmp_path / "out")]) == 0
    assert run(["reproduce", str(tmp_path / "out")]) == 0
    assert "identical" in capsys.readouterr().out
    (tmp_path / "pairs").write_text("the\tof_\nreturn\tname_\n")
    assert run(["reproduce", str(tmp_path / "out")]) == 2
    assert "pairs has changed" in capsys.readouterr().err
