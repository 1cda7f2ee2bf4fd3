"""Random numbers that belong to elements: the same wherever a tile begins, on whatever thread or machine."""

import functools
import hashlib
import math
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["Lanes", "Uniforms"]

OWN, LOWER = 8, 16
"""Bits of a number that are its own, and below them those that are mixed."""

LANES = 64 // OWN
"""Numbers that one word of the generator is cut into."""

_ODD = np.random.PCG64DXSM(0).random_raw(LANES) | np.uint64(1)
"""For each lane an odd factor: its product with a word has bits of all of the word on top. Multiples of one would not do:
their products lie on a lattice."""


class _Thread(threading.local):
    """A generator for each thread, to be set to the place: a new one would cost as much as a tenth of a tile."""

    def __init__(self) -> None:
        self.generator = np.random.PCG64DXSM(0)


_thread = _Thread()


class Lanes:
    """A number in [0, 1) for each element of a tile, of which its comparison with a probability is made, and no more.

    The number has 24 bits: a byte of its own, and below it 16 that are mixed from the word it is in. Those decide only
    where the byte is level with what it is compared to, once in 256 elements, and are made there alone.

    Args:
        words: of the generator.
        start: the number of bytes before the first element's.
        form: the shape of the tile.
        device: where the answer is wanted.
    """

    def __init__(self, words: np.ndarray, start: int, form: Sequence[int], device: str = "cpu") -> None:
        self._words = words
        self._start = start
        self._form = tuple(form)
        self._device = device

    def below(self, probability: float | Tensor) -> Tensor:
        """Return for each element whether its number is below a probability: one for all, or one for each column.

        >>> Uniforms(0, "weight", 1).draw(0, (4,)).below(0.5)
        tensor([False, False,  True,  True])
        """
        level, rest = _bound_of_all(probability) if isinstance(probability, float) else _bound(probability)
        own = self._own().reshape(self._form)
        below = own < level
        if rest.any():
            ties = np.flatnonzero(own == level)
            below.reshape(-1)[ties] = self._lower(ties) < (rest[ties % self._form[-1]] if rest.ndim else rest)
        return torch.from_numpy(below).to(self._device)

    @property
    def numbers(self) -> Tensor:
        """The numbers themselves.

        >>> Uniforms(0, "weight", 1).draw(0, (4,)).numbers
        tensor([0.5383, 0.7136, 0.4873, 0.4818])
        """
        own = self._own()
        whole = (own.astype(np.uint32) << LOWER) + self._lower(np.arange(len(own)))
        return torch.from_numpy((whole * 2.0 ** -(OWN + LOWER)).astype(np.float32)).reshape(self._form)

    def _own(self) -> np.ndarray:
        return self._words.view(np.uint8)[self._start :][: math.prod(self._form)]

    def _lower(self, places: np.ndarray) -> np.ndarray:
        places = places + self._start
        return (self._words[places // LANES] * _ODD[places % LANES] >> np.uint64(64 - LOWER)).astype(np.uint32)


def _bound(probability: float | Tensor) -> tuple[Any, Any]:
    """Return what a number's own byte is compared with, and what its lower bits are where it is level."""
    bound = probability.cpu().numpy() if isinstance(probability, Tensor) else probability
    least = np.ceil(np.multiply(bound, 1 << (OWN + LOWER), dtype=np.float64)).astype(np.uint32)
    level = np.minimum(least >> LOWER, (1 << OWN) - 1).astype(np.uint8)
    return level, least - (level.astype(np.uint32) << LOWER)


_bound_of_all = functools.lru_cache(maxsize=64)(_bound)
"""The same for a number that is asked for tile after tile."""


class Uniforms:
    """Numbers in [0, 1), one for each element of a tensor, keyed by the seed, the tensor's name and the model's number.

    The generator (PCG64 DXSM) can be set forward to any step at once, so that a tile costs no more than its own
    numbers.

    >>> numbers = Uniforms(0, "weight", 1)
    >>> torch.equal(numbers.draw(0, (10,)).numbers[3:7], numbers.draw(3, (4,)).numbers)
    True
    """

    def __init__(self, seed: int, name: str, model: int) -> None:
        digest = hashlib.sha256(f"{seed}\0{name}\0{model}".encode()).digest()
        self._origin: Any = np.random.PCG64DXSM(int.from_bytes(digest[:16], "little")).state

    def draw(self, start: int, form: Sequence[int], device: str = "cpu") -> Lanes:
        """Return the numbers of as many elements, from that one on, as a tile of this shape has."""
        first, last = start // LANES, -(-(start + math.prod(form)) // LANES)
        _thread.generator.state = self._origin
        words = _thread.generator.advance(first).random_raw(last - first)
        return Lanes(words, start - LANES * first, form, device)
