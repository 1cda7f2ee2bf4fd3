"""Give a model that has no donor its first weights."""

from pathlib import Path

from scionwood.cli._values import Whole


def command(
    config: str,
    /,
    *,
    method: str = "layer_index",
    out: Path | None = None,
    option: tuple[str, ...] = (),
    only: tuple[str, ...] = (),
    data: Path | None = None,
    seed: Whole = 0,
    explain: bool = False,
    dtype: str | None = None,
    shard_size: str = "5GB",
    overwrite: bool = False,
    restart: bool = False,
    workers: Whole | None = None,
    memory: str | None = None,
    json: bool = False,
    dry_run: bool = False,
) -> int:
    """Give a model that has no donor its first weights, each by what it is in the model's own graph.

    The result is a folder that loads like any other checkpoint; 'scionwood methods initialize' lists the methods. What
    a method does not set begins as the model's class begins it, and is listed.

    Parameters
    ----------
    config
        The model: a folder with a config.json, the file itself, or a hub id.
    method
        How weights are drawn; 'scionwood methods initialize' lists the methods.
    out
        The folder to write, or one file where the name ends with .safetensors. It appears only when complete.
    option
        An option of the method, NAME=VALUE; may be repeated. 'scionwood methods initialize.METHOD' describes them.
    only
        Tensors to initialise, as '*.mlp.*'; may be repeated. Others are left.
    data
        A batch for methods that measure the outputs of layers: a .safetensors or torch file of the inputs by name, or
        one array as .npy.
    seed
        Of everything random.
    explain
        Print what every tensor is in the model and what it would get; nothing is written.
    dtype
        Store the weights as float32, float16 or bfloat16.
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
        Print the ledger, or the explanation, as JSON.
    dry_run
        Print the ledger and write nothing.
    """
    from scionwood.cli import _values

    options = _values.assignments("--option", option)  # strings: the method's own annotations say what they mean
    if explain:
        return _explain(config, method, options, seed, only, json=json)
    _values.require_output(out, dry_run=dry_run)

    from scionwood.cli._output import check_delivery, deliver
    from scionwood.verbs.initialize import initialize

    check_delivery(
        out, [config], shard_size=shard_size, dtype=dtype, overwrite=overwrite, workers=workers, memory=memory
    )
    made = initialize(config, method=method, options=options, seed=seed, only=only, inputs=data)
    return deliver(
        made,
        out,
        shard_size=shard_size,
        dtype=dtype,
        overwrite=overwrite,
        restart=restart,
        workers=workers,
        memory=memory,
        json=json,
        dry_run=dry_run,
    )


def _explain(config: str, method: str, options: dict[str, str], seed: int, only: tuple[str, ...], *, json: bool) -> int:
    from dataclasses import asdict

    from rich.table import Table
    from rich.text import Text

    from scionwood import anatomy
    from scionwood.cli._terminal import print_json, print_renderable
    from scionwood.verbs.initialize.explain import explain, rows
    from scionwood.verbs.initialize.initialize import drawing_of

    lines = explain(drawing_of(anatomy.model(config), method, options, seed, None, only))
    if json:
        print_json([asdict(line) for line in lines])
        return 0
    columns = ("tensor", "is", "shape", "fan in / out", "layer", "in its branch", "reads", "gets")
    table = Table(*columns, box=None, pad_edge=False)
    for row in rows(lines):
        table.add_row(*map(Text, row))  # names have brackets, which are not markup
    print_renderable(table)
    return 0
