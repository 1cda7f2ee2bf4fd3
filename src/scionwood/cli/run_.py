"""Run a recipe: a file of steps."""

from dataclasses import replace
from pathlib import Path

from scionwood.cli._output import Output, check_delivery, deliver


def command(
    recipe: str,
    /,
    *,
    out: Path | None = None,
    expect: str | None = None,
    output: Output = Output(),
) -> int:
    """Run a recipe: a file of steps.

    Paths in a recipe are taken from the current directory, as on the command line. The scionwood.yaml beside an output is
    a recipe, too.

    Parameters
    ----------
    recipe
        The recipe, a YAML file.
    out
        The folder to write, or one file where the name ends with .safetensors. It appears only when complete.
    expect
        The digest that scionwood plan has printed: refuse to run if the recipe or an input has changed since.
    output.dtype
        Store the weights as float32, float16 or bfloat16, whatever the recipe says.
    output.dry_run
        Print the ledger and the plan, and write nothing.
    """
    from scionwood.cli import _values

    _values.require_output(out, dry_run=output.dry_run)

    from scionwood.recipe.read import read_recipe

    read = read_recipe(recipe)

    # torch comes with these, so a wrong request has its answer before them.
    from scionwood.engine.plan import Plan
    from scionwood.recipe.run import make

    check_delivery(out, [source.name for source in read.inputs()], output)
    made = make(read, dtype=output.dtype)
    if expect is not None:
        Plan.of(made.checkpoint, made.steps).check(expect)
    return deliver(made.checkpoint, out, replace(output, dtype=None), steps=made.steps)  # made is of that type
