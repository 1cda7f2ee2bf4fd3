"""Make one model's weights out of several models of one shape, or what a configuration of mergekit says."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from scionwood.cli._output import Output, Storing, check_delivery, deliver
from scionwood.cli._values import Whole


@dataclass(frozen=True, kw_only=True)
class Computing(Storing):
    """How models are merged, whatever the method.

    Parameters
    ----------
    device
        Where the arithmetic is done: cpu, or cuda on a machine that has such an accelerator.
    allow_nonfinite
        Merge NaN and infinity as they come; without it they are counted, and refused.
    """

    device: str = "cpu"
    allow_nonfinite: bool = False


@dataclass(frozen=True, kw_only=True)
class MergeOutput(Output, Computing):
    """The flags of every command that writes a checkpoint, those of the arithmetic among them."""


def command(
    method: str,
    models: tuple[str, ...] = (),
    /,
    *,
    base: str | None = None,
    out: Path | None = None,
    set: tuple[str, ...] = (),
    seed: Whole = 0,
    tokenizer: str | None = None,
    pad_to_multiple_of: Whole | None = None,
    chat_template: str | None = None,
    merge_space: Literal["product", "factors", "weight"] | None = None,
    rank: Whole | None = None,
    differences: Literal["common"] | None = None,
    output: MergeOutput = MergeOutput(),
) -> int:
    """Make one model's weights out of several models of one shape, or what a configuration of mergekit says.

    Arithmetic is float32 whatever the models are stored in; scionwood methods merge lists the methods.

    Parameters
    ----------
    method
        How tensors are merged: linear, task_arithmetic, ties, slerp, …; or a configuration of mergekit, a .yml file.
    models
        The models: folders, files of weights or hub ids, in the order of their weights. After a configuration: OUT.
    base
        What the models were fine-tuned from, for methods that merge differences; with adapters, what they are put on.
    out
        The folder to write, or one file where the name ends with .safetensors. It appears only when complete.
    set
        An option of the method, NAME=VALUE, such as density=0.3 or weights=1,0.5; may be repeated.
    seed
        For the methods that draw at random.
    tokenizer
        For models with different vocabularies: union, base, or the model whose tokenizer the result has.
    pad_to_multiple_of
        With a tokenizer: the rows of the embedding are brought up to a multiple of it.
    chat_template
        Of the result: auto for the one that most models have, alpaca, chatml, exaone, llama3, mistral, or a Jinja template.
    merge_space
        For PEFT adapters: merge their products (the default), their factors, or the base with each of them on it.
    rank
        For PEFT adapters: of the merged one; the sum of theirs unless given.
    differences
        What not all models have is refused; common merges it among those that have it.
    output.dtype
        Store the weights as float32, float16 or bfloat16; they keep the base's type unless asked.
    output.memory
        Most that tensors held whole may take at once, like 8GB; 1 GiB more than the largest needs, unless given.
    """
    from scionwood.cli import _configuration, _values

    request = {
        "base": base,
        "options": _values.assignments("--set", set),
        "tokenizer": tokenizer,
        "pad_to_multiple_of": pad_to_multiple_of,
        "chat_template": chat_template,
        "merge_space": merge_space,
        "rank": rank,
        "differences": differences,
    }
    settings = {"seed": seed, "device": output.device, "allow_nonfinite": output.allow_nonfinite}
    out, recipe = _configuration.configured(method, models, out, request, dtype=output.dtype, settings=settings)
    _values.require_output(out, dry_run=output.dry_run)
    # torch comes with these, so a wrong request has its answer before them.
    from scionwood.recipe.run import make
    from scionwood.verbs.merge import merge

    inputs = [*models, base] if recipe is None else [each.name for each in recipe.inputs()]
    check_delivery(out, inputs, output)
    made = merge(models, method=method, **request, **settings) if recipe is None else make(recipe).checkpoint
    # A configuration's recipe has stored it as it says, or as --dtype says.
    return deliver(made, out, output if recipe is None else replace(output, dtype=None))
