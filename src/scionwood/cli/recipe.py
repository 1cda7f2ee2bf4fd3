"""Print the JSON Schema of recipes, for editors, or the recipe that a file of mergekit is."""

from pathlib import Path
from typing import Literal


def command(action: Literal["schema", "convert"], file: str | None = None, /, *, out: Path | None = None) -> int:
    """Print the JSON Schema of recipes, for editors, or the recipe that a file of mergekit is.

    An editor that is given the schema completes and checks recipes. What scionwood merge makes of a configuration of
    mergekit is what scionwood run makes of its conversion.

    Parameters
    ----------
    action
        schema: print the schema. convert: print a configuration of mergekit as a recipe.
    file
        For convert: the configuration.
    out
        The file to write to, instead of printing; one that is there is refused.
    """
    import json

    from scionwood.errors import ScionwoodError

    if (file is None) == (action == "convert"):
        message = f"scionwood recipe {action} takes {'a file' if action == 'convert' else 'no file'}"
        raise ScionwoodError(message, hint="scionwood recipe convert CONFIG, or scionwood recipe schema")
    if file is None:
        from scionwood.recipe.schema import recipe_schema

        text = json.dumps(recipe_schema(), indent=2, ensure_ascii=False) + "\n"
    else:
        from scionwood.cli._configuration import translated

        text = translated(file).to_yaml()

    from scionwood.cli._output import write_text

    write_text(text, out)
    return 0
