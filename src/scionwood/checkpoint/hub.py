"""Models of the Hugging Face hub, through ``huggingface_hub`` and its cache."""

import re
from pathlib import Path
from typing import NamedTuple

from scionwood.errors import DependencyError, SourceError

__all__ = ["HubName", "download", "parse_hub_name"]

_PART = r"[A-Za-z0-9](?:[\w.-]*[A-Za-z0-9_])?"
_HUB_NAME = re.compile(rf"(?:hf://)?(?P<repository>{_PART}/{_PART})(?:@(?P<revision>[\w./-]+))?")

_CONFIGS = ["*.json", "*.yaml", "*.txt", "*.md", "*.model", "*.tiktoken", "*.jinja", "*.py", "LICENSE*", "tokenizer*"]
_ELSEWHERE = ["onnx/*", "openvino/*", "original/*", "coreml/*", "consolidated*", "metal/*", ".*", "*/*/*"]


class HubName(NamedTuple):
    """``owner/name`` and, after an ``@``, a branch, tag or commit."""

    repository: str
    revision: str | None = None


def parse_hub_name(name: str) -> HubName | None:
    """Return the parts of a hub id, or None for what does not look like one.

    >>> parse_hub_name("hf://acme/oak@v2")
    HubName(repository='acme/oak', revision='v2')
    >>> parse_hub_name("./oak") is None
    True
    """
    found = _HUB_NAME.fullmatch(name)
    if not found or ".." in name or "--" in name:
        return None
    return HubName(found["repository"], found["revision"])


def download(name: HubName, *, weights: bool = True) -> tuple[Path, str]:
    """Bring a model into the hub's cache if it is not there, and return its folder and its commit.

    safetensors files come first; torch files are fetched only where there are none. With ``HF_HUB_OFFLINE=1`` only the
    cache is read.

    Args:
        name: which model.
        weights: fetch the weights, too, and not only the config and the small files.

    Raises:
        DependencyError: huggingface_hub is not installed.
        SourceError: the model, the revision or the network is not there, or access is not granted.
    """
    snapshot = _snapshot(name, [*_CONFIGS, *(["*.safetensors"] if weights else [])])
    if weights and not _has(snapshot, ".safetensors"):
        snapshot = _snapshot(name, [*_CONFIGS, "pytorch_model*.bin", "adapter_model.bin"])
    return snapshot, snapshot.name


def _has(snapshot: Path, suffix: str) -> bool:
    return any(path.name.endswith(suffix) for path in snapshot.iterdir())


def _snapshot(name: HubName, patterns: list[str]) -> Path:
    try:
        from huggingface_hub import errors, snapshot_download
    except ImportError:
        raise DependencyError(
            f"{name.repository} is on the Hugging Face hub, which takes the package huggingface_hub: "
            "pip install 'scionwood[hub]'"
        ) from None
    at = f"{name.repository}@{name.revision}" if name.revision else name.repository
    try:
        return Path(
            snapshot_download(
                name.repository, revision=name.revision, allow_patterns=patterns, ignore_patterns=_ELSEWHERE
            )
        )
    except errors.GatedRepoError:
        raise SourceError(
            f"Access to {at} is granted on its page of the hub.", hint="Ask there, then run: hf auth login"
        ) from None
    except errors.RevisionNotFoundError:
        raise SourceError(f"{name.repository} has no revision {name.revision!r} on the hub.") from None
    except errors.RepositoryNotFoundError:
        raise SourceError(
            f"There is no path and no public model {at} on the hub.", hint="For a private one, run: hf auth login"
        ) from None
    except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled):
        raise SourceError(
            f"There is no path {at}, and as a hub id it is not in the cache and the hub cannot be reached."
        ) from None
    except (errors.HfHubHTTPError, errors.HFValidationError, OSError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise SourceError(f"{at} cannot be fetched from the hub: {reason.rstrip('.')}.") from None
