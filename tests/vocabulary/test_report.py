"""The report measures what would be made: of every family, with the options and the padding that are asked for."""

import json

import pytest
from tests.vocabulary.made import DOCSTRINGS, saved, tokenizer

from scionwood.cli import run
from scionwood.errors import MethodError
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
        source = tmp_path / "source"
        if not source.exists():
            saved(source, family, tokenizer(kind))
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


def test_options_and_padding_are_those_of_the_model_that_would_be_made(setting):
    new = tokenizer("unigram", "docstrings", 350)
    bits = [
        report(setting("llama", "unigram", new, **more), ["univariate", "mean"], options=options).lines
        for more, options in (({}, {}), ({}, {"scale": "0"}), ({"pad_to_multiple_of": 64}, {}))
    ]
    plain, without_deviation, padded = ({line.method: line.bits for line in lines} for lines in bits)
    assert plain["mean"] == without_deviation["mean"]  # it has no such option
    assert without_deviation["univariate"] == pytest.approx(plain["mean"], rel=1e-3)
    assert without_deviation["univariate"] != plain["univariate"]
    assert padded["mean"] > plain["mean"]  # there are more rows to choose from


def test_what_no_method_has_is_refused_before_any_runs(setting):
    held = setting("llama", "unigram", tokenizer("unigram", "docstrings", 350), inputs={"anchor": None})
    ran: list[str] = []
    progress = lambda name, *_: ran.append(name)  # noqa: E731
    cases = [
        (["mean", "bogus", "focuss"], {}, "A report is of methods", ("bogus", "did you mean 'focus'")),
        (["mean", "focus"], {}, "mean, focus cannot be given these inputs", ("'anchor' (did you mean 'anchors'?)",)),
    ]
    for methods, options, message, problems in cases:
        with pytest.raises(MethodError, match=message) as refused:
            report(held, methods, options=options, progress=progress)
        assert all(part in each for part, each in zip(problems, refused.value.problems, strict=True))
    held.inputs.given.clear()
    with pytest.raises(MethodError, match="options given to the report do not fit") as refused:
        report(held, ["mean", "univariate"], options={"scal": "1", "scale": "x"}, progress=progress)
    assert [problem[:48] for problem in refused.value.problems] == [
        "no method of the report has an option 'scal' (di",
        "univariate: option 'scale' must be a finite numb",
    ]
    assert not ran


def test_the_command_line_hands_options_and_padding_on_and_refuses_a_place_to_write(tmp_path, prose, capsys):
    source = saved(tmp_path / "source", "llama", tokenizer("unigram"))
    tokenizer("unigram", "docstrings", 350).save_pretrained(tmp_path / "new")
    command = ["vocabulary", str(source), "--tokenizer", str(tmp_path / "new"), "--report", str(prose), "--json"]
    command += ["--method", "univariate"]
    capsys.readouterr()
    bits = []
    for more in ([], ["--option", "scale=0"], ["--pad-to-multiple-of", "64"]):
        assert run([*command, *more]) == 0
        bits.append(json.loads(capsys.readouterr().out)["lines"][0]["bits"])
    assert len(set(bits)) == 3
    assert run([*command, "--option", "nosuch=1"]) == 2
    assert "no method of the report has an option 'nosuch'" in capsys.readouterr().err
    assert run([*command, "--out", str(tmp_path / "out")]) == 2
    assert "--report prints and writes nothing" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
