"""The table of all verdicts, and the page of the docs around it."""

from __future__ import annotations

from collections.abc import Sequence

from parity.judge import Verdict

__all__ = ["failures", "page", "table"]

COLUMNS = (
    "configuration",
    "method",
    "dtype",
    "tensors",
    "equal",
    "steps",
    "mergekit's",
    "error",
    "mergekit's",
    "verdict",
)


def table(verdicts: Sequence[Verdict]) -> str:
    lines = [COLUMNS, ("---",) * len(COLUMNS)]
    for each in verdicts:
        verdict = "**differs**" if each.failures else each.said or "agrees"
        row = (each.name, each.methods, each.dtype, str(each.tensors or ""), each.equal, each.steps, each.peer_steps)
        lines.append((*row, each.error, each.peer_error, verdict))
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def failures(verdicts: Sequence[Verdict]) -> str:
    """What fails, a line each."""
    lines = [f"- {each.name}: {failure}" for each in verdicts for failure in each.failures]
    agree = sum(not each.failures for each in verdicts)
    return "\n".join([f"{agree} of {len(verdicts)} configurations agree.", *(["", *lines] if lines else [])])


def page(verdicts: Sequence[Verdict]) -> str:
    return TEXT.replace("TABLE", table(verdicts)).replace("FAILURES", failures(verdicts))


TEXT = """# Parity with mergekit

`scionwood merge config.yml OUT` reads a configuration of mergekit as it is. This page compares the two on the same files
and the same models, small ones of random numbers: Llamas, and T5s and BARTs for modules. It is written by a command, which makes an environment of its own
for mergekit 0.1.5 and fails where a claim does:

```console
$ make parity
```

TABLE

FAILURES

## What is compared

- Names, shapes and dtypes of all tensors agree, and so does what the config says of them. Rows of a merged vocabulary
  are compared token by token: mergekit numbers new tokens in the order of a hash table.
- The reference is mergekit's own run of the file with `dtype: float64`, rounded once to the dtype of the output. Arcee
  fusion is compared with `dtype: float32`: its importance is a difference that cancels, and float64 selects other
  elements. So is TIES on merged vocabularies: a row that the base lacks is the average of the others', their deltas
  cancel, and rounding elects the sign.
- *equal* is the share of elements that are the same bits. *steps* is the largest distance to the reference, in steps to
  the next number of the output's dtype; beside it stands that of mergekit's own `dtype: float32` run. Where sums cancel,
  a step is that of float32 at the size of what went in. The claim: within one step, or no further than mergekit's
  float32.
- *error* is the norm of the distance to the reference, as a share of the norm of what the merge changed (of the base,
  or of the first model where there is none); beside it stands that of mergekit's run of the file as it is, in the
  arithmetic that it asks for. The claim: not larger than mergekit's by more than 2 %, or everything within one step.
  Scionwood computes in float32 whatever a file asks for.
- Deltas of half precision have few distinct magnitudes. Where several lie on a threshold, mergekit keeps as many of
  them as fit, in the order of its sort, and scionwood keeps them all: they are counted, and taken apart.
- SCE on half precision: a few elements are selected by one and not by the other, about as many as in mergekit's own
  float32 run. Their variances are equal but for rounding, and lie on the threshold (of 3 models of 512 x 512 in bfloat16
  413 do, and all 214 that float32 and float64 select differently are among them).
- Random methods are compared in distribution: the largest z-score over tensors of the share that was changed against
  the density, that of the difference of the means, and the ratio of the variances.
- Vocabularies of unequal length without a tokenizer: mergekit refuses them unless it is run with
  `--unsafe-truncate-embeddings`, scionwood merges the rows that all have, and warns.
"""
