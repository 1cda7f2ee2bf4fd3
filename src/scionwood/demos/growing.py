"""Growth on real text: a small language model is trained, grown, and raced against the larger one from scratch.

The text are the docstrings of Python's standard library, letter by letter, split by the name of what they describe.
All students have the same larger shape, twice as wide and twice as deep; they differ in their first weights alone. Each
trains over one cosine with the learning rate that the search found (``python -m scionwood.demos.growing --tune``): the
best for scratch, and the best for the noisy clone, which the other grown ones take over.

The noiseless clone shows the trap of symmetry: its copies get equal gradients, so they are still copies at the end. How
far the halves of a weight have come apart is the last column.
"""

import argparse
import ast
import json
import math
import sysconfig
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from scionwood.demos.docstrings import MODULES, split_of
from scionwood.demos.extras import quiet_transformers, require
from scionwood.demos.output import Progress, stdout
from scionwood.demos.training import learning_rate_factor
from scionwood.engine.threads import use_threads

if TYPE_CHECKING:
    from rich.table import Table
    from transformers import LlamaConfig, LlamaForCausalLM

__all__ = ["run"]

SMALL = {"hidden_size": 32, "intermediate_size": 96, "num_attention_heads": 2, "num_hidden_layers": 2}
LARGE = {"hidden_size": 64, "intermediate_size": 192, "num_attention_heads": 4, "num_hidden_layers": 4}
LENGTH, BATCH = 64, 16
WARMUP, WEIGHT_DECAY = 0.1, 0.1
SOURCE_STEPS, SOURCE_RATE = 800, 8e-3
MEASURED = (0, 25, 50, 100, 150, 200)
"""Steps after which the loss on held-out text is measured; the last is the budget."""


@dataclass(frozen=True)
class Start:
    """First weights of a student.

    Args:
        label: for people.
        learning_rate: the best of the search.
        colour: of its line.
        how: the arguments of ``scionwood.grow``; nothing for what the class itself begins with.
    """

    label: str
    learning_rate: float
    colour: str
    how: Mapping[str, Any] | None = None


STARTS = {
    "scratch": Start("from scratch (tuned)", 8e-3, "#555555"),
    "cloned": Start("hypercloning, 10 dB of noise", 2e-3, "#009E73", {"method": "hypercloning"}),
    "noiseless": Start(
        "hypercloning without noise", 2e-3, "#D55E00", {"method": "hypercloning", "options": {"snr_db": None}}
    ),
    "padded": Start("copy and pad (rms)", 2e-3, "#0072B2", {"method": "copy_pad"}),
    "stacked": Start("hypercloning, layers stacked", 2e-3, "#CC79A7", {"method": "hypercloning", "depth": "stack"}),
}
RATES = (1e-3, 2e-3, 4e-3, 8e-3, 1.6e-2)


@dataclass(frozen=True)
class Text:
    """Letters as numbers: what is learned from, and what is held out."""

    train: Tensor
    held_out: Tensor
    letters: str


def load() -> Text:
    """Return the docstrings, one long line for each part."""
    parts: dict[str, list[str]] = {"train": [], "validation": [], "test": []}
    for text, name in docstrings(Path(sysconfig.get_path("stdlib"))).items():
        parts[split_of(name)].append(text)
    joined = {name: "\n".join(texts) for name, texts in parts.items()}
    letters = "".join(sorted({letter for letter in joined["train"] if letter.isascii()}))
    numbers = {letter: number for number, letter in enumerate(letters)}

    def encoded(text: str) -> Tensor:
        return torch.tensor([numbers[letter] for letter in text if letter in numbers])

    return Text(encoded(joined["train"] + "\n" + joined["validation"]), encoded(joined["test"]), letters)


def docstrings(library: Path) -> dict[str, str]:
    """Return every docstring of the modules that the other demos read too, with the name of what it describes."""
    found: dict[str, str] = {}
    for place in map(library.joinpath, MODULES.values()):
        for file in [place] if place.suffix else sorted(place.rglob("*.py")):
            if not file.exists() or {"test", "tests"} & set(file.parts):
                continue
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                    found.setdefault(ast.get_docstring(node) or "", node.name)
    return found


def config(sizes: Mapping[str, int], letters: str) -> "LlamaConfig":
    """Return the config of a model of these sizes."""
    from transformers import LlamaConfig

    return LlamaConfig(vocab_size=len(letters), max_position_embeddings=LENGTH, head_dim=16, **sizes)  # type: ignore[arg-type]


def batches(text: Tensor, seed: int) -> Any:
    """Yield random pieces of a text, for ever."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        starts = torch.randint(len(text) - LENGTH, (BATCH,), generator=generator)
        yield torch.stack([text[start : start + LENGTH] for start in starts.tolist()])


@torch.no_grad()
def held_out_loss(model: nn.Module, text: Tensor) -> float:
    """Return the mean loss in nats for each letter of the held-out text."""
    model.eval()
    rows = text[: len(text) // LENGTH * LENGTH].view(-1, LENGTH)[:256]
    return float(model(input_ids=rows, labels=rows).loss)


def train(
    model: nn.Module, text: Text, *, steps: int, rate: float, seed: int, measured: Sequence[int], progress: Progress
) -> list[float]:
    """Train with AdamW over one cosine, and return the held-out loss after the steps to measure at."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=WEIGHT_DECAY, betas=(0.9, 0.95))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: learning_rate_factor(step + 1, steps, WARMUP))
    found = [held_out_loss(model, text.held_out)] if 0 in measured else []
    pieces = batches(text.train, seed)
    for step in range(1, steps + 1):
        rows = next(pieces)
        model.train()
        model(input_ids=rows, labels=rows).loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        progress.step()
        if step in measured:
            found.append(held_out_loss(model, text.held_out))
    return found


def asymmetry(model: nn.Module) -> float:
    """Return how far the two halves of the first block's inner axis are apart, relative to their size."""
    gate = model.get_parameter("model.layers.0.mlp.gate_proj.weight").detach()
    first, second = gate[: SMALL["intermediate_size"]], gate[SMALL["intermediate_size"] :]
    return float((first - second).norm() / gate.norm() * math.sqrt(0.5))


def student(start: Start, small: Path, out: Path, letters: str, seed: int) -> "LlamaForCausalLM":
    """Return the larger model with its first weights."""
    from transformers import LlamaForCausalLM

    import scionwood

    if start.how is None:
        torch.manual_seed(seed)
        return LlamaForCausalLM(config(LARGE, letters))
    grown = scionwood.grow(
        small, set={**LARGE, "num_key_value_heads": LARGE["num_attention_heads"]}, seed=seed, **start.how
    )
    scionwood.write(grown, out, overwrite=True)
    return LlamaForCausalLM.from_pretrained(out)


def run(out: Path, *, seeds: int = 1, starts: Sequence[str] = tuple(STARTS), quiet: bool = False) -> dict[str, Any]:
    """Run the demo: train the small model, grow it, race the students; write and print what came out.

    Args:
        out: a folder; it gets ``results.json``, ``curves.png`` and the models.
        seeds: how often each student is trained.
        starts: the first weights to compare.
        quiet: print no table.
    """
    require("transformers", "matplotlib")
    with quiet_transformers(), use_threads(1):
        return _run(out, seeds=seeds, starts=starts, quiet=quiet)


def _run(out: Path, *, seeds: int, starts: Sequence[str], quiet: bool) -> dict[str, Any]:
    began = time.monotonic()
    text = load()
    small = out / "small"
    out.mkdir(parents=True, exist_ok=True)
    with Progress(SOURCE_STEPS + seeds * len(starts) * MEASURED[-1]) as progress:
        progress.stage("the small model")
        source = _source(text, small, progress)
        curves: dict[str, list[list[float]]] = {}
        apart: dict[str, list[float]] = {}
        for name in starts:
            progress.stage(STARTS[name].label)
            for seed in range(seeds):
                model = student(STARTS[name], small, out / name, text.letters, seed)
                curve = train(
                    model,
                    text,
                    steps=MEASURED[-1],
                    rate=STARTS[name].learning_rate,
                    seed=seed,
                    measured=MEASURED,
                    progress=progress,
                )
                curves.setdefault(name, []).append(curve)
                apart.setdefault(name, []).append(asymmetry(model))
    results = {
        "demo": "growing",
        "letters": {"train": len(text.train), "held out": len(text.held_out), "alphabet": len(text.letters)},
        "small": {**SMALL, "held-out loss": source},
        "large": LARGE,
        "tokens_per_step": LENGTH * BATCH,
        "steps": MEASURED,
        "starts": {name: asdict(STARTS[name]) for name in starts},
        "loss": curves,
        "halves_apart": apart,
        "seconds": round(time.monotonic() - began, 1),
    }
    (out / "results.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    draw(results, out / "curves.png")
    if not quiet:
        console = stdout()
        console.print(table(results))
        console.print(
            f"The small model's loss is {source:.3f}. {results['seconds']:.0f} s; wrote {out}/results.json, curves.png"
        )
    return results


def _source(text: Text, small: Path, progress: Progress) -> float:
    from transformers import LlamaForCausalLM

    torch.manual_seed(0)
    model = LlamaForCausalLM(config(SMALL, text.letters))
    (loss,) = train(
        model, text, steps=SOURCE_STEPS, rate=SOURCE_RATE, seed=17, measured=(SOURCE_STEPS,), progress=progress
    )
    model.save_pretrained(small)
    return loss


def mean(curves: Sequence[Sequence[float]]) -> list[float]:
    """Return the mean over the seeds.

    >>> mean([[1.0, 2.0], [3.0, 4.0]])
    [2.0, 3.0]
    """
    return [sum(column) / len(column) for column in zip(*curves, strict=True)]


def table(results: Mapping[str, Any]) -> "Table":
    """Return the race as a table: held-out loss after so many steps, and how far the copies have come apart."""
    from rich import box
    from rich.table import Table

    steps = results["steps"]
    made = Table(
        title="growing: loss on held-out text, in nats for each letter, after so many steps",
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    made.add_column("first weights")
    for step in steps:
        made.add_column(str(step), justify="right")
    made.add_column("halves apart", justify="right")
    best = [min(mean(curves)[at] for curves in results["loss"].values()) for at in range(len(steps))]
    for name, curves in results["loss"].items():
        cells = [f"[bold]{loss:.3f}[/]" if loss == best[at] else f"{loss:.3f}" for at, loss in enumerate(mean(curves))]
        own = sum(results["halves_apart"][name]) / len(results["halves_apart"][name])
        made.add_row(STARTS[name].label, *cells, f"{own:.2g}")
    return made


def draw(results: Mapping[str, Any], path: Path) -> None:
    """Draw held-out loss over training tokens, and save the picture as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.2, 5.3), dpi=160, facecolor="white")
    FigureCanvasAgg(figure)
    panel = figure.subplots()
    tokens = [step * results["tokens_per_step"] / 1000 for step in results["steps"]]
    for name, curves in results["loss"].items():
        start = STARTS[name]
        panel.plot(tokens, mean(curves), color=start.colour, linewidth=2.2, label=start.label)
    goal = results["small"]["held-out loss"]
    panel.axhline(goal, color="#777777", linewidth=0.9, linestyle=(0, (1, 2.5)), label="the small model")
    panel.set_ylim(top=min(panel.get_ylim()[1], goal + 1.0))
    panel.set_xlabel("training tokens (thousands)")
    panel.set_ylabel("held-out loss (nats for each letter)")
    panel.set_title("A grown model begins where the small one ended", loc="left", fontsize=13, fontweight="bold")
    panel.grid(axis="y", color="#e6e6e6", linewidth=0.8)
    for side in ("top", "right"):
        panel.spines[side].set_visible(False)
    panel.legend(frameon=False)
    figure.tight_layout()
    figure.savefig(path, metadata={"Software": "scionwood"})


def tune(out: Path) -> None:
    """Print the final loss of scratch and of the clone at every learning rate."""
    text = load()
    small = out / "small"
    with quiet_transformers(), use_threads(1), Progress(SOURCE_STEPS + 2 * len(RATES) * MEASURED[-1]) as progress:
        _source(text, small, progress)
        for name, start in [(name, STARTS[name]) for name in ("scratch", "cloned")]:
            for rate in RATES:
                model = student(start, small, out / name, text.letters, 99)
                (loss,) = train(
                    model, text, steps=MEASURED[-1], rate=rate, seed=99, measured=MEASURED[-1:], progress=progress
                )
                print(f"{name:10} {rate:.0e} {loss:.4f}", flush=True)


def main() -> None:
    """Run the demo, or its search, from ``python -m``."""
    parser = argparse.ArgumentParser(prog="python -m scionwood.demos.growing")
    parser.add_argument("--tune", action="store_true", help="search the learning rate of every start")
    parser.add_argument("--out", type=Path, default=Path("demo-output/growing"))
    parser.add_argument("--seeds", type=int, default=1)
    options = parser.parse_args()
    if options.tune:
        tune(options.out)
    else:
        run(options.out, seeds=options.seeds)


if __name__ == "__main__":
    main()
