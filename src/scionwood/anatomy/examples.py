"""Example inputs for models that come without: what the forward's signature names, in the sizes that the config names.

Nothing here knows a family. A kind of input (tokens, pictures, sounds, series …) is known by the parameter's name, which the transformers
library uses alike everywhere; where a size is not to be known beforehand, several are tried.
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["example_inputs"]

BATCH = 2
TEXT_LENGTHS = (7, 16, 64)
AUDIO_LENGTHS = (4000, 16000)
FRAMES = 64
ATTEMPTS = 48
"""After that many failures a model is taken for one that wants something else."""

_PRIMARY = (
    "input_ids",
    "pixel_values",
    "pixel_values_videos",
    "input_values",
    "input_features",
    "past_values",
    "states",
    "spectrogram",
    "flattened_patches",
)
_COMPANIONS = (
    "decoder_input_ids", "decoder_input_values", "encoder_hidden_states", "bbox", "visual_feats", "visual_pos", "visual_embeds",
    "past_values_padding", "freq", "past_time_features", "past_observed_mask", "future_values", "future_time_features", "actions", "rewards", "returns_to_go",
    "timesteps", "spatial_shapes", "pixel_attention_mask", "speaker_embeddings", "image_embeds_position_mask",
)  # fmt: skip
_MASKS = ("attention_mask", "decoder_attention_mask")


def example_inputs(module: nn.Module, settings: Any, length: int | None = None) -> Iterator[dict[str, Tensor]]:
    """Sets of inputs to try, the richest first; what the forward's signature names decides which.

    Args:
        module: whose ``forward`` says what it takes.
        settings: its config, which says the sizes.
        length: of how many tokens texts are; several are tried, unless given.
    """
    takes = inspect.signature(module.forward).parameters
    main = getattr(module, "main_input_name", "input_ids")
    present = [name for name in _PRIMARY if name in takes]
    required = [
        name
        for name, parameter in takes.items()
        if parameter.default is parameter.empty and parameter.kind is not parameter.VAR_KEYWORD
    ]
    sets = [present, [main], *[[name] for name in present], required]
    if not present:
        sets = [[main], required]
    config = getattr(module, "config", settings)
    tried: list[dict[str, Any]] = []
    for tokens in _lengths(config) if length is None else (length,):
        maker = _Maker(config, tokens)
        for names, masks in itertools.product(sets, ((), _MASKS)):
            chosen = [*names, *(name for name in (*_COMPANIONS, *masks) if name in takes and name not in names)]
            for inputs in maker.sets(chosen, required):
                form = {name: tensor.shape for name, tensor in inputs.items()}
                if form not in tried and form and len(tried) < ATTEMPTS:
                    tried.append(form)
                    yield inputs


def _lengths(config: Any) -> tuple[int, ...]:
    """How many tokens to try: some models want a number that their segments divide."""
    asked = [_find(config, name) for name in ("segment_means_seq_len", "block_size", "encoder_seq_length")]
    longest = _find(config, "max_position_embeddings")
    longest = longest if isinstance(longest, int) and longest > 0 else max(TEXT_LENGTHS)
    wanted = [size for size in asked if isinstance(size, int) and 1 < size <= 64]
    return tuple(dict.fromkeys(size for size in (*TEXT_LENGTHS[:1], *wanted, *TEXT_LENGTHS[1:]) if size <= longest))


def _find(config: Any, *names: str) -> Any:
    """The first of these settings that the config or one of its parts has."""
    parts = [config, *(getattr(config, sub, None) for sub in getattr(config, "sub_configs", ()))]
    parts += [getattr(config, sub, None) for sub in ("encoder", "decoder", "backbone_config")]
    for name in names:
        for part in parts:
            value = part.get(name) if isinstance(part, Mapping) else getattr(part, name, None)
            if value is not None:
                return value
    return None


def _pair(size: Any) -> tuple[int, int]:
    return (int(size[0]), int(size[1])) if isinstance(size, (list, tuple)) else (int(size), int(size))


class _Maker:
    """Makes tensors for the names of a forward's parameters."""

    def __init__(self, config: Any, length: int) -> None:
        self.config = config
        self.length = length
        self.generator = torch.Generator().manual_seed(0)

    def sets(self, names: Sequence[str], required: Sequence[str]) -> Iterator[dict[str, Tensor]]:
        """Every combination of what these names may be; a name that nothing can be made for is left out, unless it is required."""
        options: dict[str, list[Tensor]] = {}
        for name in names:
            make: Callable[[], Iterator[Tensor]] | None = getattr(self, name, None)
            made = list(make()) if make is not None else []
            if made:
                options[name] = made
            elif name in required:
                return
        # What takes several forms varies slowest when it comes first.
        for combination in itertools.product(*options.values()):
            yield dict(zip(options, combination, strict=True))

    def _noise(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.generator)

    def _tokens(self, length: int, batch: int = BATCH) -> Tensor:
        parts = [self.config, *(getattr(self.config, name, None) for name in getattr(self.config, "sub_configs", ()))]
        found = [getattr(part, "vocab_size", None) for part in parts]
        smallest = min([64, *(size for size in found if isinstance(size, int))])
        return torch.randint(min(3, smallest - 1), smallest, (batch, length), generator=self.generator)

    # Text.

    def input_ids(self) -> Iterator[Tensor]:
        books = _find(self.config, "num_codebooks")
        placeholder, pictures = _find(self.config, "image_token_id", "image_token_index"), self._num_picture_tokens()
        if placeholder is not None and pictures:
            text = self._tokens(self.length)
            yield torch.cat([text[:, :1], torch.full((BATCH, pictures), placeholder), text[:, 1:]], 1)
        yield self._tokens(self.length)
        if books:
            yield self._tokens(self.length, BATCH * books)

    def _num_picture_tokens(self) -> int:
        asked = _find(self.config, "mm_tokens_per_image", "image_seq_length", "num_query_tokens")
        size, patch = _find(self.config, "image_size"), _find(self.config, "patch_size")
        if asked or not (size and patch):
            return asked or 0
        (height, width), (down, across) = _pair(size), _pair(patch)
        scale = _find(self.config, "scale_factor") or 1
        scale = scale if isinstance(scale, int) else 1
        merge = _find(self.config, "downsample_ratio") or 1
        return int((height // down) * (width // across) / scale**2 * merge**2)

    def decoder_input_ids(self) -> Iterator[Tensor]:
        if getattr(self.config, "is_encoder_decoder", False):
            yield self._tokens(max(self.length - 2, 2))

    def attention_mask(self) -> Iterator[Tensor]:
        yield torch.ones(BATCH, self.length, dtype=torch.long)

    def decoder_attention_mask(self) -> Iterator[Tensor]:
        if getattr(self.config, "is_encoder_decoder", False):
            yield torch.ones(BATCH, max(self.length - 2, 2), dtype=torch.long)

    def encoder_hidden_states(self) -> Iterator[Tensor]:
        if getattr(self.config, "add_cross_attention", False) or getattr(self.config, "is_decoder", False):
            width = _find(self.config, "cross_attention_hidden_size", "hidden_size", "d_model")
            if isinstance(width, int):
                yield self._noise(BATCH, self.length + 2, width)

    def hidden_states(self) -> Iterator[Tensor]:
        width = _find(self.config, "input_dim", "hidden_size", "d_model")
        if isinstance(width, int):
            yield self._noise(BATCH, self.length, width)

    def inputs(self) -> Iterator[Tensor]:
        yield self._tokens(self.length)

    def bbox(self) -> Iterator[Tensor]:
        if _find(self.config, "dim_bbox"):
            yield torch.rand(BATCH, self.length, 4, generator=self.generator)
            return
        corners = torch.tensor([1, 2, 5, 7])
        yield corners.expand(BATCH, self.length, 4).contiguous()
        yield (corners / 8).expand(BATCH, self.length, 4).contiguous()

    def flattened_patches(self) -> Iterator[Tensor]:
        count, width = _find(self.config, "seq_len"), _find(self.config, "patch_embed_hidden_size")
        if count and width:
            yield torch.cat([torch.ones(BATCH, count, 2), self._noise(BATCH, count, width)], 2)

    # Pictures.

    def pixel_values(self) -> Iterator[Tensor]:
        channels = _find(self.config, "num_channels") or 3
        size, patch = _find(self.config, "image_size", "input_size"), _find(self.config, "patch_size")
        sizes = [_pair(size)] if size else []
        count = _find(self.config, "num_patches")
        if isinstance(count, int) and isinstance(patch, int):
            yield self._noise(BATCH, count, channels * patch**2)
        frames = _find(self.config, "num_frames")
        for height, width in dict.fromkeys([*sizes, (64, 64), (224, 224)]):
            yield self._noise(BATCH, channels, height, width)
            if frames:
                yield self._noise(BATCH, frames, channels, height, width)

    def pixel_values_videos(self) -> Iterator[Tensor]:
        frames, size = (
            _find(self.config, "frames_per_clip", "num_frames"),
            _find(self.config, "crop_size", "image_size"),
        )
        if frames and size:
            yield self._noise(BATCH, frames, 3, *_pair(size))

    def spatial_shapes(self) -> Iterator[Tensor]:
        count = _find(self.config, "num_patches")
        if isinstance(count, int):
            side = int(count**0.5)
            yield torch.full((BATCH, 2), side)

    def pixel_attention_mask(self) -> Iterator[Tensor]:
        count = _find(self.config, "num_patches")
        if isinstance(count, int):
            yield torch.ones(BATCH, count, dtype=torch.long)

    def image_embeds_position_mask(self) -> Iterator[Tensor]:
        count = _find(self.config, "latent_query_num")
        if isinstance(count, int):
            yield (torch.arange(self.length) < count).expand(BATCH, self.length).contiguous()

    def visual_feats(self) -> Iterator[Tensor]:
        yield self._noise(BATCH, 5, _find(self.config, "visual_feat_dim"))

    def visual_pos(self) -> Iterator[Tensor]:
        yield self._noise(BATCH, 5, _find(self.config, "visual_pos_dim"))

    def visual_embeds(self) -> Iterator[Tensor]:
        width = _find(self.config, "visual_embedding_dim")
        if isinstance(width, int):
            yield self._noise(BATCH, 5, width)

    # Sounds.

    def input_values(self) -> Iterator[Tensor]:
        bins, length = _find(self.config, "num_mel_bins"), _find(self.config, "max_length")
        if bins and length:
            yield self._noise(BATCH, length, bins)
        for length in AUDIO_LENGTHS:
            yield self._noise(BATCH, length)
            yield self._noise(BATCH, 1, length)

    def input_features(self) -> Iterator[Tensor]:
        bins = _find(
            self.config,
            "num_mel_bins",
            "feature_projection_input_dim",
            "feature_size",
            "input_feat_per_channel",
            "input_dim",
        )
        bins = bins if isinstance(bins, int) else 80
        positions = _find(self.config, "max_source_positions")
        if positions:
            yield self._noise(BATCH, bins, 2 * positions)
        yield self._noise(BATCH, FRAMES, bins)
        yield self._noise(BATCH, bins, FRAMES)
        yield self._noise(BATCH, 1, FRAMES, bins)

    def spectrogram(self) -> Iterator[Tensor]:
        yield self._noise(BATCH, FRAMES, _find(self.config, "model_in_dim", "num_mel_bins") or 80)

    def decoder_input_values(self) -> Iterator[Tensor]:
        bins = _find(self.config, "num_mel_bins")
        if bins:
            yield self._noise(BATCH, self.length + 1, bins)

    def speaker_embeddings(self) -> Iterator[Tensor]:
        width = _find(self.config, "speaker_embedding_dim")
        if isinstance(width, int):
            yield self._noise(BATCH, width)

    # Series.

    def _past(self) -> int:
        lags = _find(self.config, "lags_sequence")
        return (_find(self.config, "context_length") or 32) + (max(lags) if lags else 0)

    def past_values(self) -> Iterator[Tensor]:
        channels = _find(self.config, "num_input_channels")
        if _find(self.config, "lags_sequence") and (_find(self.config, "input_size") or 1) == 1:
            yield self._noise(BATCH, self._past())
        elif channels:
            yield self._noise(BATCH, self._past(), channels)
        else:
            yield self._noise(BATCH, self._past())

    def past_values_padding(self) -> Iterator[Tensor]:
        yield torch.zeros(BATCH, self._past())

    def freq(self) -> Iterator[Tensor]:
        yield torch.ones(BATCH, 1, dtype=torch.long)

    def past_time_features(self) -> Iterator[Tensor]:
        yield self._noise(BATCH, self._past(), _find(self.config, "num_time_features") or 0)

    def past_observed_mask(self) -> Iterator[Tensor]:
        yield from (torch.ones_like(values) for values in self.past_values())

    def future_values(self) -> Iterator[Tensor]:
        if _find(self.config, "lags_sequence"):
            yield self._noise(BATCH, _find(self.config, "prediction_length"))

    def future_time_features(self) -> Iterator[Tensor]:
        yield self._noise(BATCH, _find(self.config, "prediction_length"), _find(self.config, "num_time_features") or 0)

    # Trajectories.

    def states(self) -> Iterator[Tensor]:
        yield self._noise(BATCH, self.length, _find(self.config, "state_dim"))

    def actions(self) -> Iterator[Tensor]:
        yield self._noise(BATCH, self.length, _find(self.config, "act_dim"))

    def rewards(self) -> Iterator[Tensor]:
        yield self._noise(BATCH, self.length, 1)

    def returns_to_go(self) -> Iterator[Tensor]:
        yield self._noise(BATCH, self.length, 1)

    def timesteps(self) -> Iterator[Tensor]:
        yield torch.arange(1, self.length + 1).expand(BATCH, self.length).contiguous()
