"""What every test may rely on: no network, one thread, cases drawn alike, models built once, and no settings of a caller."""

import os

# Set before anything imports huggingface_hub, transformers or torch: they read it once.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["OMP_NUM_THREADS"] = "1"  # models this small are fastest on one, and `make test` runs a test on each core
os.environ.pop("SCIONWOOD_DEBUG", None)

import dataclasses
import json
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

COMMON = {
    "deadline": None,
    "report_multiple_bugs": False,
    "suppress_health_check": [HealthCheck.too_slow, HealthCheck.filter_too_much],
}
# The suite says of one commit the same on every machine; `pytest --hypothesis-profile explore` draws new cases.
settings.register_profile("repeatable", derandomize=True, **COMMON)
settings.register_profile("explore", **COMMON)
settings.load_profile("repeatable")

BUILT = 64
"""So many models are kept: one takes a few megabytes, and is asked for again soon or not at all."""


@pytest.fixture(autouse=True, scope="session")
def built_once() -> Iterator[None]:
    """Build and derive a config once: it takes a second, and nothing changes what comes out."""
    from scionwood import anatomy

    models: OrderedDict[str, Any] = OrderedDict()
    derived: dict[int, Any] = {}
    build, derive = anatomy.from_config, anatomy.derive

    def from_config(config: Any, source: str = "config") -> Any:
        key = config.to_json_string() if hasattr(config, "to_json_string") else json.dumps(config, sort_keys=True)
        if key not in models:
            models[key] = build(config, source)
            if len(models) > BUILT:
                _, oldest = models.popitem(last=False)
                derived.pop(id(oldest.program), None)
        models.move_to_end(key)
        return dataclasses.replace(models[key], source=source)

    def derive_once(model: Any) -> Any:
        if not any(model.program is kept.program for kept in models.values()):
            return derive(model)
        key = id(model.program)
        if key not in derived:
            derived[key] = derive(model)
        return dataclasses.replace(derived[key], source=model.source)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(anatomy, "from_config", from_config)
        patch.setattr(anatomy, "derive", derive_once)
        yield
