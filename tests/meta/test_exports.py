"""The public names are those of ``__all__``, each exists, and each is in the reference."""

import re
from pathlib import Path

import pytest

import scionwood
from scionwood import errors

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("name", scionwood.__all__)
def test_every_public_name_exists(name):
    assert getattr(scionwood, name) is not None


def test_dir_lists_the_public_names():
    assert set(scionwood.__all__) <= set(dir(scionwood))


def test_every_error_is_exported():
    public = {name for name, value in vars(errors).items() if isinstance(value, type) and name.endswith("Error")}
    assert public <= set(scionwood.__all__)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'selekt'"):
        scionwood.selekt  # noqa: B018


@pytest.mark.parametrize("name", sorted(set(scionwood.__all__) - {"__version__"}))
def test_every_public_name_is_in_the_reference(name):
    reference = "\n".join(path.read_text(encoding="utf-8") for path in (DOCS / "reference").glob("*.md"))
    directive = rf"^\.\. auto\w+:: scionwood(\.\w+)*\.{name}$|^```\{{auto\w+\}} scionwood(\.\w+)*\.{name}$"
    assert re.search(directive, reference, flags=re.MULTILINE), f"docs/reference/ does not document scionwood.{name}"
