"""The demo of growth, in small: every student begins where the small model ended, and the noiseless clone stays one."""

import json
from pathlib import Path

import pytest

from scionwood.demos import growing


def test_the_docstrings_are_split_by_name_and_by_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "email").mkdir()
    (tmp_path / "email" / "a.py").write_text('def one():\n    """Say one."""\n\n\ndef two():\n    """Say two."""\n')
    assert growing.docstrings(tmp_path) == {"Say one.": "one", "Say two.": "two"}


@pytest.mark.slow
def test_the_race(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growing, "SOURCE_STEPS", 120)
    monkeypatch.setattr(growing, "MEASURED", (0, 20))
    found = growing.run(tmp_path, quiet=True)
    small = found["small"]["held-out loss"]
    begins = {name: curves[0][0] for name, curves in found["loss"].items()}
    assert begins["cloned"] == pytest.approx(small, abs=1e-3)
    assert begins["noiseless"] == pytest.approx(small, abs=1e-3)
    assert begins["padded"] == pytest.approx(small, abs=1e-2)
    assert begins["scratch"] > small + 0.5
    assert found["halves_apart"]["noiseless"][0] < 1e-4
    assert found["halves_apart"]["cloned"][0] > 1e-2
    assert json.loads((tmp_path / "results.json").read_text())["steps"] == [0, 20]
    assert (tmp_path / "curves.png").stat().st_size > 10_000
