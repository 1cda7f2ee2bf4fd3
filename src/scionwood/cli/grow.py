"""Make a larger model's weights by growing a smaller one's."""

from pathlib import Path

from scionwood.cli._output import Output, check_delivery, deliver
from scionwood.cli._values import Whole


def command(
    source: str,
    /,
    *,
    like: str | None = None,
    out: Path | None = None,
    set: tuple[str, ...] = (),
    method: str = "hypercloning",
    depth: tuple[str, ...] = (),
    text: tuple[str, ...] = (),
    second: str | None = None,
    seed: Whole = 0,
    option: tuple[str, ...] = (),
    output: Output = Output(),
) -> int:
    """Make a larger model's weights by growing a smaller one's.

    The result is a folder that loads like any other checkpoint; 'scionwood methods grow' lists the methods. The ledger
    says whether it computes what the source computes, what was corrected for that, and if it does not, why.

    Two methods, hypernetwork and denoised_weights, predict: the source is what was trained to do so, and the ledger says
    which tensors were predicted, and how the others begin.

    Parameters
    ----------
    source
        The smaller model: a folder, a .safetensors or torch file, or a hub id (owner/name, owner/name@revision). For
        methods that predict, the file that a trained predictor was saved to.
    like
        The larger model's shape: a folder with a config.json, or the file itself. For methods that predict, the model
        to be given weights; for denoised_weights a file of weights will do, for names and shapes.
    out
        The folder to write, or one file where the name ends with .safetensors. It appears only when complete.
    set
        A size of the target, NAME=VALUE as in config.json, such as hidden_size=2048; may be repeated, and changes what
        --like says.
    method
        How every axis grows; 'scionwood methods grow' lists the methods.
    depth
        Which layers a deeper target has: block_expansion (unless given), stack (for ligo, unless given), interleave,
        depth_up_scaling, stage_sharing, linear_expansion, or the source's layers, 0,1,1,2. LIST=RULE, once for each,
        where there are several lists of blocks.
    text
        A file of text that the method learns on (ligo); may be repeated. It learns whenever the command runs, a dry
        run included.
    second
        Another model of the source's shape, for the method that joins two (mixture_growth).
    seed
        For everything that is drawn: noise between copies, and new weights.
    option
        An option of the method, NAME=VALUE; may be repeated. 'scionwood methods grow.METHOD' describes them.
    """
    from scionwood.cli import _values

    sizes = _values.config_values(set)
    options = _values.assignments("--option", option)  # strings: the method's own annotations say what they mean
    layers = _values.depth(depth) if depth else None
    _values.require_output(out, dry_run=output.dry_run)

    # torch comes with these, so a wrong request has its answer before them.
    from scionwood.verbs.grow import grow

    check_delivery(out, [source, like, second], output)
    grown = grow(
        source,
        like=like,
        set=sizes or None,
        method=method,
        depth=layers,
        text=text,
        second=second,
        seed=seed,
        options=options,
    )
    return deliver(grown, out, output)
