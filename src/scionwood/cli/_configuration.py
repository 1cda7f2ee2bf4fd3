"""A configuration of mergekit where a method would stand."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scionwood.cli._terminal import print_note
from scionwood.errors import RecipeError, ScionwoodError
from scionwood.recipe.document import read_documents
from scionwood.recipe.mergekit import Translation, is_mergekit, translate
from scionwood.recipe.read import Recipe, parse_recipe

__all__ = ["configured", "translated"]


def configured(
    method: str,
    models: Sequence[str],
    out: Path | None,
    request: Mapping[str, Any],
    *,
    dtype: str | None,
    settings: Mapping[str, Any],
) -> tuple[Path | None, Recipe | None]:
    """Return where to write, and the recipe that a configuration is; none where a method is named.

    Args:
        method: a method, or the file of a configuration.
        models: what stands after it: models, or where to write.
        out: where to write, as --out says it.
        request: what is asked for beside, by flag.
        dtype: what the result is stored as, whatever a configuration says.
        settings: the seed and the like, for every merge.

    Raises:
        ScionwoodError: two places, or flags that say what the configuration says.
        RecipeError: the configuration is wrong.
    """
    if not method.endswith((".yml", ".yaml")):
        return out, None
    place = _place(method, models, out, request)
    return place, parse_recipe(translated(method, dtype=dtype, settings=settings).recipe, method)


def _place(config: str, after: Sequence[str], out: Path | None, request: Mapping[str, Any]) -> Path | None:
    """Return where the result of a configuration goes: what stands after it, or --out.

    >>> _place("config.yml", ["merged"], None, {"base": None})
    PosixPath('merged')
    >>> _place("config.yml", ["a", "b"], None, {"base": "c"})
    Traceback (most recent call last):
    scionwood.errors.ScionwoodError: config.yml cannot be merged like this.
      - --base is said by the configuration
      - 2 places are given to write to
    Hint: scionwood merge config.yml OUT. To merge models without a file, name a method first.
    """
    flags = {"options": "--set"}
    problems = [
        f"{flags.get(name, '--' + name.replace('_', '-'))} is said by the configuration"
        for name, value in request.items()
        if value
    ]
    places = [*after, *([] if out is None else [str(out)])]
    if len(places) > 1:
        problems.append(f"{len(places)} places are given to write to")
    if problems:
        raise ScionwoodError(
            f"{config} cannot be merged like this.",
            problems=problems,
            hint=f"scionwood merge {config} OUT. To merge models without a file, name a method first.",
        )
    return Path(places[0]) if places else None


def translated(config: str, *, dtype: str | None = None, settings: Mapping[str, Any] | None = None) -> Translation:
    """Return the recipe that does what a configuration says; what it says without effect is told.

    Raises:
        RecipeError: the configuration is wrong, or is a recipe.
    """
    documents = read_documents(config)
    if not is_mergekit(documents):
        raise RecipeError(
            f"{config} is a recipe of scionwood's own.", hint=f"scionwood run {config} --out OUT runs it."
        )
    translation = translate(documents, config, dtype=dtype, settings=settings)
    for note in translation.notes:
        print_note(f"note: {note}")
    return translation
