"""The pages that docs/generate.py makes say what the code says."""

import importlib.util
import json
from pathlib import Path

import pytest

from scionwood.methods import registry
from scionwood.methods.record import Record

SOURCE = Path(__file__).parents[2] / "docs" / "generate.py"


@pytest.fixture(scope="module")
def generate():
    spec = importlib.util.spec_from_file_location("docs_generate", SOURCE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_method_has_its_section_and_every_option_its_row(generate):
    for family in registry.families():
        page = generate.catalogue(family)
        for entry in registry.listing(family):
            assert f"\n## {entry.name}\n" in page
            assert entry.summary in page
            for option in Record.of(registry.load(entry.name)).options:
                assert f"| `{option.name}` | " in page


def test_merges_say_how_they_agree_with_mergekit(generate):
    from scionwood.recipe.mergekit.methods import METHODS

    page = generate.catalogue("merge")
    for method in {each.method for each in METHODS.values()} - {"passthrough"}:
        section = page.partition(f"\n## merge.{method}\n")[2].partition("\n## ")[0]
        assert "Measured beside mergekit" in section, method
    row = next(line for line in (SOURCE.parent / "parity.md").read_text().splitlines() if line.startswith("| TIES |"))
    assert row.split(" | ")[4] in page.partition("\n## merge.ties\n")[2].partition("\n## ")[0]


def test_every_file_of_training_parts_and_measures_has_its_section(generate):
    for room in generate.ROOMS:
        page, index = generate.parts(room), generate.catalogue_index()
        for path in (SOURCE.parents[1] / "src" / "scionwood" / room).rglob("[!_]*.py"):
            assert f".{path.stem}\n" in page
            assert f".{path.stem}`]" in index


def test_every_command_has_its_section(generate):
    from scionwood.cli import command_names

    page = generate.command_line()
    for name in command_names():
        assert f"\n## scionwood {name}\n" in page


def test_the_table_of_architectures_has_a_row_for_each(generate, tmp_path):
    source = tmp_path / "architectures.json"
    source.write_text(json.dumps({"Llama": {"parameters": 12345, "symmetric": True}, "GPT-2": {"coarse": 0.0}}))
    page = generate.architectures(source)
    assert "| family | parameters | symmetric | coarse |" in page
    assert "| Llama | 12,345 | yes |  |" in page
    assert "| GPT-2 |  |  | 0 |" in page


def test_without_measurements_the_page_says_so(generate, tmp_path):
    assert "this build had none" in generate.architectures(tmp_path / "missing.json")


def test_pages_are_written_once_and_stale_ones_removed(generate, tmp_path):
    generate.main(tmp_path)
    index = tmp_path / "catalogue" / "index.md"
    written = index.stat().st_mtime_ns
    stale = tmp_path / "catalogue" / "gone.md"
    stale.touch()
    generate.main(tmp_path)
    assert index.stat().st_mtime_ns == written
    assert not stale.exists()
