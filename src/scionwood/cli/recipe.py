"""Print the JSON Schema of recipes, for editors."""

from pathlib import Path
from typing import Literal


def command(action: Literal["schema"], /, *, out: Path | None = None) -> int:
    """Print the JSON Schema of recipes, for editors.

    An editor that is given the schema completes and checks recipes.

    Parameters
    ----------
    action
        schema: print the schema.
    out
        The file to write to, instead of printing; one that is there is refused.
    """
    import json

    from scionwood.cli._output import write_text
    from scionwood.recipe.schema import recipe_schema

    write_text(json.dumps(recipe_schema(), indent=2, ensure_ascii=False) + "\n", out)
    return 0
