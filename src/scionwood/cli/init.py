"""Give a model that has no donor its first weights."""

from pathlib import Path

from scionwood.cli._output import Output, check_delivery, deliver
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
    output: Output = Output(),
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
    output.dtype
        Store the weights as float32, float16 or bfloat16.
    output.json
        Print the ledger, or the explanation, as JSON.
    """
    from scionwood.cli import _values

    options = _values.assignments("--option", option)  # strings: the method's own annotations say what they mean
    if explain:
        return _explain(config, method, options, seed, only, json=output.json)
    _values.require_output(out, dry_run=output.dry_run)

    from scionwood.verbs.initialize import initialize

    check_delivery(out, [config], output)
    made = initialize(config, method=method, options=options, seed=seed, only=only, inputs=data)
    return deliver(made, out, output)


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
