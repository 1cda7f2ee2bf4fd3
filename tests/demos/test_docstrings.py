"""The sentences of the standard library: one label each, no text twice, nothing leaks from train to test."""

from collections import Counter

import pytest

from scionwood.demos import docstrings
from scionwood.demos.docstrings import MODULES, sentences, split_of


@pytest.fixture(scope="module")
def found():
    return sentences()


def test_every_module_has_sentences_enough_in_every_split(found):
    count = Counter((sentence.label, split_of(sentence.function)) for sentence in found)
    for label in range(len(MODULES)):
        assert count[label, "train"] >= 20
        assert count[label, "test"] >= 10


def test_no_text_occurs_twice(found):
    texts = [sentence.text.lower() for sentence in found]
    assert len(texts) == len(set(texts))


def test_functions_of_one_name_go_together(found):
    names = {split: {s.function for s in found if split_of(s.function) == split} for split in ("train", "test")}
    assert names["train"]
    assert not names["train"] & names["test"]


def test_texts_of_two_modules_short_ones_and_tests_are_left_out(tmp_path):
    shared = 'def f():\n    """Shared by two modules here."""\n'
    (tmp_path / "asyncio" / "test").mkdir(parents=True)
    (tmp_path / "asyncio" / "test" / "a.py").write_text('def t():\n    """Only said in a test."""\n')
    (tmp_path / "asyncio" / "a.py").write_text(
        shared + 'class C:\n    """Loops over   events\n    once.\n\n    More."""\n'
    )
    (tmp_path / "_pydecimal.py").write_text(
        shared.upper().replace("DEF F", "def g") + 'def h():\n    """Too short."""\n'
    )
    assert sentences(tmp_path) == [docstrings.Sentence("Loops over events once.", 0, "C")]


def test_the_order_does_not_depend_on_the_files(tmp_path, found):
    assert [s.text for s in found] == sorted((s.text for s in found), key=docstrings._digest)
