"""Show what running a recipe would take: bytes read and written, passes, memory."""

from scionwood.cli._values import Whole


def command(recipe: str, /, *, dtype: str | None = None, workers: Whole | None = None, json: bool = False) -> int:
    """Show what running a recipe would take: bytes read and written, passes, memory.

    Only headers are read. The digest at the end changes with the recipe, with any file that is read, and with what
    would be written; scionwood run --expect DIGEST runs the recipe only if it is still the same.

    Parameters
    ----------
    recipe
        The recipe, or the scionwood.yaml beside an output.
    dtype
        Store the weights as float32, float16 or bfloat16, whatever the recipe says.
    workers
        How many would work at once; as many as there are processors, at most 8, unless given.
    json
        Print it as JSON.
    """
    from scionwood.recipe.read import read_recipe

    read = read_recipe(recipe)  # a mistake has its answer before torch comes

    from scionwood.cli._terminal import print_json, print_lines
    from scionwood.engine.plan import Plan
    from scionwood.recipe.run import make

    made = make(read, dtype=dtype)
    plan = Plan.of(made.checkpoint, made.steps)
    if json:
        print_json(plan.to_json(workers))
    else:
        print_lines(plan.lines(workers))
    return 0
