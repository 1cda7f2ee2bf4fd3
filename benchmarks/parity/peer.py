"""Run mergekit on a list of jobs, in its own environment and one process: it starts slowly.

    python peer.py JOBS.json OUTCOMES.json

The jobs are a list of ``{"tool": "yaml" | "multi" | "pytorch", "config": FILE, "out": FOLDER, "seed": NUMBER}``; what
came of each, null or the error, is written as a JSON list.
"""

from __future__ import annotations

import json
import logging
import sys
import tempfile
from pathlib import Path

from mergekit.scripts import merge_raw_pytorch, multimerge, run_yaml


def run(job: dict, adapted: str) -> str | None:
    """Run one job; models with adapters on them are made once, under ``adapted``, as mergekit keeps their places."""
    command = {"yaml": run_yaml, "multi": multimerge, "pytorch": merge_raw_pytorch}[job["tool"]].main
    with tempfile.TemporaryDirectory() as scratch:
        arguments = [job["config"], job["out"], *job["flags"]]
        if job["tool"] == "multi":
            arguments = [job["config"], "--out-path", job["out"], "--intermediate-dir", scratch, *job["flags"]]
        arguments += ["--quiet", "--random-seed", str(job["seed"]), "--lora-merge-cache", adapted]
        try:
            command(arguments, standalone_mode=False)
        except Exception as error:  # noqa: BLE001, mergekit's own, of any kind
            return f"{type(error).__name__}: {error}"
    return None


if __name__ == "__main__":
    logging.disable(logging.ERROR)  # of tokenizers that the models do not have
    with tempfile.TemporaryDirectory() as adapted:
        outcomes = [run(job, adapted) for job in json.loads(Path(sys.argv[1]).read_text())]
    Path(sys.argv[2]).write_text(json.dumps(outcomes))
