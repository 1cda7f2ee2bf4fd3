"""Print the JSON Schema of recipes."""

from typing import Literal


def command(action: Literal["schema"], /) -> int:
    """Print the JSON Schema of recipes.

    An editor that is given the schema completes and checks recipes.

    Parameters
    ----------
    action
        schema: print the schema.
    """
    from scionwood.cli._terminal import print_json
    from scionwood.recipe.schema import recipe_schema

    print_json(recipe_schema())
    return 0
