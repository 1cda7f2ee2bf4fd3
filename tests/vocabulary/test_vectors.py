"""Files of word vectors: text, binary, fastText's model, compressed or not, and what is none of these."""

import gzip
import re
import struct

import numpy as np
import pytest
import torch
from tests.vocabulary.conftest import CODE, PROSE, byte_level, model_of
from tests.vocabulary.made import fasttext_model

from scionwood.errors import MethodError, SourceError
from scionwood.methods.record import Record
from scionwood.methods.vocabulary.ofa import ofa
from scionwood.methods.vocabulary.wechsel import wechsel
from scionwood.verbs.vocabulary.vectors import Ngrams, read_vectors
from scionwood.verbs.vocabulary.vocabulary import setting_of, vocabulary

WORDS = ["the", "größe", "日本", "</s>"]
ROWS = np.random.default_rng(0).standard_normal((4, 3)).astype("<f4")
BUCKETS = 50
GRAMS = np.random.default_rng(1).standard_normal((BUCKETS, 3)).astype("<f4")


def text(header=True):
    lines = [f"{len(WORDS)} 3"] if header else []
    return "\n".join([*lines, *(f"{w} {' '.join(map(str, r.tolist()))}" for w, r in zip(WORDS, ROWS))]).encode() + b"\n"


def binary(end=b"\n"):
    return b"4 3\n" + b"".join(w.encode() + b" " + row.tobytes() + end for w, row in zip(WORDS, ROWS))


def fasttext(**changes):
    sizes = {"dim": 3, "buckets": BUCKETS, "shortest": 2, "longest": 3, **changes}
    words = [word.encode() for word in WORDS]
    return fasttext_model(words, np.concatenate([ROWS, GRAMS[: sizes["buckets"]]]), **sizes)


@pytest.fixture
def read(tmp_path):
    """Reads bytes under a name that tells nothing."""

    def reading(some):
        (tmp_path / "vectors").write_bytes(some)
        return read_vectors(tmp_path / "vectors")

    return reading


def slow_vector(word):
    """As fastText's dictionary has it, letter by letter."""
    ids = [WORDS.index(word)] if word in WORDS else []
    around = f"<{word}>" if word != "</s>" else ""
    for start in range(len(around)):
        for stop in range(start + 2, min(start + 3, len(around)) + 1):
            hashed = 2166136261
            for byte in around[start:stop].encode():
                hashed = (hashed ^ (byte if byte < 128 else byte + 0xFFFFFF00)) * 16777619 % 2**32
            ids.append(len(WORDS) + hashed % BUCKETS)
    rows = np.concatenate([ROWS, GRAMS])[ids]
    return torch.from_numpy(rows.mean(0)) if ids else torch.zeros(3)


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize(
    "some", [text(), text(header=False), binary(), binary(b"")], ids=["text", "no-counts", "binary", "binary-unbroken"]
)
def test_words_and_numbers_are_those_of_the_file(read, some, packed):
    found = read(gzip.compress(some) if packed else some)
    assert list(found.words) == WORDS
    assert torch.equal(found.matrix, torch.from_numpy(ROWS))
    assert torch.equal(found.of(["日本", "unseen"]), torch.stack([torch.from_numpy(ROWS[2]), torch.zeros(3)]))


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_fasttext_gives_every_text_the_mean_of_its_rows(read, packed):
    found = read(gzip.compress(fasttext()) if packed else fasttext())
    asked = [*WORDS, "unseen", "größer", "日本語", "🙂", "a b", "a", ""]
    torch.testing.assert_close(found.of(asked), torch.stack([slow_vector(each) for each in asked]))
    assert torch.equal(found.matrix, found.of(WORDS))


def test_one_letter_counts_where_it_is_no_edge():
    owner, _ = Ngrams(1, 1, 100).of(["ab", "", "é"])
    assert owner.tolist() == [0, 0, 2]


def test_fasttext_without_ngrams_and_with_labels(read):
    found = read(fasttext(longest=0, shortest=0, buckets=0, labels=[b"__label__x"]))
    assert list(found.words) == WORDS
    assert torch.equal(found.matrix, torch.from_numpy(ROWS))
    old = read(fasttext(version=11, model=3))  # supervised models of that version had none, whatever they say
    assert torch.equal(old.matrix, torch.from_numpy(ROWS))


def test_a_word_that_stands_there_twice_has_its_first_vector(read):
    found = read(b"a 1 2\nb 3 4\na 5 6\n")
    assert found.words == {"a": 0, "b": 1}
    assert found.matrix.tolist() == [[1.0, 2.0], [3.0, 4.0]]
    twice = b"".join(w + b" " + struct.pack("<2f", *v) for w, v in ((b"a", (1, 2)), (b"b", (3, 4)), (b"a", (5, 6))))
    assert read(b"3 2\n" + twice).matrix.tolist() == [[1.0, 2.0], [3.0, 4.0]]


def test_words_of_several_words_are_read(read):
    """As GloVe's largest files have them; what stands between a word and so many numbers is no number."""
    for some in (b"the 1 2\n. . . 3 4\n5 5 6\n", b"3 2\nthe 1 2\n. . . 3 4\n5 5 6\n"):
        found = read(some)
        assert list(found.words) == ["the", ". . .", "5"]
        assert found.matrix.tolist() == [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]
    assert list(read(b". . . 3 4\nto a@b.c 1 2\n").words) == [". . .", "to a@b.c"]


@pytest.mark.parametrize(
    ("some", "message"),
    [
        (b"a 1 2\nb 3 nan\n", "line 2: nan is no finite number of 32 bits"),
        (b"a 1 2\nb 3 -1e39\n", "line 2: -1e\\+39 is no finite number"),
        (b"a 1 2\nb 3 inf\n", "line 2: inf is no finite number"),
        (b"1 2\na " + struct.pack("<2f", 1, float("nan")), "word 1 of 1: nan is no finite number"),
        (
            fasttext_model([b"a"], np.array([[1, 2], [3, np.inf]]), dim=2, buckets=1, shortest=2, longest=2),
            "row 2 of 2: inf is",
        ),
        (b"a 1 2\nb 3 4 5\n", "line 2: 3 numbers, 2 before"),
        (b"a 1 2\n\nb 3 4\n", "line 2: 0 numbers, 2 before"),
        (b"a b\n", "line 1: after the word stand other things than numbers"),
        (b"", "holds no vectors"),
        (b"a 1 2\nb 3\n", "line 2: 1 numbers, 2 before"),
        (b"a 1 2\nb 3 x\n", "line 2: after the word stand other things than numbers"),
        (b"2 2\na 1 2\nb 3 x\n", "line 3: after the word stand other things than numbers"),
        (b"a 1 2\n\xff 3 4\n", "line 2, is no UTF-8 text: byte 0"),
        (b"3 2\na 1 2\nb 3 4\n", "is cut short: it says 3 words, and holds 2"),
        (text()[:-30], "line 5: "),
        (binary()[:40], "is cut short: it says 4 words of 3 numbers"),
        (binary()[:-20], "ends within word 3 of 4"),
        (binary(b"")[:-1], "ends within word 4 of 4"),
        (binary() + b"more", "goes on after its 4 words"),
        (fasttext()[:30], "ends within its head"),
        (fasttext()[:100], "ends within word 1 of 4"),
        (fasttext()[:-400], "ends within its vectors"),
        (fasttext()[:-1], "ends within what it predicts with"),
        (fasttext(version=99), "fastText's version 99; 11 and 12 are known"),
        (fasttext(quantised=True), "is a quantised model of fastText"),
        (fasttext(longest=3, dim=4), "does not hold together|ends within"),
        (gzip.compress(text())[:-9], "is compressed by gzip, and damaged or cut short"),
        (gzip.compress(fasttext())[:-20], "is compressed by gzip, and damaged or cut short"),
    ],
)
def test_what_cannot_be_read_is_told(read, some, message):
    with pytest.raises(SourceError, match=message):
        read(some)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(SourceError, match=r"none\.vec cannot be read: No such file"):
        read_vectors(tmp_path / "none.vec")


def test_tokens_have_vectors_of_their_own_text_where_ngrams_are_known(kept, tmp_path):
    """WECHSEL of all of them; the others of those that no word of the file holds."""
    folder = model_of("Llama", tmp_path / "m", kept(byte_level, PROSE, 600), 600)
    (tmp_path / "v.bin").write_bytes(fasttext())
    (tmp_path / "v.txt").write_bytes(text())
    by_grams = setting_of(folder, kept(byte_level, CODE, 700), vectors=[tmp_path / "v.bin"]).inputs
    by_words = setting_of(folder, kept(byte_level, CODE, 700), vectors=[tmp_path / "v.txt"]).inputs
    tokens = by_grams.target
    the = tokens.vocabulary.ids["Ġthe"]
    unknown = next(n for n, text in tokens.texts.items() if len(text) > 5 and text not in WORDS)
    for method in (wechsel, ofa):
        made = by_grams.target_vectors(Record.of(method))
        torch.testing.assert_close(made[unknown], slow_vector(tokens.texts[unknown]))
        torch.testing.assert_close(made[the], slow_vector("the"))
        assert not bool(by_words.target_vectors(Record.of(method))[unknown].any())
        assert not bool(made[sorted(tokens.special_ids)].any())


def vectors_of(file, words, *, dim=8, seed=0):
    rows = np.random.default_rng(seed).standard_normal((len(words), dim)).tolist()
    file.write_text("\n".join(f"{word} {' '.join(map(str, row))}" for word, row in zip(words, rows)) + "\n")
    return file


PAIR = ["the", "return", "of", "value", "name", "class", "None", "self"]


@pytest.fixture
def made_with(kept, tmp_path):
    """The embedding by a method, with files of vectors."""
    folder = model_of("Llama", tmp_path / "m", kept(byte_level, PROSE, 600), 600)

    def make(method, *files, **options):
        new = kept(byte_level, CODE, 700)
        return vocabulary(folder, tokenizer=new, method=method, vectors=files, options=options)[
            "model.embed_tokens.weight"
        ]

    return make


def test_hyperofa_reads_the_targets_words_in_the_second_file(made_with, tmp_path):
    first, second, other = (vectors_of(tmp_path / f"{n}", PAIR, seed=n) for n in range(3))
    learn = {"hidden": 8, "epochs": 1}
    alone, twice, apart, elsewhere = (
        made_with("hyperofa", *files, **learn) for files in ([first], [first, first], [first, second], [first, other])
    )
    assert torch.equal(alone, twice)
    assert not torch.equal(alone, apart)
    assert not torch.equal(apart, elsewhere)


@pytest.mark.parametrize("method", ["wechsel", "ofa", "hyperofa"])
def test_two_files_of_other_widths_are_refused(made_with, tmp_path, method):
    wide, narrow = vectors_of(tmp_path / "wide", PAIR), vectors_of(tmp_path / "narrow", PAIR, dim=3)
    with pytest.raises(MethodError, match="The source's vectors have 8 dimensions, the target's 3"):
        made_with(method, wide, narrow)


@pytest.mark.parametrize("named", ["text", "trained", "fasttext"])
def test_wechsel_weighs_words_by_their_frequency_and_the_others_do_not(kept, texts, tmp_path, named):
    """By their order in a file, by their counts in the text they were trained on, or by those of a model of fastText."""
    folder = model_of("Llama", tmp_path / "m", kept(byte_level, PROSE, 600), 600)
    listed = ["zyx", "the", "xyz", "yzx"]  # cut into letters, which they share
    vectors_of(tmp_path / "text", listed)
    rows = np.random.default_rng(3).standard_normal((4, 8)).astype("<f4")
    counts = [5, 1, 100, 7]
    sizes = {"dim": 8, "buckets": 0, "shortest": 0, "longest": 0, "counts": counts}
    (tmp_path / "fasttext").write_bytes(fasttext_model([word.encode() for word in listed], rows, **sizes))
    given = {"text": [texts / "code.txt"]} if named == "trained" else {"vectors": [tmp_path / named]}
    inputs = setting_of(folder, kept(byte_level, CODE, 700), **given).inputs
    space = inputs.words
    if named == "text":
        weights = [1 / place for place in range(1, 5)]
    elif named == "fasttext":
        weights = counts
    else:
        found = re.findall(r"\w+|[^\w\s]", (texts / "code.txt").read_text())
        weights = [found.count(word) for word in space.words]
    words = inputs._words_of(inputs.target, space)
    several = next(token for token, some in enumerate(words) if len({weights[word] for word in some.tolist()}) > 1)
    own = torch.tensor([float(weights[word]) for word in words[several].tolist()])
    expected = (own[:, None] * space.matrix[words[several]]).sum(0) / own.sum()
    torch.testing.assert_close(inputs.target_vectors(Record.of(wechsel))[several], expected)
    torch.testing.assert_close(inputs.target_vectors(Record.of(ofa))[several], space.matrix[words[several]].mean(0))


def test_words_in_the_order_of_the_alphabet_count_alike(read):
    assert read(b"a 1\nb 2\nc 3\n").frequencies.tolist() == [1, 1, 1]
    assert read(b"c 1\na 2\n").frequencies.tolist() == [1, 0.5]
