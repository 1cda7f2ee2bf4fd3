"""What only the demos need: the optional packages, and a transformers that keeps quiet."""

import contextlib
import importlib.util
from collections.abc import Iterator

from scionwood.errors import DependencyError

__all__ = ["quiet_transformers", "require"]


def require(*modules: str) -> None:
    """Refuse to go on without the packages that hold these modules; the error ends with the pip line.

    >>> require("json")
    >>> require("json", "no_such_module")
    Traceback (most recent call last):
        ...
    scionwood.errors.DependencyError: this demo needs no_such_module, which is not installed
    Hint: pip install 'scionwood[demo]'
    """
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    if missing:
        raise DependencyError(
            f"this demo needs {' and '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not installed",
            hint="pip install 'scionwood[demo]'",
        )


@contextlib.contextmanager
def quiet_transformers() -> Iterator[None]:
    """Silence the warnings and bars of transformers inside the context: errors still show."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
