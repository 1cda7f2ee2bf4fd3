"""The picture of a demo: a learning curve for every kind of first weights, with the spread over the seeds."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from scionwood.demos.output import LABELS
from scionwood.demos.race import BASELINE, Race

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw", "spaced"]

# Scratch is grey and the control is orange; what selects consistently are the greens and blues. Okabe and Ito's
# colours: they differ for all eyes, and in grey.
COLOURS = {
    BASELINE: "#555555",
    "uniform": "#009E73",
    "consecutive": "#0072B2",
    "whole_heads": "#56B4E9",
    "random": "#CC79A7",
    "random_inconsistent": "#D55E00",
}
STYLES = {BASELINE: "-", "random_inconsistent": (0, (4, 1.5))}
INK, FAINT = "#222222", "#777777"
# Inches: left of the first panel, a panel among others, one that is alone, the labels at its right.
LEFT, PANEL, ALONE, LABEL = 0.85, 4.7, 6.4, 2.5


def spaced(values: Sequence[float], gap: float) -> list[float]:
    """Return the values moved apart until neighbours are at least a gap apart: heights for labels.

    >>> spaced([10, 30], 5), spaced([10, 11], 4), spaced([11, 10, 12], 2)
    ([10.0, 30.0], [8.5, 12.5], [11.0, 9.0, 13.0])
    """
    order = sorted(range(len(values)), key=values.__getitem__)
    blocks: list[list[float]] = []  # centre, members
    for at in order:
        blocks.append([values[at], 1])
        while len(blocks) > 1 and blocks[-1][0] - blocks[-2][0] < gap * (blocks[-1][1] + blocks[-2][1]) / 2:
            (low, n), (high, m) = blocks[-2], blocks.pop()
            blocks[-1] = [(low * n + high * m) / (n + m), n + m]
    heights = [centre + gap * (i - (n - 1) / 2) for centre, n in blocks for i in range(int(n))]
    placed = dict(zip(order, heights, strict=True))
    return [placed[at] for at in range(len(values))]


def draw(races: Sequence[Race], path: Path, *, title: str, subtitle: str) -> None:
    """Draw one panel for each race and save the picture as a PNG.

    Args:
        races: each becomes a panel; all share the vertical axis.
        path: the PNG to write.
        title: what the picture shows, as a sentence.
        subtitle: what was trained on what.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panel_width = PANEL if len(races) > 1 else ALONE
    width = LEFT + len(races) * (panel_width + LABEL)
    figure = Figure(figsize=(width, 5.3), dpi=160, facecolor="white")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(races), sharey=True, squeeze=False)[0]
    top = max(max(curve) for race in races for curves in race.accuracy.values() for curve in curves)
    ceiling = 100.0 if top > 85 else 10.0 * (top // 10 + 1)
    for panel, race in zip(panels, races, strict=True):
        panel.set_ylim(0, ceiling)
        _panel(panel, race, ceiling)
    panels[0].set_ylabel("test accuracy (%)", color=INK)
    seeds = len(races[0].accuracy[BASELINE])
    figure.text(0.25 / width, 0.955, title, fontsize=13.5, fontweight="bold", color=INK, va="center")
    figure.text(0.25 / width, 0.9, subtitle, fontsize=10.5, color="#444444", va="center")
    spread = f"Lines: mean of {seeds} seeds; bands: lowest to highest. " if seeds > 1 else ""
    note = f"{spread}Dots: level with the end of scratch. Same sizes, data and recipe for all, tuned for scratch."
    figure.text(0.25 / width, 0.025, note, fontsize=9, color=FAINT, va="center")
    figure.subplots_adjust(left=LEFT / width, right=1 - LABEL / width, top=0.8, bottom=0.15, wspace=LABEL / panel_width)
    figure.savefig(path, metadata={"Software": "scionwood"})


def _panel(panel: "Axes", race: Race, ceiling: float) -> None:
    first = next(at for at, epoch in enumerate(race.epochs) if epoch > 0)
    epochs, end = list(race.epochs[first:]), race.epochs[-1]
    panel.set_xscale("log")
    panel.set_xlim(epochs[0] if len(epochs) > 1 else end / 2, end)
    ticks = [tick for tick in (0.1, 0.25, 0.5, 1, 2, 5, 10, 20, 40, 100) if epochs[0] <= tick <= end]
    panel.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    panel.set_xticks([], minor=True)
    for method, curves in race.accuracy.items():
        colour = COLOURS.get(method, INK)
        spread = list(zip(*curves, strict=True))[first:]
        panel.fill_between(
            epochs, [min(at) for at in spread], [max(at) for at in spread], color=colour, alpha=0.12, linewidth=0
        )
        front = 4 if method == BASELINE else 3
        mean, style = race.mean(method)[first:], STYLES.get(method, "-")
        panel.plot(epochs, mean, color=colour, linewidth=2.2, linestyle=style, solid_capstyle="round", zorder=front)
    _mark_goal(panel, race)
    _label_lines(panel, race, ceiling)
    panel.set_title(f"{race.title}", loc="left", fontsize=12, color=INK, pad=8)
    panel.set_xlabel("epochs: passes over the labelled examples (log scale)", color=INK)
    panel.grid(axis="y", color="#e6e6e6", linewidth=0.8)
    panel.set_axisbelow(True)
    panel.tick_params(colors="#444444", length=3, labelleft=True)
    for side in ("top", "right"):
        panel.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        panel.spines[side].set_color("#bbbbbb")


def _label_lines(panel: "Axes", race: Race, ceiling: float) -> None:
    """Write each method and its final accuracy at the right end of its line."""
    finals = {method: race.mean(method)[-1] for method in race.accuracy}
    heights = spaced(list(finals.values()), ceiling * 0.058)
    excess = max(0.0, max(heights) - ceiling)
    for (method, final), height in zip(finals.items(), heights, strict=True):
        colour = COLOURS.get(method, INK)
        panel.annotate(
            f"{final:.1f}  {LABELS.get(method, method)}",
            xy=(1, final / ceiling),
            xycoords="axes fraction",
            xytext=(1.05, (height - excess) / ceiling),
            textcoords="axes fraction",
            color=colour,
            fontsize=9.5,
            fontweight="bold" if method == BASELINE else "normal",
            va="center",
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.8, "relpos": (0, 0.5), "shrinkB": 1},
        )


def _mark_goal(panel: "Axes", race: Race) -> None:
    """Draw a dotted line where scratch ends, and on it a dot and a number where each method's mean gets there."""
    goal = race.mean(BASELINE)[-1]
    panel.axhline(goal, color=COLOURS[BASELINE], linewidth=0.9, linestyle=(0, (1, 2.5)))
    for method in race.accuracy:
        needed = race.epochs_needed(method)
        if needed:
            height = race.mean(method)[race.epochs.index(needed)]
            colour = COLOURS.get(method, INK)
            panel.plot([needed], [height], "o", color=colour, markersize=6.5, markeredgecolor="white", zorder=5)
