"""Networks from a set of vectors to one vector, as HyperOFA trains them: BiLSTM and SetFormer.

    loss = contrast InfoNCE(cosine / temperature, the other rows of the batch) + (1 - contrast) mean|p - t| / mean|t|

The SetFormer has no positions: the order of a set does not matter to it. The BiLSTM reads the set in the order given.
Sizes and training are those of the published configurations (Özeren et al., 2025, arXiv:2504.21018).
"""

import copy
import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence, pad_sequence

__all__ = ["BiLSTM", "Kind", "SetFormer", "predict", "set_loss", "train_network"]

Kind = Literal["lstm", "setformer"]
GROUP = 40
"""How many batches are sorted by length together, as the official sampler does."""

CHECKED = 10
"""After how many epochs the sets held out are asked for, as officially."""


class BiLSTM(nn.Module):
    """One layer both ways; its two last states, through two linear layers."""

    def __init__(self, width: int, outputs: int, *, hidden: int = 800, dropout: float = 0.2) -> None:
        super().__init__()
        self.recurrent = nn.LSTM(width, hidden, batch_first=True, bidirectional=True)
        self.head = nn.Sequential(
            nn.Linear(2 * hidden, 2 * outputs), nn.GELU(), nn.Dropout(dropout), nn.Linear(2 * outputs, outputs)
        )

    def forward(self, sets: Tensor, lengths: Tensor) -> Tensor:
        """Return a vector for each set.

        Args:
            sets: (n, longest, width), padded.
            lengths: how many vectors each set has, (n,).
        """
        packed = pack_padded_sequence(sets, lengths, batch_first=True, enforce_sorted=False)
        _, (states, _) = self.recurrent(packed)
        return self.head(torch.cat([states[-2], states[-1]], dim=-1))


class SetFormer(nn.Module):
    """A transformer without positions; the mean over the set, through two linear layers."""

    def __init__(
        self, width: int, outputs: int, *, layers: int = 28, heads: int = 10, widening: int = 8, dropout: float = 0.4
    ) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(width, heads, widening * width, dropout, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.head = nn.Sequential(
            nn.Linear(width, 2 * width), nn.GELU(), nn.Dropout(dropout), nn.Linear(2 * width, outputs)
        )

    def forward(self, sets: Tensor, lengths: Tensor) -> Tensor:
        """Return a vector for each set.

        Args:
            sets: (n, longest, width), padded.
            lengths: how many vectors each set has, (n,).
        """
        beyond = torch.arange(sets.shape[1]) >= lengths[:, None]
        states = self.encoder(sets, src_key_padding_mask=beyond)
        mean = states.masked_fill(beyond[..., None], 0.0).sum(1) / lengths[:, None]
        return self.head(mean)


def set_loss(predictions: Tensor, targets: Tensor, *, contrast: float = 0.1, temperature: float = 0.25) -> Tensor:
    """Return the loss of a batch: which prediction is nearest to which target, and how far they are.

    >>> rows = torch.eye(2)
    >>> round(float(set_loss(rows, rows)), 5)  # 0.1 log(1 + e^-4)
    0.00181
    """
    cosines = functional.normalize(predictions, dim=-1) @ functional.normalize(targets, dim=-1).T
    told_apart = functional.cross_entropy(cosines / temperature, torch.arange(len(targets)))
    size = targets.abs().mean()
    distance = (predictions - targets).abs().mean() / size.where(size > 0, 1.0)  # rows of zeros have no size to go by
    return contrast * told_apart + (1 - contrast) * distance


def train_network(
    vectors: Tensor,
    sets: Sequence[Tensor],
    targets: Tensor,
    generator: torch.Generator,
    *,
    network: Kind = "lstm",
    epochs: int = 300,
    learning_rate: float = 1e-4,
    batch: int = 256,
    context: int = 256,
    contrast: float = 0.1,
    temperature: float = 0.25,
    subset_above: int = 4,
    held_out: float = 0.025,
    steps: int | None = None,
    **sizes: float,
) -> nn.Module:
    """Return a network that has learned the targets of the sets, as it was when it knew those held out best.

    Args:
        vectors: what the sets are of, (words, width); they do not train.
        sets: for each target which of the vectors; none empty.
        targets: (n, outputs).
        generator: to draw from.
        network: which.
        epochs: how often every set is seen.
        learning_rate: Adam's; times 0.95 every ten epochs.
        batch: how many sets a step takes.
        context: how many vectors of a set are read at most.
        contrast: the weight of the contrastive part.
        temperature: of that part.
        subset_above: in half of the cases, of a set larger than this a random half to all is read.
        held_out: the share of the sets that it does not learn from; with none the last state is taken.
        steps: after how many it stops, whatever the epochs; with none it does not.
        sizes: of the network.
    """
    seed = int(torch.randint(2**62, (), generator=generator))
    # Layers and their dropout draw from torch's own state, which is put back afterwards.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made: nn.Module = {"lstm": BiLSTM, "setformer": SetFormer}[network](vectors.shape[1], targets.shape[1], **sizes)
        optimizer = torch.optim.Adam(made.parameters(), lr=learning_rate)
        schedule = torch.optim.lr_scheduler.StepLR(optimizer, 10, 0.95)
        order = torch.randperm(len(sets)).tolist()
        held = order[: int(len(order) * held_out)]
        shown = order[len(held) :]
        best, least = None, math.inf
        left = math.inf if steps is None else steps
        for epoch in range(1, epochs + 1):
            made.train()
            batches = _batches([len(sets[index]) for index in shown], batch)
            for places in batches[: int(min(left, len(batches)))]:
                chosen = [shown[place] for place in places]
                some = [_subset(sets[index], subset_above)[:context] for index in chosen]
                predictions = made(*_padded(vectors, some))
                loss = set_loss(predictions, targets[chosen], contrast=contrast, temperature=temperature)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            schedule.step()
            left -= len(batches)
            if held and (epoch % CHECKED == 0 or epoch == epochs or left <= 0):
                said = predict(made.eval(), vectors, [sets[index] for index in held], batch=batch, context=context)
                found = float(set_loss(said, targets[held], contrast=contrast, temperature=temperature))
                if found < least:
                    best, least = copy.deepcopy(made.state_dict()), found
            if left <= 0:
                break
        if best is not None:
            made.load_state_dict(best)
    return made.eval()


@torch.no_grad()
def predict(
    network: nn.Module, vectors: Tensor, sets: Sequence[Tensor], *, batch: int = 256, context: int = 256
) -> Tensor:
    """Return the network's vector for each set."""
    parts = [
        network(*_padded(vectors, [some[:context] for some in sets[start : start + batch]]))
        for start in range(0, len(sets), batch)
    ]
    return torch.cat(parts)


def _padded(vectors: Tensor, sets: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    lengths = torch.tensor([len(some) for some in sets])
    return pad_sequence([vectors[some] for some in sets], batch_first=True), lengths


def _subset(some: Tensor, above: int) -> Tensor:
    if len(some) <= above or float(torch.rand(())) >= 0.5:
        return some
    kept = max(1, int(len(some) * (0.5 + 0.5 * float(torch.rand(())))))
    return some[torch.randperm(len(some))[:kept]]


def _batches(lengths: Sequence[int], size: int) -> list[list[int]]:
    order = torch.randperm(len(lengths)).tolist()
    batches = []
    for start in range(0, len(order), GROUP * size):
        group = sorted(order[start : start + GROUP * size], key=lengths.__getitem__)
        batches += [group[first : first + size] for first in range(0, len(group), size)]
    return batches
