"""Training after a change of vocabulary: what to tune when, and the losses that keep new tokens where they were put.

* TokAlign (Li et al., 2025, arXiv:2506.03523) first trains the tables of the new vocabulary alone, then everything:
  ``TOKALIGN_STAGES`` and ``train_only``. The official code takes what has "embed" in its name, which leaves out the head
  of models that call it ``lm_head``; here the tables are named.
* CAST (Rohanian & Krauthammer, 2025, arXiv:2509.26276) initialises the tokens of speech from features, and keeps them near while it trains:
  ``alignment_loss``, ``thin`` and ``PlanningHeads``. No training code is published; what stands here follows the
  abstract, and the defaults (weight 0.1 falling to 0 over the first tenth, 0.9 kept, 100 clusters) are scionwood's.
"""

from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from scionwood.errors import MethodError, nearest

__all__ = [
    "TOKALIGN_STAGES",
    "PlanningHeads",
    "Stage",
    "alignment_loss",
    "alignment_weight",
    "stage_rate",
    "thin",
    "train_only",
]


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A stretch of training.

    Args:
        steps: how long.
        learning_rate: the highest; it rises over the warm-up and falls along a cosine.
        tables_only: whether only the tables of the vocabulary train, or everything.
        warm_up: the share of the steps that the rate rises for.
        weight_decay: of AdamW.
    """

    steps: int
    learning_rate: float
    tables_only: bool
    warm_up: float = 0.03
    weight_decay: float = 0.01


TOKALIGN_STAGES = (
    Stage(steps=2500, learning_rate=6.4e-4, tables_only=True),
    Stage(steps=2500, learning_rate=5e-5, tables_only=False),
)
"""The paper's plan, for sequences of 2048 tokens, 1024 of them a step."""


def train_only(model: nn.Module, tables: Collection[str] | None) -> list[str]:
    """Let the named parameters train and freeze the others, or with none let all train; return what trains.

    A table that is tied under two names trains where either is named.

    >>> model = nn.Sequential(nn.Embedding(4, 2), nn.Linear(2, 4))
    >>> train_only(model, ["0.weight"])
    ['0.weight']
    >>> len(train_only(model, None))
    3

    Raises:
        MethodError: the model has no parameter of such a name; all of them are listed.
    """
    parameters = dict(model.named_parameters(remove_duplicate=False))
    missing = sorted(set(tables or ()) - set(parameters))
    if missing:
        raise MethodError(
            "The model has not all of these parameters.",
            problems=[f"{name!r}{nearest(name, list(parameters))}" for name in missing],
        )
    chosen = {id(parameters[name]) for name in tables} if tables is not None else None
    trained = []
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(chosen is None or id(parameter) in chosen)
        if parameter.requires_grad:
            trained.append(name)
    return trained


def stage_rate(stage: Stage, step: int) -> float:
    """Return the learning rate of a step: linear warm-up, then a cosine to zero.

    >>> [round(stage_rate(TOKALIGN_STAGES[0], step) * 1e4, 2) for step in (0, 75, 2500)]
    [0.09, 6.4, 0.0]
    """
    warm = round(stage.steps * stage.warm_up)
    if step < warm:
        return stage.learning_rate * (step + 1) / warm
    progress = torch.tensor(min(1.0, (step - warm) / max(1, stage.steps - warm)), dtype=torch.float64)
    return stage.learning_rate * float((1 + torch.cos(torch.pi * progress)) / 2)


def alignment_loss(rows: Tensor, targets: Tensor) -> Tensor:
    """Return the mean of 1 - cosine between the rows of new tokens and where they were put; the targets do not train.

    >>> float(alignment_loss(torch.eye(2), torch.eye(2)))
    0.0
    >>> float(alignment_loss(torch.eye(2), -torch.eye(2)))
    2.0

    Args:
        rows: the rows of the tokens now, (n, d).
        targets: their rows at the start, (n, d).
    """
    return (1 - functional.cosine_similarity(rows, targets.detach(), dim=-1)).mean()


def alignment_weight(step: int, steps: int, *, start: float = 0.1, until: float = 0.1) -> float:
    """Return the weight of the alignment loss at a step: from ``start`` straight to 0 at the share ``until`` of the steps.

    >>> [round(alignment_weight(step, 1000), 3) for step in (0, 50, 100, 500)]
    [0.1, 0.05, 0.0, 0.0]
    """
    return start * max(0.0, 1 - step / max(1.0, until * steps))


def thin(units: Tensor, generator: torch.Generator, *, keep: float = 0.9, span: int = 1) -> Tensor:
    """Return the units without some of them: spans of a length are dropped until about ``keep`` of them are left.

    With ``span`` 1 every unit is dropped or kept by itself. At least one unit is left.

    >>> left = thin(torch.arange(1000), torch.Generator().manual_seed(0), keep=0.9, span=5)
    >>> 850 < len(left) < 950, bool((left.diff() > 0).all())
    (True, True)

    Args:
        units: the ids of one sequence.
        generator: to draw from.
        keep: the share of the units to expect to keep.
        span: how many neighbours are dropped together.

    Raises:
        MethodError: nothing would be kept, or a span is not positive.
    """
    if not 0 < keep <= 1 or span < 1:
        raise MethodError(f"keep must lie above 0 and at most at 1, span at 1 or more; got {keep} and {span}.")
    # A unit survives where none of the `span` spans that could cover it starts: keep = (1 - start)^span.
    starts = torch.rand(len(units) + span - 1, generator=generator) >= keep ** (1 / span)
    dropped = starts.unfold(0, span, 1).any(-1) if len(units) else starts[:0]
    if len(units) and bool(dropped.all()):
        dropped[int(torch.randint(len(units), (), generator=generator))] = False
    return units[~dropped]


class PlanningHeads(nn.Module):
    """Two heads beside the model's own: the cluster of the next segment, and the next code.

    >>> heads = PlanningHeads(4, codes=8)
    >>> unknown = torch.tensor([-100, -100])
    >>> float(heads(torch.zeros(2, 4), unknown, unknown).detach())
    0.0

    Args:
        width: of the model's hidden states.
        clusters: coarse clusters of segments.
        codes: units.
    """

    def __init__(self, width: int, codes: int, *, clusters: int = 100) -> None:
        super().__init__()
        self.cluster = nn.Linear(width, clusters)
        self.code = nn.Linear(width, codes)

    def forward(self, hidden: Tensor, next_clusters: Tensor, next_codes: Tensor) -> Tensor:
        """Return the sum of the two cross entropies; -100 marks what is not known.

        Args:
            hidden: (n, width).
            next_clusters: the cluster of the segment that follows, (n,).
            next_codes: the unit that follows, (n,).
        """
        total = hidden.new_zeros(())
        for head, wanted in ((self.cluster, next_clusters), (self.code, next_codes)):
            known = (wanted != -100).sum().clamp(min=1)  # a batch in which nothing is known costs nothing
            total = total + functional.cross_entropy(head(hidden), wanted, reduction="sum") / known
        return total
