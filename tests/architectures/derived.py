"""Models and anatomies of the zoo, made once for all tests of a run."""

import functools

from tests.architectures.further import FURTHER
from tests.architectures.nets import NETS
from tests.architectures.plain import PLAIN
from tests.architectures.zoo import LISTED

from scionwood import anatomy
from scionwood.anatomy import Anatomy, Model


def source(name: str) -> object:
    """What the anatomy of this family is derived from: a config, or ``package.module:factory``."""
    factory = PLAIN.get(name) or NETS.get(name)
    if factory is not None:
        return f"{factory.__module__}:{factory.__name__}"
    return LISTED.get(name) or FURTHER[name]


@functools.cache
def model(name: str) -> Model:
    return anatomy.model(source(name))


@functools.cache
def derived(name: str) -> Anatomy:
    return anatomy.of(model(name))
