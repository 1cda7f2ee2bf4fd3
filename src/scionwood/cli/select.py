"""Make a smaller model's weights by selecting from a larger one's."""

from pathlib import Path
from typing import Literal

from scionwood.cli._output import Output, check_delivery, deliver
from scionwood.cli._values import Whole


def command(
    source: str,
    /,
    *,
    like: str | None = None,
    out: Path | None = None,
    set: tuple[str, ...] = (),
    method: str = "uniform",
    depth: tuple[str, ...] = ("first",),
    head: Literal["selected", "fresh"] = "selected",
    rescale: Literal["variance"] | None = None,
    seed: Whole = 0,
    option: tuple[str, ...] = (),
    output: Output = Output(),
) -> int:
    """Make a smaller model's weights by selecting from a larger one's.

    The result is a folder that loads like any other checkpoint; 'scionwood methods select' lists the methods.

    Parameters
    ----------
    source
        The larger model: a folder, a .safetensors or torch file, or a hub id (owner/name, owner/name@revision).
    like
        The smaller model's shape: a folder with a config.json, or the file itself.
    out
        The folder to write, or one file where the name ends with .safetensors. It appears only when complete.
    set
        A size of the target, NAME=VALUE as in config.json, such as hidden_size=256; may be repeated, and changes what
        --like says.
    method
        How indices are chosen along every axis; 'scionwood methods select' lists the methods.
    depth
        Which layers stay: first, last, even, stride, without_middle, or their numbers, 0,2,5. For nets with several
        lists of blocks also LIST=RULE, once for each.
    head
        Select the classifier's weights, too, or initialise it anew even where its size is the same.
    rescale
        Multiply what reads a cut axis by sqrt(old size / new size), as weight subcloning does.
    seed
        For the methods that draw at random.
    option
        An option of the method, NAME=VALUE; may be repeated. 'scionwood methods select.METHOD' describes them.
    """
    from scionwood.cli import _values

    sizes = _values.config_values(set)
    options = _values.assignments("--option", option)  # strings: the method's own annotations say what they mean
    layers = _values.depth(depth)
    _values.require_output(out, dry_run=output.dry_run)

    # torch comes with these, so a wrong request has its answer before them.
    from scionwood.verbs.select import select

    check_delivery(out, [source, like], output)
    student = select(
        source,
        like=like,
        set=sizes or None,
        method=method,
        depth=layers,
        head=head,
        rescale=rescale,
        seed=seed,
        options=options,
    )
    return deliver(student, out, output)
