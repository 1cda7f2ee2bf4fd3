import ast
import subprocess
import sys
import time
from importlib.metadata import EntryPoint

import pytest

from scionwood.errors import MethodError
from scionwood.methods import registry
from scionwood.methods.record import Record

SELECTIONS = [
    "activation", "bignas", "consecutive", "llminit", "magnitude", "random", "random_inconsistent", "subcloning",
    "uniform", "whole_heads", "within_heads",
]  # fmt: skip


@pytest.fixture
def afresh():
    """Let the registry read again, before and after."""
    registry._entries.cache_clear()
    yield
    registry._entries.cache_clear()


@pytest.fixture
def plugins(afresh, monkeypatch, tmp_path):
    """Register entry points, each (name, value, source of its module)."""

    class Distribution:
        name = "grafting"

    def register(*points):
        found = []
        for name, value, source in points:
            (tmp_path / f"{value.partition(':')[0]}.py").write_text(source)
            point = EntryPoint(name, value, registry.GROUP)
            point.__dict__["dist"] = Distribution
            found.append(point)
        monkeypatch.setattr(registry, "entry_points", lambda *, group: found if group == registry.GROUP else [])
        registry._entries.cache_clear()

    monkeypatch.syspath_prepend(str(tmp_path))
    return register


def test_the_folder_is_the_registry():
    assert [entry.name for entry in registry.listing("select")] == [f"select.{name}" for name in SELECTIONS]


def test_files_without_a_method_are_not_listed():
    files = {path.stem for path in (registry.ROOT / "select").glob("*.py")}
    assert files - set(SELECTIONS) == {"__init__", "choice", "depth", "ranking", "spacing"}


@pytest.mark.parametrize("entry", registry.listing(), ids=lambda entry: entry.name)
def test_every_entry_is_what_its_record_says(entry):
    record = Record.of(registry.load(entry.name))
    assert record.name == entry.name
    assert record.paper == entry.paper
    assert entry.summary.endswith((".", ")."))
    assert len(entry.summary) <= 120
    if entry.paper:
        assert f"arXiv:{entry.paper}" in entry.summary


def test_listing_needs_no_torch():
    code = "import sys; from scionwood.methods.registry import listing; listing(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_listing_200_files_is_quick(afresh, monkeypatch, tmp_path):
    (tmp_path / "select").mkdir()
    for number in range(200):
        name = SELECTIONS[number % len(SELECTIONS)]
        text = (registry.ROOT / "select" / f"{name}.py").read_text()
        (tmp_path / "select" / f"m{number}.py").write_text(text.replace(f"def {name}(", f"def m{number}("))
    monkeypatch.setattr(registry, "ROOT", tmp_path)
    listing, parsing = [], []
    for _ in range(5):
        registry._entries.cache_clear()
        start = time.process_time()
        assert len([entry for entry in registry.listing() if entry.distribution == "scionwood"]) == 200
        listing.append(time.process_time() - start)
        start = time.process_time()
        for path in (tmp_path / "select").glob("*.py"):
            ast.parse(path.read_text())
        parsing.append(time.process_time() - start)
    assert min(listing) < min(parsing)  # 25 and 60 ms; whatever is imported on the way takes longer


def test_a_file_is_listed_for_the_method_of_its_own_name(afresh, monkeypatch, tmp_path):
    (tmp_path / "merge").mkdir()
    sources = {
        "late": '"""Late."""\n\ndef small_maths(x): ...\n\n@method(paper="2601.1")\ndef late(deltas): ...\n\ndef after(: no',
        "plain": '"""No decorator."""\n\ndef plain(deltas): ...\n',
        "other": '"""Another name."""\n\n@method()\ndef another(deltas): ...\n',
        "foreign": '"""Another decorator."""\n\n@cache(paper="2601.1")\ndef foreign(deltas): ...\n',
    }
    for name, source in sources.items():
        (tmp_path / "merge" / f"{name}.py").write_text(source)
    monkeypatch.setattr(registry, "ROOT", tmp_path)
    built_in = [entry for entry in registry.listing() if entry.distribution == "scionwood"]
    assert [(entry.name, entry.summary, entry.paper) for entry in built_in] == [("merge.late", "Late.", "2601.1")]
    assert built_in[0].location == "scionwood.methods.merge.late:late"


def test_load_by_full_name_or_within_a_family():
    function = registry.load("select.uniform")
    assert registry.load("uniform", family="select") is function
    assert registry.load("select.uniform", family="select") is function


def test_unknown_names_have_the_nearest_and_the_list():
    with pytest.raises(MethodError, match=r"Unknown method 'unifrom' .did you mean 'uniform'") as caught:
        registry.load("unifrom", family="select")
    assert caught.value.hint is not None
    assert "consecutive, llminit" in caught.value.hint
    with pytest.raises(MethodError, match=r"did you mean 'select.uniform'"):
        registry.load("select.unifrom")
    with pytest.raises(MethodError, match=r"Unknown family 'selct' .did you mean 'select'"):
        registry.listing("selct")
    with pytest.raises(MethodError, match=r"Unknown family 'x'"):
        registry.load("uniform", family="x")


PLUGIN = '''"""Take the last indices."""
from scionwood.methods.record import method

@method(family="select", unit="axis", paper="2601.00001")
def tail(source, target): ...
'''


def test_another_package_adds_a_method(plugins):
    plugins(("select.tail", "grafting_tail:tail", PLUGIN))
    entry = next(entry for entry in registry.listing("select") if entry.name == "select.tail")
    assert (entry.summary, entry.paper, entry.distribution) == ("Take the last indices.", "2601.00001", "grafting")
    assert "grafting_tail" not in sys.modules
    assert Record.of(registry.load("select.tail")).name == "select.tail"


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("select.other", "grafting_a:tail", "calls itself 'select.tail'"),
        ("select.gone", "grafting_b:gone", "of the package 'grafting' cannot be imported"),
        ("select.uniform", "grafting_c:tail", "Two packages register the method 'select.uniform'"),
        ("tail", "grafting_d:tail", "not named family.system"),
    ],
)
def test_a_plugin_that_breaks_its_word_is_named(plugins, name, value, words):
    plugins((name, value, PLUGIN))
    with pytest.raises(MethodError, match=words):
        registry.load(name)


def test_a_plugin_with_a_broken_file_is_listed_by_name_alone(plugins):
    plugins(("select.broken", "grafting_broken:broken", "\ndef broken(source, target): return (\ndef broken("))
    entry = next(entry for entry in registry.listing() if entry.name == "select.broken")
    assert entry.summary == ""
