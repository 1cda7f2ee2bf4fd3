"""Give a model the vocabulary of another tokenizer."""

from pathlib import Path
from typing import Any, Literal

from scionwood.cli._output import Output, check_delivery, deliver
from scionwood.cli._values import Whole


def command(
    source: str,
    /,
    *,
    tokenizer: str,
    method: str | None = None,
    out: Path | None = None,
    text: tuple[str, ...] = (),
    vectors: tuple[str, ...] = (),
    dictionary: str | None = None,
    inputs: Path | None = None,
    option: tuple[str, ...] = (),
    special: tuple[str, ...] = (),
    match: Literal["exact", "fuzzy"] = "exact",
    pad_to_multiple_of: Whole | None = None,
    report: Path | None = None,
    seed: Whole = 0,
    output: Output = Output(),
) -> int:
    """Give a model the vocabulary of another tokenizer: rows of its embedding and head for the new tokens.

    Tokens that both tokenizers have keep their rows; 'scionwood methods vocabulary' lists how the others begin. The result
    is a folder with the new tokenizer that loads like any other checkpoint.

    Parameters
    ----------
    source
        The model, with its own tokenizer beside it: a folder, or a hub id.
    tokenizer
        The new tokenizer: a folder, a tokenizer.json, a model that has one, or a hub id.
    method
        How rows for new tokens are made, mean_subword unless given; 'scionwood methods vocabulary' lists the methods.
        For a report, the methods that it has, with commas; all of them unless given, those that learn for minutes in short.
    out
        The folder to write. It appears only when complete.
    text
        A file of text that the new tokenizer is for, for methods that learn from it; may be repeated.
    vectors
        A file of word vectors, or two: of the old language and of the new; as word2vec (text or binary), GloVe or fastText
        (.vec, .bin) write them, gzip'd or not. Methods that need vectors train small ones on --text unless given.
    dictionary
        A file of word pairs, a word of the old language and one of the new on each line: by them wechsel turns the first of
        two --vectors into the second; by the words that both have unless given.
    inputs
        A safetensors file of what only you can give: for speech_tokens units, the number of the new token of each frame, and
        frames, a row of features for each; for focus anchors, which of the new tokens others may be mixed from.
    option
        An option of the method, NAME=VALUE; may be repeated. 'scionwood methods vocabulary.METHOD' describes them. In a
        report every method takes it that has it.
    special
        PURPOSE=TOKEN: the new token that serves as bos, eos, unk, pad, cls, sep or mask, where the tokenizer does not say.
    match
        Which tokens keep their rows: those of the same text, or with fuzzy also those of the same letters, whatever their
        case and whether or not a space stands before them.
    pad_to_multiple_of
        Add rows up to a multiple of this.
    report
        Print every method side by side on this text, and write nothing: shared tokens, tokens a word, the bits per byte
        that the model begins with. --option and --pad-to-multiple-of count, --out is refused.
    seed
        Of everything random.
    output.json
        Print the ledger, or the report, as JSON.
    """
    from scionwood.cli import _values

    options = _values.assignments("--option", option)  # strings: the method's own annotations say what they mean
    special_tokens = _values.assignments("--special", special)
    asked: dict[str, Any] = {"text": text, "vectors": vectors, "dictionary": dictionary, "special": special_tokens}
    asked |= {"match": match, "seed": seed}
    asked["pad_to_multiple_of"] = pad_to_multiple_of
    if report is not None:
        from scionwood.cli._vocabulary_report import print_report

        _values.refuse_output(out, "--report")
        if inputs is not None:
            from scionwood.checkpoint import open as open_checkpoint

            asked["inputs"] = open_checkpoint(inputs).state_dict()
        wanted = [] if method is None else method.split(",")
        return print_report(source, tokenizer, wanted, options, str(report), asked, json=output.json)
    _values.require_output(out, dry_run=output.dry_run)

    from scionwood.verbs.vocabulary import vocabulary

    check_delivery(out, [source, tokenizer], output)
    method = method or "mean_subword"
    made = vocabulary(source, tokenizer=tokenizer, method=method, options=options, inputs=inputs, **asked)
    return deliver(made, out, output)
