"""Show the named axes of every tensor of a model."""

import sys
from pathlib import Path


def command(model: str, /, *, json: bool = False) -> int:
    """Show the named axes of every tensor of a model, derived from the model's own graph.

    Weights are not needed, and none are read.

    Parameters
    ----------
    model
        A folder with a config.json, the file itself, a hub id, or package.module:factory, a function that returns
        a module and its example inputs (a tuple or a dict); the current directory is importable.
    json
        Print the whole anatomy as JSON.
    """
    from scionwood import anatomy
    from scionwood.cli._terminal import print_json, print_renderable

    sys.path.insert(0, str(Path.cwd()))
    found = anatomy.of(model)
    if json:
        print_json(found.to_json())
    else:
        print_renderable(found.table())
    return 0
