"""The report measures what would be made: of every family, with the options and the padding that are asked for."""

import pytest
from tests.vocabulary.made import DOCSTRINGS, saved, tokenizer

from scionwood.verbs.vocabulary import report
from scionwood.verbs.vocabulary.vocabulary import setting_of


@pytest.fixture(scope="module")
def prose(tmp_path_factory):
    file = tmp_path_factory.mktemp("texts") / "prose.txt"
    file.write_text("\n\n".join(DOCSTRINGS)[:5_000])
    return file


@pytest.fixture
def setting(tmp_path, prose):
    """Makes a setting of a small model of a family, its own tokenizer, and the new one or the same again."""

    def make(family, kind, new=None, **arguments):
        source = saved(tmp_path / "source", family, tokenizer(kind))
        if new is not None:
            new.save_pretrained(tmp_path / "new")
        return setting_of(source, source if new is None else tmp_path / "new", text=[prose], **arguments)

    return make


@pytest.mark.parametrize(
    ("family", "kind"),
    [("bart", "unigram"), ("marian", "unigram"), ("m2m", "unigram"), ("roberta", "wordpiece")],
)
def test_families_are_measured_whose_biases_lie_flat_or_whose_positions_ask_for_padding(setting, family, kind):
    found = report(setting(family, kind), ["overlap_copy"])
    assert found.lines[0].bits == pytest.approx(found.before, rel=1e-6)  # the same tokenizer: the same model
