"""Compare scionwood with mergekit on every configuration, print a table, and leave with 1 where a claim fails.

PYTHONPATH=benchmarks python -m parity --peer PATH/TO/mergekit-yaml [--only WORDS] [--write docs/parity.md]
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

from parity import page
from parity.configurations import CONFIGURATIONS
from parity.judge import judge
from parity.models import write_models
from parity.runs import run_ours, run_theirs


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", default=os.environ.get("MERGEKIT"), help="mergekit-yaml of an environment of its own")
    parser.add_argument("--only", default="", help="configurations whose names begin with this")
    parser.add_argument("--write", type=Path, help="the page of the docs to write")
    options = parser.parse_args()
    if options.peer is None:
        parser.error("--peer or MERGEKIT must name mergekit-yaml; `make parity` makes an environment with it")
    chosen = [configuration for configuration in CONFIGURATIONS if configuration.name.startswith(options.only)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_models(folder / "models")
        print(f"mergekit merges {len(chosen)} configurations, in three precisions …", file=sys.stderr)
        theirs = run_theirs(chosen, folder, Path(options.peer))
        verdicts = []
        for number, configuration in enumerate(chosen):
            ours = run_ours(configuration, number, folder)
            verdicts.append(judge(configuration, number, folder, ours, theirs[number]))
    print(page.table(verdicts))
    print(page.failures(verdicts))
    if options.write:
        options.write.write_text(page.page(verdicts), encoding="utf-8")
    return int(any(verdict.failures for verdict in verdicts))


if __name__ == "__main__":
    sys.exit(main())
