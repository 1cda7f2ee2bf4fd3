"""The model card: what the hub and people read first."""

import re
from pathlib import Path
from typing import Any

import yaml

from scionwood.checkpoint.checkpoint import Checkpoint, format_bytes
from scionwood.checkpoint.hub import parse_hub_name
from scionwood.checkpoint.lineage import Lineage, Parent

__all__ = ["front_matter", "model_card", "parent_license"]

_RELATIONS = {"merge": "merge", "average": "merge", "quantize": "quantized", "adapt": "adapter"}
_FRONT_MATTER = re.compile(r"\A---\s*\n(.*?)\n---\s*(\n|\Z)", re.DOTALL)
_MOST_CARD_BYTES = 2_000_000


def model_card(name: str, checkpoint: Checkpoint, lineage: Lineage) -> str:
    """Return the text of ``README.md``: the fields that the hub reads, then what was made from what, and how.

    Args:
        name: the title.
        checkpoint: what is written.
        lineage: where it came from.
    """
    verb = str(lineage.recipe.get("verb", "write"))
    fields: dict[str, Any] = {}
    models = [parent for parent in lineage.parents if not (parent.is_file or parent.is_value)]
    if models:
        fields["base_model"] = list(dict.fromkeys(_model_name(parent) for parent in models))
        fields["base_model_relation"] = _RELATIONS.get(verb, "finetune")
    if checkpoint.config is not None:
        fields["library_name"] = "peft" if checkpoint.is_adapter else "transformers"
    licenses = list(dict.fromkeys(parent.license for parent in lineage.parents if parent.license))
    if len(licenses) == 1:
        fields["license"] = licenses[0]
    fields["tags"] = ["scionwood", verb]
    version = lineage.versions.get("scionwood")
    sections = [
        f"---\n{yaml.safe_dump(fields, sort_keys=False, allow_unicode=True)}---\n",
        f"# {name}\n",
        (
            f"Weights made by scionwood{f' {version}' if version else ''} (`{verb}`): {len(checkpoint.tensors):,} tensors, "
            f"{checkpoint.num_parameters:,} parameters, {format_bytes(checkpoint.nbytes)}.\n"
        ),
    ]
    if lineage.parents:
        rows = [_row(parent) for parent in lineage.parents]
        sections.append(
            "## Made from\n\n| role | model | revision | digest |\n|---|---|---|---|\n" + "\n".join(rows) + "\n"
        )
    if len(licenses) > 1:
        sections.append(f"The parents have different licences ({', '.join(licenses)}): all of them have to be kept.\n")
    recipe = yaml.safe_dump(lineage.to_dict()["recipe"], sort_keys=False, allow_unicode=True, width=110)
    seed = "" if lineage.seed is None else f"seed: {lineage.seed}\n"
    sections.append(f"## Recipe\n\n```yaml\n{recipe}{seed}```\n\nThe whole pedigree is in `scionwood.yaml`.\n")
    if checkpoint.ledger:
        lines = "\n".join(checkpoint.ledger.summary())
        sections.append(f"## What became of the tensors\n\n```text\n{lines}\n```\n")
    return "\n".join(sections)


def front_matter(text: str) -> dict[str, Any]:
    r"""Return the fields at the top of a model card; nothing where there are none, or none that can be read.

    >>> front_matter("---\nlicense: mit\n---\n# A model")
    {'license': 'mit'}
    """
    found = _FRONT_MATTER.match(text.replace("\r\n", "\n"))
    try:
        fields = yaml.safe_load(found[1]) if found else None
    except (yaml.YAMLError, ValueError, RecursionError):
        return {}
    return fields if isinstance(fields, dict) else {}


def parent_license(folder: Path | None) -> str | None:
    """Return the licence that the model card of a folder names."""
    if folder is None or not (folder / "README.md").is_file():
        return None
    try:
        with (folder / "README.md").open("rb") as file:
            text = file.read(_MOST_CARD_BYTES).decode("utf-8", errors="replace")
    except OSError:
        return None
    found = front_matter(text).get("license")
    return found if isinstance(found, str) else None


def _model_name(parent: Parent) -> str:
    """Return a hub id as it is, and of a path only the last name: where it lay is nobody's matter."""
    if parent.revision and (name := parse_hub_name(parent.source)):
        return name.repository
    return Path(parent.source).resolve().name or parent.source


def _row(parent: Parent) -> str:
    cells = (parent.role, _model_name(parent), parent.revision, f"`{parent.digest}`" if parent.digest else None)
    return "| " + " | ".join((cell or "").replace("|", "\\|") for cell in cells) + " |"
