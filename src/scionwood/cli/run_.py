"""Run a recipe: a file of steps."""

from pathlib import Path

from scionwood.cli._values import Whole


def command(
    recipe: str,
    /,
    *,
    out: Path | None = None,
    expect: str | None = None,
    dtype: str | None = None,
    shard_size: str = "5GB",
    overwrite: bool = False,
    restart: bool = False,
    workers: Whole | None = None,
    memory: str | None = None,
    json: bool = False,
    dry_run: bool = False,
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
    dtype
        Store the weights as float32, float16 or bfloat16, whatever the recipe says.
    shard_size
        The largest file to write.
    overwrite
        Replace OUT where a model is there already; without it, an OUT that is not empty is refused.
    restart
        Begin anew, where a run that was interrupted would be gone on with.
    workers
        How many read, compute and write at once; as many as there are processors, at most 8, unless given.
    memory
        Most that tensors which must be held whole may take at once, like 8GB; 1 GiB more than the largest needs, unless
        given.
    json
        Print the ledger, every tensor and why, as JSON.
    dry_run
        Print the ledger and the plan, and write nothing.
    """
    from scionwood.cli import _values

    _values.require_output(out, dry_run=dry_run)

    from scionwood.recipe.read import read_recipe

    read = read_recipe(recipe)

    # torch comes with these, so a wrong request has its answer before them.
    from scionwood.cli._output import check_delivery, deliver
    from scionwood.engine.plan import Plan
    from scionwood.recipe.run import make

    check_delivery(
        out,
        [source.name for source in read.inputs()],
        shard_size=shard_size,
        dtype=dtype,
        overwrite=overwrite,
        workers=workers,
        memory=memory,
    )
    made = make(read, dtype=dtype)
    if expect is not None:
        Plan.of(made.checkpoint, made.steps).check(expect)
    return deliver(
        made.checkpoint,
        out,
        steps=made.steps,
        shard_size=shard_size,
        dtype=None,
        overwrite=overwrite,
        restart=restart,
        workers=workers,
        memory=memory,
        json=json,
        dry_run=dry_run,
    )
