"""First weights by what a tensor is in its model's graph, raced against what its class begins with.

The nets and what each begins with are in ``starts``. All starts of a race share data and order and differ in first
weights and in the learning rate, which is for each the best of ``python -m scionwood.demos.initialising --tune``, on
validation data. The text's baseline has its deviation searched too.

``default`` is what PyTorch or transformers begins with; ``He`` is ``activation_gain``, which for ReLU is 2 / fan_in.
"""

import argparse
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from scionwood.demos.extras import quiet_transformers, require
from scionwood.demos.output import Progress, stdout
from scionwood.demos.starts import LETTERS, RACES, Race, Start, pixels, text
from scionwood.engine.threads import use_threads
from scionwood.train.layers.fixup import add_scalars, parameter_groups

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["run"]

BATCH, PIECES = 64, 16


def begin(race: Race, start: Start, seed: int) -> nn.Module:
    """Return a race's net with the first weights of a start."""
    import scionwood

    net = race.make(seed)
    batch = None if race.lower else pixels()["train"][0][:256]
    if start.method is not None:
        scionwood.initialize(net, method=start.method, options=start.options, seed=seed, inputs=batch)
    if start.scalars:
        add_scalars(net, batch)
    return net


def batches(race: Race, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield what a net reads and what it shall say, for ever."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        if race.lower:
            rows = pieces(text()[1]["train"], PIECES, generator)
            yield rows[:, :-1], rows[:, 1:]
        else:
            inputs, labels = pixels()["train"]
            at = torch.randint(len(inputs), (BATCH,), generator=generator)
            yield inputs[at], labels[at]


def pieces(whole: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Return random pieces of a text, one letter longer than what the net reads."""
    at = torch.randint(len(whole) - LETTERS, (count, 1), generator=generator)
    return whole[at + torch.arange(LETTERS + 1)]


def logits(net: nn.Module, inputs: Tensor) -> Tensor:
    """Return what a net says, classes last."""
    said = net(inputs)
    return said if isinstance(said, Tensor) else said.logits


@torch.no_grad()
def measure(race: Race, net: nn.Module, split: str) -> float:
    """Return the accuracy, or the loss on text; 0 or infinity for a net that has gone to infinity."""
    if race.lower:
        rows = pieces(text()[1][split], 256, torch.Generator().manual_seed(0))
        loss = float(functional.cross_entropy(logits(net, rows[:, :-1]).flatten(0, 1), rows[:, 1:].flatten()))
        return loss if math.isfinite(loss) else math.inf
    inputs, labels = pixels()[split]
    said = logits(net, inputs)
    return 100 * float((said.argmax(1) == labels).float().mean()) if bool(said.isfinite().all()) else 0.0


def train(
    race: Race, net: nn.Module, *, rate: float, seed: int, split: str, after_step: Callable[[], None] = lambda: None
) -> list[float]:
    """Train a net and return what is measured: digits by momentum at a constant rate, text by AdamW with a warm-up."""
    optimizer = (
        torch.optim.AdamW(net.parameters(), lr=rate, weight_decay=0.01, betas=(0.9, 0.95))
        if race.lower
        else torch.optim.SGD(parameter_groups(net, rate), momentum=0.9)
    )
    found = [measure(race, net, split)] if 0 in race.measured else []
    for step, (inputs, wanted) in zip(range(1, race.measured[-1] + 1), batches(race, seed), strict=False):
        if race.lower:
            optimizer.param_groups[0]["lr"] = rate * min(1.0, step / 20)
        loss = functional.cross_entropy(logits(net, inputs).flatten(0, -2), wanted.flatten())
        optimizer.zero_grad()
        loss.backward()
        if race.lower:
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        after_step()
        if step in race.measured:
            found.append(measure(race, net, split))
    return found


def run(out: Path, *, seeds: int = 3, races: Sequence[str] = tuple(RACES), quiet: bool = False) -> dict[str, Any]:
    """Run the demo: initialise, train, print a table for each race; write ``results.json`` and ``curves.png``.

    Args:
        out: a folder.
        seeds: how often each start is trained.
        races: which of them.
        quiet: print no tables.
    """
    require("sklearn", "transformers", "matplotlib")
    with quiet_transformers(), use_threads(1):
        return _run(out, seeds=seeds, races=races, quiet=quiet)


def _run(out: Path, *, seeds: int, races: Sequence[str], quiet: bool) -> dict[str, Any]:
    began = time.monotonic()
    out.mkdir(parents=True, exist_ok=True)
    chosen = {name: RACES[name] for name in races}
    found: dict[str, dict[str, list[list[float]]]] = {}
    with Progress(sum(len(race.starts) * race.measured[-1] for race in chosen.values()) * seeds) as progress:
        for name, race in chosen.items():
            for key, start in race.starts.items():
                progress.stage(f"{race.title}: {start.label}")
                found.setdefault(name, {})[key] = [
                    train(
                        race,
                        begin(race, start, seed),
                        rate=start.rate,
                        seed=seed,
                        split="test",
                        after_step=progress.step,
                    )
                    for seed in range(seeds)
                ]
    results = {
        "demo": "initialising",
        "seeds": seeds,
        "races": {
            name: {
                "title": race.title,
                "unit": race.unit,
                "steps": race.measured,
                "starts": {key: asdict(start) for key, start in race.starts.items()},
                "curves": found[name],
            }
            for name, race in chosen.items()
        },
        "seconds": round(time.monotonic() - began, 1),
    }
    (out / "results.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    draw(chosen, found, out / "curves.png")
    if not quiet:
        console = stdout()
        for name, race in chosen.items():
            console.print(table(race, found[name]))
        console.print(f"{results['seconds']:.0f} s; wrote {out}/results.json and {out}/curves.png")
    return results


def mean(curves: Sequence[Sequence[float]]) -> list[float]:
    """Return the mean over the seeds.

    >>> mean([[1.0, 2.0], [3.0, 4.0]])
    [2.0, 3.0]
    """
    return [sum(column) / len(column) for column in zip(*curves, strict=True)]


def table(race: Race, found: Mapping[str, Sequence[Sequence[float]]]) -> "Table":
    """Return a race as a table: the mean after so many steps, with the lowest and the highest seed at the end."""
    from rich import box
    from rich.table import Table

    title = f"{race.title}: {race.unit} after so many steps"
    made = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("first weights", "rate", *map(str, race.measured), "seeds"):
        made.add_column(column, justify="left" if column == "first weights" else "right")
    digits_shown = 3 if race.lower else 1
    finals = {name: mean(curves)[-1] for name, curves in found.items()}
    best = (min if race.lower else max)(finals.values())
    for name, curves in found.items():
        # No answer is right only where the numbers went to infinity: chance is a tenth.
        gone = [not race.lower and value == 0 for value in mean(curves)]
        cells = [
            "diverged" if lost else f"{value:.{digits_shown}f}" for value, lost in zip(mean(curves), gone, strict=True)
        ]
        cells[-1] = f"[bold]{cells[-1]}[/]" if finals[name] == best else cells[-1]
        ends = [curve[-1] for curve in curves]
        spread = "" if gone[-1] else f"{min(ends):.{digits_shown}f} to {max(ends):.{digits_shown}f}"
        made.add_row(race.starts[name].label, f"{race.starts[name].rate:g}", *cells, spread)
    return made


def draw(races: Mapping[str, Race], found: Mapping[str, Mapping[str, Sequence[Sequence[float]]]], path: Path) -> None:
    """Draw a panel for each race, and save the picture as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.6 * len(races), 4.8), dpi=160, facecolor="white")
    FigureCanvasAgg(figure)
    for panel, (name, race) in zip(figure.subplots(1, len(races), squeeze=False)[0], races.items(), strict=True):
        for key, curves in found[name].items():
            start = race.starts[key]
            panel.plot(race.measured, mean(curves), color=start.colour, linewidth=2.2, label=start.label)
            low, high = ([choose(at) for at in zip(*curves, strict=True)] for choose in (min, max))
            panel.fill_between(race.measured, low, high, color=start.colour, alpha=0.15, linewidth=0)
        panel.set_title(race.title, loc="left", fontsize=12, fontweight="bold")
        panel.set_xlabel("steps")
        panel.set_ylabel(race.unit)
        panel.grid(axis="y", color="#e6e6e6", linewidth=0.8)
        for side in ("top", "right"):
            panel.spines[side].set_visible(False)
        panel.legend(frameon=False, fontsize=8.5)
    figure.tight_layout()
    figure.savefig(path, metadata={"Software": "scionwood"})


def tune(names: Sequence[str], seed: int = 99) -> None:
    """Print what every start of these races ends with on validation data, at every learning rate."""
    with quiet_transformers(), use_threads(1):
        for race in (RACES[name] for name in names):
            for key, start in race.starts.items():
                for rate in race.rates:
                    ended = train(race, begin(race, start, seed), rate=rate, seed=seed, split="validation")[-1]
                    print(f"{race.title:40} {key:14} {rate:.1e} {ended:.3f}", flush=True)


def main() -> None:
    """Run the demo, or its search, from ``python -m``."""
    parser = argparse.ArgumentParser(prog="python -m scionwood.demos.initialising")
    parser.add_argument("--tune", action="store_true", help="search the learning rate of every start")
    parser.add_argument("--races", nargs="+", choices=list(RACES), default=list(RACES))
    parser.add_argument("--out", type=Path, default=Path("demo-output/initialising"))
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    if options.tune:
        tune(options.races)
    else:
        run(options.out, seeds=options.seeds, races=options.races)


if __name__ == "__main__":
    main()
