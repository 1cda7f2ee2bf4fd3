"""What every test may rely on: no network, and a caller's settings do not leak in."""

import os

# Set before anything imports huggingface_hub or transformers: they read it once.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ.pop("SCIONWOOD_DEBUG", None)
