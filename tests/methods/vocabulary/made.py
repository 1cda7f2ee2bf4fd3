"""What the tests of vocabularies share: a drawn case, and what came of it as a table."""

import torch


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def case(sources=100, targets=60, shared=20, dim=16, width=12, seed=0):
    """A table, an overlap in which some targets are source tokens, and vectors for both, one target without."""
    generator = seeded(seed)
    table = torch.randn(sources, dim, generator=generator)
    overlap = torch.full((targets,), -1)
    overlap[:shared] = torch.randperm(sources, generator=generator)[:shared]
    source = torch.randn(sources, width, generator=generator)
    target = torch.randn(targets, width, generator=generator)
    target[-1] = 0
    return table, overlap, source, target


def table_of(rows, table):
    return rows.apply(table)


def statuses(rows):
    return {status: count for status, count in rows.counts.items() if count}
