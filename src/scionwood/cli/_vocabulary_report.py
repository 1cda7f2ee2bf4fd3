"""The report of vocabularies as a table."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scionwood.verbs.vocabulary import Report

__all__ = ["print_report"]

SHOWN = {
    "causal": "causal: each token from those before it",
    "masked": "masked: every seventh token from the others",
    "prefix": "prefix: the second half of each piece from the first, which the encoder reads",
    None: "the model predicts no tokens",
}


def print_report(
    source: str,
    tokenizer: str,
    methods: list[str],
    options: dict[str, str],
    text: str,
    asked: dict[str, Any],
    *,
    json: bool,
) -> int:
    """Ask the methods and print what came of it, measured on a file of text; they learn from it, too, where there is no other."""
    from dataclasses import asdict

    from scionwood.cli._terminal import print_json, print_lines, print_note
    from scionwood.verbs.vocabulary import report
    from scionwood.verbs.vocabulary.vocabulary import setting_of

    setting = setting_of(source, tokenizer, **{**asked, "text": asked["text"] or [text]})
    found = report(
        setting,
        methods,
        options=options,
        text=[text],
        progress=lambda name, number, count: print_note(f"{number} of {count}: {name}"),
    )
    if not asked["text"]:
        print_note(
            "methods that learn from a text learned from the one they are measured on; --text gives them another"
        )
    if json:
        print_json(asdict(found))
        return 0
    fuzzy = f"{found.overlaps['fuzzy']:,} whatever their case and a space before them (--match fuzzy)"
    print_lines(
        [
            f"{found.overlaps['exact']:,} of {found.tokens:,} tokens are in both vocabularies, {fuzzy}",
            f"tokens a word      {found.fertility[0]:.3f} before, {found.fertility[1]:.3f} after",
            f"bytes a token      {found.bytes_per_token[0]:.3f} before, {found.bytes_per_token[1]:.3f} after",
            f"bits a byte        {_shown(found.before)} before, with the model's own tokenizer; {SHOWN[found.loss]}",
            "",
        ]
    )
    _print_methods(found)
    return 0


def _print_methods(found: "Report") -> None:
    from rich.table import Table

    from scionwood.cli._terminal import print_renderable

    after = "bits a byte after" + (f" ({found.loss})" if found.loss else "")
    table = Table("method", "copied", "mixed", "made", "drawn", after, "", box=None, pad_edge=False)
    lines = sorted(found.lines, key=lambda line: (line.bits is None, line.bits or 0.0, bool(line.note)))
    for line in lines:
        counts = [f"{line.counts[status]:,}" if line.counts else "" for status in ("copied", "mixed", "made", "drawn")]
        table.add_row(line.method, *counts, _shown(line.bits), line.note)
    print_renderable(table)


def _shown(bits: float | None) -> str:
    return "" if bits is None else f"{bits:.3f}"
