"""What a demo shows while it runs and when it is done: progress on stderr, tables on stdout."""

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TextIO

import torch

from scionwood.demos.race import BASELINE, Race, Results

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

__all__ = ["LABELS", "Progress", "facts", "fading", "finding", "headline", "race_table", "save", "stdout"]

# What each student is called in tables and pictures.
LABELS = {
    BASELINE: "from scratch (tuned)",
    "uniform": "uniform",
    "consecutive": "consecutive",
    "whole_heads": "whole heads",
    "random": "random, consistent",
    "random_inconsistent": "random, inconsistent",
}
SECONDS_BETWEEN_LINES = 10.0


class Progress:
    """A context that shows how many of all training steps are done: a bar on a terminal, plain lines elsewhere.

    >>> import io
    >>> stream = io.StringIO()
    >>> with Progress(2, stream=stream) as progress:
    ...     progress.stage("teacher")
    ...     progress.step()
    ...     progress.step()
    >>> print(stream.getvalue().splitlines()[0])
    teacher (0 of 2 steps done)
    """

    def __init__(self, total: int, *, unit: str = "steps", stream: TextIO | None = None) -> None:
        self.total, self.unit, self.done, self.label = total, unit, 0, ""
        self.stream = sys.stderr if stream is None else stream
        self._bar = self._task = None
        self._last_line = 0.0

    def __enter__(self) -> Self:
        if self.stream.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

            self._bar = Progress(
                TextColumn("[bold]{task.description}"),
                BarColumn(),
                TextColumn("{task.percentage:>3.0f}%"),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
                console=Console(file=self.stream),
                transient=True,
            )
            self._task = self._bar.add_task("", total=self.total)
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.stop()

    def stage(self, label: str) -> None:
        """Say what is being done now."""
        self.label = label
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, description=label)
        elif time.monotonic() - self._last_line >= SECONDS_BETWEEN_LINES or not self.done:
            self._print_line()

    def step(self) -> None:
        """Count one training step, or whatever the unit is."""
        self.done += 1
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=self.done)
        elif time.monotonic() - self._last_line >= SECONDS_BETWEEN_LINES:
            self._print_line()

    def _print_line(self) -> None:
        self._last_line = time.monotonic()
        print(f"{self.label} ({self.done} of {self.total} {self.unit} done)", file=self.stream, flush=True)


def stdout() -> "Console":
    """Return a console for stdout; where no terminal is there it is wide enough for every table."""
    from rich.console import Console

    return Console(highlight=False, width=None if sys.stdout.isatty() else 120)


def race_table(race: Race, method: str = "uniform") -> "Table":
    """Return a race as a table: mean ± standard deviation at the epochs to show, the best of a column in bold.

    The last row is by how many points one method's mean lies above that of scratch.
    """
    from rich import box
    from rich.table import Table

    table = Table(
        title=f"{race.title}: test accuracy in % after so many epochs",
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    table.add_column("student")
    for epoch in race.shown:
        table.add_column(f"{epoch:g}", justify="right")
    goal = race.mean(BASELINE)[-1]
    table.add_column(f"epochs to {goal:.1f} %", justify="right")
    columns = [race.epochs.index(epoch) for epoch in race.shown]
    best = {column: max(race.mean(method)[column] for method in race.accuracy) for column in columns}
    for student in race.accuracy:
        mean, deviation = race.mean(student), race.deviation(student)
        cells = [
            f"[bold]{mean[column]:.1f}[/] ± {deviation[column]:.1f}"
            if mean[column] == best[column]
            else f"{mean[column]:.1f} ± {deviation[column]:.1f}"
            for column in columns
        ]
        needed = race.epochs_needed(student)
        table.add_row(LABELS.get(student, student), *cells, "not reached" if needed is None else f"{needed:g}")
    table.add_section()
    gains = [f"{race.gain(method, epoch):+.1f}" for epoch in race.shown]
    table.add_row(f"{LABELS.get(method, method)} over scratch", *gains, "", style="dim")
    return table


def finding(race: Race, method: str = "uniform") -> str:
    """Return what a race shows, as a sentence; it says so too where selection does not help.

    >>> race = Race(title="8 labels", examples=8, epochs=(0, 1, 2), shown=(1, 2), recipe={}, accuracy={
    ...     "scratch": [[10, 30, 60]], "uniform": [[10, 70, 90]]})
    >>> finding(race)
    '8 labels: uniform selection is where scratch ends (60.0 %) after 1 of 2 epochs, and ends 30.0 points above it'
    """
    needed, gain, goal = race.epochs_needed(method), race.gain(method, race.epochs[-1]), race.mean(BASELINE)[-1]
    name = f"{race.title}: {LABELS.get(method, method)} selection"
    end = f"ends {abs(gain):.1f} points {'above' if gain >= 0 else 'below'} it"
    if needed is None:
        return f"{name} does not reach where scratch ends ({goal:.1f} %): it {end}"
    return f"{name} is where scratch ends ({goal:.1f} %) after {needed:g} of {race.epochs[-1]:g} epochs, and {end}"


def fading(races: Sequence[Race], method: str = "uniform") -> str:
    """Return how the gain over scratch changes along each race, as a sentence.

    >>> race = Race(title="8 labels", examples=8, epochs=(0, 1, 2), shown=(1, 2), recipe={}, accuracy={
    ...     "scratch": [[10, 30, 60]], "uniform": [[10, 70, 90]]})
    >>> fading([race])
    'points that uniform selection lies above scratch, at the most and at the end: +40.0 and +30.0 (8 labels)'
    """
    gains = [
        f"{max(race.gain(method, at) for at in race.epochs):+.1f} and {race.gain(method, race.epochs[-1]):+.1f}"
        f" ({race.title})"
        for race in races
    ]
    name = f"{LABELS.get(method, method)} selection"
    return f"points that {name} lies above scratch, at the most and at the end: {'; '.join(gains)}"


def headline(race: Race, method: str = "uniform") -> str:
    """Return what a race shows in a few words: the title of a picture.

    >>> race = Race(title="8 labels", examples=8, epochs=(0, 1, 2), shown=(1, 2), recipe={}, accuracy={
    ...     "scratch": [[10, 30, 60]], "uniform": [[10, 70, 90]]})
    >>> headline(race)
    'With 8 labels, uniform selection needs 1 epoch for what takes 2 from scratch'
    """
    needed, end = race.epochs_needed(method), race.epochs_needed(BASELINE)
    name = f"With {race.title}, {LABELS.get(method, method)} selection"
    if needed is None or end is None or needed >= end:
        return f"{name} gets no sooner to where training from scratch ends"
    return f"{name} needs {needed:g} epoch{'' if needed == 1 else 's'} for what takes {end:g} from scratch"


def facts(model: torch.nn.Module, sizes: dict[str, int]) -> dict[str, Any]:
    """Return what is said of a model: its parameters and its sizes.

    >>> facts(torch.nn.Linear(3, 2), {"hidden_size": 2})
    {'parameters': 8, 'hidden size': 2}
    """
    number = sum(parameter.numel() for parameter in model.parameters())
    return {"parameters": number, **{name.replace("num_", "").replace("_", " "): size for name, size in sizes.items()}}


def save(results: Results, out: Path, *, method: str, quiet: bool) -> None:
    """Write ``results.json`` and ``curves.png``; print the tables, what follows from them, and where the files are.

    Args:
        results: of a demo.
        out: the folder.
        method: of which the findings speak.
        quiet: print nothing.
    """
    from scionwood.demos.curves import draw

    written = [out / "results.json", out / "curves.png"]
    results.write(written[0])
    curves = [race for race in results.races if race.epochs[0] == 0]
    draw(curves, written[1], title=headline(results.races[0], method), subtitle=results.task)
    if not quiet:
        _print_results(results, method, written)


def _print_results(results: Results, method: str, written: Sequence[Path]) -> None:
    out = stdout()
    out.print(f"\n[bold]{results.task}[/]", soft_wrap=True)
    for role, known in (("source", results.source), ("student", results.student)):
        values = ", ".join(
            f"{name} {value}" if isinstance(value, str) else f"{name} {value:,}" for name, value in known.items()
        )
        out.print(f"{role + ':':9}{values}", soft_wrap=True)
    for race in results.races:
        out.print()
        out.print(race_table(race, method))
    out.print(
        f"[dim]mean ± standard deviation of {results.seeds} seed{'' if results.seeds == 1 else 's'}; best in bold[/]\n"
    )
    for race in results.races:
        out.print(f"• {finding(race, method)}.", soft_wrap=True)
    out.print(f"• {fading(results.races, method)}.", soft_wrap=True)
    out.print(f"\n{sum(results.seconds.values()):.0f} s in all; written: {' '.join(map(str, written))}", soft_wrap=True)
