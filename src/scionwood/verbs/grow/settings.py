"""Settings: those in which a target differs from its source by more than sizes, and what a short text does not show of them.

Which operations a model does, its graph shows for any text. Which places see each other (a window, the buckets of distances, how far
they reach) shows only in texts that are longer than these. So where such a setting differs, both models are looked at once more, with
a text that is long enough.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from scionwood.anatomy import Model, from_config
from scionwood.anatomy.absorb import Absorber
from scionwood.anatomy.build import shapes_with
from scionwood.anatomy.corrections.alike import differences
from scionwood.anatomy.match import Match
from scionwood.anatomy.trace import prune
from scionwood.errors import AnatomyError

__all__ = ["unseen"]

LONGEST = 512
"""The most tokens of a text that models are looked at with."""
_BEYOND = 3
_TEXTS = ("input_ids", "decoder_input_ids", "inputs")
_SILENT = re.compile(
    r"_?name_or_path|architectures|model_type|(torch_)?dtype|transformers_version|.*_implementation(_internal)?|.*_version"
    r"|.*token_ids?|.*token_index|bos_index|eos_index|pad_index|id2label|label2id|num_labels|problem_type|finetuning_task"
    r"|task_specific_params|tokenizer_class|.*initializer.*|init_.*|.*_init|.*_std|.*drop(out)?(_.*)?|.*pdrop|.*layerdrop|.*_loss.*"
    r"|.*jitter.*|use_cache|return_dict.*|output_.*|gradient_checkpointing|pretraining_tp|chunk_size_feed_forward|tie_encoder_decoder"
    r"|is_llama_config|summary_.*|auto_map|quantization_config"
)
"""Names, what counts in training alone, and what any text shows: they tell nothing of long ones."""
_LIMIT = re.compile(
    r"max_position_embeddings|n_positions|n_ctx|seq_length|max_seq_len(gth)?|max_sequence_length|max_length"
)
"""How long a text may be: tables of positions get more rows, and nothing else changes; but where positions are scaled by it."""
_SCALED = ("dynamic", "longrope")
_COUNTED = re.compile(r".*(head|expert)s?.*")
"""What any text shows, as it divides what every token has."""
_REACH = re.compile(r".*(window|chunk|distance|block_size|bucket).*")
"""What says how far tokens see."""


def unseen(source: Model, target: Model, match: Match) -> list[str]:
    """Return what settings change that the graphs of two models do not show, in words; nothing for modules without configs.

    Args:
        source: the smaller model.
        target: the larger one, of which the graph is known to do the same.
        match: their axes side by side.
    """
    if source.config is None or target.config is None:
        return []
    before, after = _flat(source.config.to_dict()), _flat(target.config.to_dict())
    named = [
        path
        for path in dict.fromkeys([*before, *after])
        if before.get(path) != after.get(path)
        and not _SILENT.fullmatch(path[-1])
        and not _COUNTED.fullmatch(path[-1])
        and not any(_SILENT.fullmatch(part) for part in path)
        and not _follows(before.get(path), after.get(path), match)
        and not isinstance(after.get(path, before.get(path)), float)
    ]
    told = {path: f"{'.'.join(path)} is {after.get(path)}, was {before.get(path)}" for path in named}
    scaled = any(value in _SCALED for settings in (before, after) for value in settings.values())
    limits = [path for path in named if _LIMIT.fullmatch(path[-1])]
    if scaled and limits:
        return [f"{told[limits[0]]}, and longer texts scale their positions by it"]
    open_ = [path for path in named if path not in limits and not _is_size(source, target, path, before, after)]
    tables = [
        sizes[1]
        for name, sizes in match.sizes.items()
        if sizes[0] != sizes[1] and "table" in match.target.axes[name].tags
    ]
    if not open_ and not tables:
        return []
    reach = {path: list(_numbers((before.get(path), after.get(path)))) for path in open_}
    if open_:
        reach |= {
            path: list(_numbers((before.get(path), after.get(path))))
            for path in dict.fromkeys([*before, *after])
            if _REACH.fullmatch(path[-1]) and path not in reach
        }
    farthest = max([*tables, *(number for numbers in reach.values() for number in numbers)], default=0)
    return list(_longer(source, target, match, farthest + _BEYOND, [told[path] for path in open_]))


def _longer(source: Model, target: Model, match: Match, length: int, told: Sequence[str]) -> Iterator[str]:
    """What a text of so many tokens shows, or that it cannot be looked at."""
    short = max((source.inputs[1][name].shape[-1] for name in _TEXTS if name in source.inputs[1]), default=None)
    if short is None or length <= short:
        return  # without texts nothing is longer
    why = "; ".join(told) or "a table of distances grows"
    if length > LONGEST:
        yield f"{why}: what this does may show only in texts of more than {LONGEST} tokens, which are not looked at"
        return
    try:
        models = [from_config(model.config, model.source, length=length) for model in (target, source)]
    except AnatomyError:
        yield f"{why}: what this does may show only in texts of {length} tokens, which the models do not take"
        return
    for model in models:
        prune(model)
    mine, old = (
        Absorber(model, anatomy.ties) for model, anatomy in zip(models, (match.target, match.source), strict=True)
    )
    for said in differences(mine, old, match):
        yield f"{why}: in a text of {length} tokens, {said}"


def _flat(config: Mapping[str, Any], path: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    """The settings of a config and of its parts, by path."""
    found: dict[tuple[str, ...], Any] = {}
    for name, value in config.items():
        if isinstance(value, Mapping):
            found |= _flat(value, (*path, str(name)))
        else:
            found[*path, str(name)] = value
    return found


def _follows(old: Any, new: Any, match: Match) -> bool:
    """Whether a list with an entry for each block says of every block what it said of the source's."""
    if not isinstance(old, list) or not isinstance(new, list):
        return False
    return any(
        len(chosen) == len(new) and max(chosen, default=0) < len(old) and new == [old[block] for block in chosen]
        for chosen in match.depth.values()
    )


def _numbers(given: Any) -> Iterator[int]:
    if isinstance(given, (list, tuple)):
        for each in given:
            yield from _numbers(each)
    elif isinstance(given, int) and not isinstance(given, bool):
        yield given


def _is_size(
    source: Model, target: Model, path: tuple[str, ...], before: Mapping[Any, Any], after: Mapping[Any, Any]
) -> bool:
    """Whether the shapes of tensors hang on a setting; also where neither model can be without its own."""
    answers = [_reshapes(source, path, after.get(path)), _reshapes(target, path, before.get(path))]
    return answers[0] if answers[0] is not None else answers[1] is not False


def _reshapes(model: Model, path: tuple[str, ...], value: Any) -> bool | None:
    """Whether a model has other tensors with another setting; nothing where there is no such model."""
    shapes = {name: tuple(tensor.shape) for name, tensor in model.module.state_dict(keep_vars=True).items()}
    other = shapes_with(model, path, value)
    return None if other is None else other != shapes
