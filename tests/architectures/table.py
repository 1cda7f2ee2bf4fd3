"""Measure every family of the zoo and write what the table in the docs is made from: ``python -m tests.architectures.table``."""

import json
import logging
import math
import sys
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from tests.architectures.derived import source
from tests.architectures.further import FURTHER
from tests.architectures.plain import PLAIN
from tests.architectures.zoo import LISTED

from scionwood import anatomy
from scionwood.errors import AnatomyError

OUT = Path(__file__).parents[2] / "docs" / "architectures.json"
KINDS = ("free", "output", "input", "positional", "part", "kernel", "coarse")


def measure(name: str) -> dict[str, Any]:
    """Derive one family, prove it, and say what was found."""
    started = time.perf_counter()
    try:
        model = anatomy.model(source(name))
        found = anatomy.of(model)
        checked = anatomy.symmetry.verify(model, found)
    except AnatomyError as error:
        return {"symmetric": False, "note": str(error.problems[0] if error.problems else error).splitlines()[0]}
    counts = Counter(axis.kind for axis in found.axes.values() if axis.parts is None)
    unused = sum(math.prod(found.tensors[tensor].shape) for tensor in found.unused)
    coarse = found.coarse_share - unused / found.num_parameters
    return {
        "class": type(model.module).__name__,
        "symmetric": True,
        "tensors": len(found.tensors),
        **{kind: counts[kind] for kind in KINDS},
        "coarse_%": round(100 * max(coarse, 0.0), 2),
        "unused_%": round(100 * unused / found.num_parameters, 2),
        "unknown_operations": sorted(found.unknown_ops),
        "largest_error": float(f"{max(one.error for one in checked):.1g}"),
        "smallest_effect": float(f"{min(one.effect for one in checked):.1g}"),
        "seconds": round(time.perf_counter() - started, 1),
    }


def main(names: list[str], out: Path) -> None:
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    figures = {}
    for name in names or [*LISTED, *PLAIN, *FURTHER]:
        figures[name] = measure(name)
        sys.stderr.write(f"{name}: {figures[name]}\n")
    out.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:], OUT)
