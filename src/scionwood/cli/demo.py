"""Run the main job on real input: select a student and race it against training from scratch."""

from pathlib import Path
from typing import Literal

from scionwood.cli._values import Whole


def command(
    name: Literal["digits", "minilm", "growing", "initialising"] = "digits",
    /,
    *,
    out: Path | None = None,
    seeds: Whole = 3,
) -> int:
    """Select a student from a trained teacher, and race it against training from scratch.

    Parameters
    ----------
    name
        digits: a small vision transformer on scikit-learn's digits;
        minilm: a pretrained sentence encoder on text of the standard library;
        growing: a small language model, grown;
        initialising: deep nets by their first weights.
    out
        Where results.json and the picture of the learning curves go; demo-output/NAME unless given.
    seeds
        How often each student is trained.
    """
    from importlib import import_module

    from scionwood.errors import ScionwoodError

    if seeds < 1:
        message = f"--seeds is {seeds}: each student is trained once at least"
        raise ScionwoodError(message)

    import_module(f"scionwood.demos.{name}").run(out or Path("demo-output") / name, seeds=seeds)
    return 0
