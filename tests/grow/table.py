"""Grow every family along every dimension with every method, and write what the table in the docs is made from.

``python -m tests.grow.table``; with the names of families, only those are measured anew.
"""

import json
import logging
import sys
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from tests.architectures.zoo import LISTED
from tests.grow.preservation import grown
from tests.grow.zoo import DOUBLED, WIDER

from scionwood.errors import ScionwoodError

OUT = Path(__file__).parents[2] / "docs" / "preservation.json"
DEPTHS = ("stack", "interleave", "depth_up_scaling")
METHODS: dict[str, tuple[dict[str, Any], Mapping[str, Mapping[str, Mapping[str, Any]]]]] = {
    "hypercloning": ({"method": "hypercloning"}, DOUBLED),
    "bert2bert (fpi)": ({"method": "bert2bert", "options": {"expansion": "fpi"}}, DOUBLED),
    "bert2bert (aki)": ({"method": "bert2bert"}, WIDER),
    "net2net (balanced)": ({"method": "net2net", "options": {"balanced": True}}, DOUBLED),
    "net2net": ({"method": "net2net"}, WIDER),
    "copy_pad (zero)": ({"method": "copy_pad", "options": {"pad": "zero"}}, WIDER),
    "copy_pad (rms)": ({"method": "copy_pad", "options": {"pad": "rms"}}, WIDER),
    "copy_pad (mean)": ({"method": "copy_pad", "options": {"pad": "mean"}}, WIDER),
    "masked": ({"method": "masked"}, WIDER),
}
"""What the table calls a method: how the verb is asked, and the sizes it is asked for."""


def measure(family: str, sizes: Mapping[str, Any], how: Mapping[str, Any]) -> dict[str, Any]:
    """Grow once, and say how far the outputs are apart and what the ledger claims."""
    try:
        made = grown(LISTED[family], sizes, **how)
    except ScionwoodError as error:
        return {"preserved": False, "reason": str(error.problems[0] if error.problems else error.message)}
    found: dict[str, Any] = {"preserved": made.claims, "difference": float(f"{made.difference:.1g}")}
    if not made.claims:
        return found | {"reason": made.reasons[0]}
    if "eps" in next(entry.detail for entry in made.checkpoint.ledger or () if entry.action == "preserved"):
        exact = grown(LISTED[family], sizes, eps=0.0, **how)
        found["without_eps"] = float(f"{exact.difference:.1g}")
    return found


def cases(family: str) -> dict[str, dict[str, tuple[Mapping[str, Any], dict[str, Any]]]]:
    """For every method, for every dimension: the sizes, and how the verb is asked."""
    found: dict[str, dict[str, tuple[Mapping[str, Any], dict[str, Any]]]] = {}
    for name, (how, table) in METHODS.items():
        own = table.get(family, {})
        # Depth is a rule of its own, whatever the method; it is measured once.
        chosen = {key: sizes for key, sizes in own.items() if name == "hypercloning" or key not in ("depth", "all")}
        found[name] = {key: (sizes, how) for key, sizes in chosen.items()}
    depth = DOUBLED[family].get("depth")
    for rule in DEPTHS if depth else ():
        found[rule] = {"depth": (depth, {"depth": rule})}  # type: ignore[dict-item]
    return found


def main(names: list[str], out: Path) -> int:
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    figures: dict[str, Any] = json.loads(out.read_text(encoding="utf-8")) if names and out.is_file() else {}
    wrong = 0
    for family in names or list(DOUBLED):
        started = time.perf_counter()
        figures[family] = {
            method: {key: measure(family, sizes, how) for key, (sizes, how) in own.items()}
            for method, own in cases(family).items()
            if own
        }
        for method, own in figures[family].items():
            for key, found in own.items():
                # What is claimed must hold, but for the eps of norms.
                if found["preserved"] and min(found["difference"], found.get("without_eps", 1.0)) > 1e-5:
                    wrong += 1
                    sys.stderr.write(f"FALSE: {family}, {method}, {key}: {found}\n")
        sys.stderr.write(f"{family}: {time.perf_counter() - started:.0f} s\n")
        out.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], OUT))
