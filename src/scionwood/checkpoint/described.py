"""A file of tensors that says itself what they are: one safetensors file, with a description in its metadata.

For what is trained beside models and is no model: whoever saves it says under a key of its own what it takes to build it
again. The description is JSON; the file opens like any other.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from scionwood.checkpoint.checkpoint import Checkpoint
from scionwood.checkpoint.folder import expanded
from scionwood.checkpoint.header import parse_header
from scionwood.checkpoint.mapping import MappedFile
from scionwood.checkpoint.staging import check_free_space, check_output, output_errors, staged, sync
from scionwood.checkpoint.strict_json import parse_json_object
from scionwood.errors import OutputError

__all__ = ["description_of", "write_described"]


def write_described(
    path: str | os.PathLike[str],
    tensors: Mapping[str, Tensor],
    key: str,
    description: Mapping[str, Any],
    *,
    overwrite: bool = False,
) -> Path:
    """Write tensors and their description to one file, which appears under its name only when complete.

    Args:
        path: ends with ``.safetensors``.
        tensors: by name, all in memory.
        key: of the description among the metadata.
        description: plain data.
        overwrite: put it in the place of an old file.

    Raises:
        OutputError: the name is another kind of file's, it exists, or it cannot be written.
    """
    from safetensors.torch import save

    path = expanded(path)
    if path.suffix != ".safetensors":
        raise OutputError(
            f"{path} is to be a safetensors file, and has another name.",
            hint="Give a name that ends with .safetensors.",
        )
    target = check_output(path, (), overwrite=overwrite)
    told = {key: json.dumps(description, ensure_ascii=False, separators=(",", ":"))}
    content = save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, told)
    check_free_space(target, len(content))
    with staged(target, overwrite=overwrite) as part, output_errors(target):
        part.output.write_bytes(content)
        sync(part.output)
    return path


def description_of(checkpoint: Checkpoint, key: str) -> dict[str, Any] | None:
    """Return the description of the one file that a checkpoint was opened from; nothing, where it has none.

    Raises:
        SourceError: the description is no JSON object.
    """
    files = [path for path in checkpoint.files.values() if path.suffix == ".safetensors"]
    if len(files) != 1 or len(checkpoint.files) != 1:
        return None
    text = parse_header(MappedFile(files[0], checkpoint.source)).metadata.get(key)
    return None if text is None else parse_json_object(text.encode(), f"the description in {checkpoint.source}")
