"""Random numbers that belong to elements: the same wherever a tile begins, on whatever thread or machine."""

import hashlib
import threading
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["Uniforms"]

LANES = 4
"""Numbers that one step of the generator is cut into, of 16 bits each."""

_MIDDLE = torch.tensor(0.5 + 2.0**-17)
"""What the middle of the signed numbers is to be."""


class _Thread(threading.local):
    """A generator for each thread, to be set to the place: a new one would cost as much as a tenth of a tile."""

    def __init__(self) -> None:
        self.generator = np.random.PCG64DXSM(0)


_thread = _Thread()


class Uniforms:
    """Numbers in [0, 1), one for each element of a tensor, keyed by the seed, the tensor's name and the model's number.

    The generator (PCG64 DXSM) can be set forward to any step at once, so that a tile costs no more than its own
    numbers. A number has 24 bits: 16 of its own, and below them 8 that its right neighbour has on top. The low ones
    decide only where the high ones are level with what they are compared to, once in 65,536 elements.

    >>> numbers = Uniforms(0, "weight", 1)
    >>> torch.equal(numbers.draw(0, 10)[3:7], numbers.draw(3, 7))
    True
    """

    def __init__(self, seed: int, name: str, model: int) -> None:
        digest = hashlib.sha256(f"{seed}\0{name}\0{model}".encode()).digest()
        self._origin: Any = np.random.PCG64DXSM(int.from_bytes(digest[:16], "little")).state

    def draw(self, start: int, stop: int) -> Tensor:
        """Return the numbers of the elements [start, stop)."""
        first, last = start // LANES, -(-(stop + 1) // LANES)
        _thread.generator.state = self._origin
        words = _thread.generator.advance(first).random_raw(last - first)
        lanes = torch.from_numpy(words.view(np.int16))[start - LANES * first :]
        count = stop - start
        low = (lanes[1 : count + 1] & -256).float()
        # Exact: the low bits end where the 24 bits of a float32 do.
        return torch.add(_MIDDLE, lanes[:count].float(), alpha=2.0**-16).add_(low, alpha=2.0**-32)
