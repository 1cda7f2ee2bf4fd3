"""The bytes of a tensor, as they are stored."""

import torch
from torch import Tensor

__all__ = ["bytes_of"]


def bytes_of(tensor: Tensor) -> memoryview:
    """Return the values of a tensor in row-major order as bytes; a view, where it is contiguous and on the CPU.

    >>> bytes_of(torch.tensor([1.0], dtype=torch.bfloat16)).hex()
    '803f'
    """
    flat = tensor.detach().resolve_conj().resolve_neg().cpu().contiguous().reshape(-1)
    # A read-only page shown as writable is safe here: nobody writes into it, and numpy cannot say bfloat16.
    return flat.view(torch.uint8).numpy().data if flat.numel() else memoryview(b"")
