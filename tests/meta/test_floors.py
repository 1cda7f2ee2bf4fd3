"""import-linter's contracts hold, and they catch a planted breach of each."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("importlinter", reason="comes with `make setup-check`")

ROOT = Path(__file__).parents[2]


def lint(root: Path) -> subprocess.CompletedProcess[str]:
    code = "import sys; sys.path.insert(0, 'src'); from importlinter.cli import lint_imports; sys.exit(lint_imports())"
    return subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False)


ROOMS = ("cli", "demos", "verbs", "inspect", "train", "methods", "methods/select", "checkpoint", "anatomy")


@pytest.fixture
def house(tmp_path):
    """A house of empty rooms, under this repository's contracts."""
    package = tmp_path / "src" / "scionwood"
    for room in ROOMS:
        (package / room).mkdir(parents=True)
        (package / room / "__init__.py").touch()
    for file in ("__init__.py", "__main__.py", "errors.py"):
        shutil.copy(ROOT / "src" / "scionwood" / file, package / file)
    (package / "__main__.py").write_text("import scionwood.cli\n")
    (package / "verbs" / "select.py").touch()
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_the_contracts_hold_in_the_real_house():
    done = lint(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("room", "import_line"),
    [
        ("checkpoint/__init__.py", "import safetensors"),
        ("checkpoint/__init__.py", "from huggingface_hub import hf_hub_download"),
        ("anatomy/__init__.py", "def build():\n    import transformers"),
        ("verbs/select.py", "from scionwood import anatomy, checkpoint, errors, methods"),
    ],
)
def test_what_is_allowed_passes(house, room, import_line):
    (house / "src" / "scionwood" / room).write_text(f"{import_line}\n", encoding="utf-8")
    done = lint(house)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("room", "breach"),
    [
        ("errors.py", "import scionwood.checkpoint"),
        ("checkpoint/planted.py", "from scionwood.verbs import select"),
        ("checkpoint/planted.py", "import scionwood.anatomy"),
        ("methods/planted.py", "import scionwood.anatomy"),
        ("methods/select/planted.py", "def load():\n    import safetensors"),
        ("verbs/planted.py", "from safetensors import safe_open"),
        ("verbs/planted.py", "import transformers"),
        ("neighbour/__init__.py", ""),
    ],
)
def test_a_planted_breach_is_caught(house, room, breach):
    planted = house / "src" / "scionwood" / room
    planted.parent.mkdir(exist_ok=True)
    with planted.open("a", encoding="utf-8") as file:
        file.write(f"\n{breach}\n")
    done = lint(house)
    assert done.returncode != 0
    assert "BROKEN" in done.stdout or "undeclared" in done.stdout.lower(), done.stdout + done.stderr
