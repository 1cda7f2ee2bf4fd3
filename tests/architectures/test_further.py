"""Families and plain modules that nobody had in mind when the rules were written: derived, proved, and mostly fine-grained."""

import math

import pytest
from tests.architectures.derived import derived, model, source
from tests.architectures.further import COARSE, FURTHER, REFUSED
from tests.architectures.naive import shape_errors
from tests.architectures.nets import NETS, REFUSED_NETS

from scionwood import anatomy
from scionwood.errors import AnatomyError


def prove(name: str) -> None:
    found = derived(name)
    assert shape_errors(found.to_json()) == []
    anatomy.symmetry.verify(model(name), found)
    read = [tensor for tensor in found.tensors.values() if tensor.name not in found.unused]
    coarse = sum(
        math.prod(tensor.shape)
        for tensor in read
        if any(found.axes[leaf].kind == "coarse" for dim in tensor.dims for leaf in found.leaves(dim))
    )
    assert (coarse < 0.01 * sum(math.prod(tensor.shape) for tensor in read)) == (name not in COARSE)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in FURTHER if name not in REFUSED])
def test_a_further_family_is_symmetric(name):
    prove(name)


@pytest.mark.parametrize("name", list(NETS))
def test_a_plain_module_is_symmetric(name):
    prove(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(REFUSED))
def test_what_cannot_be_traced_is_refused_in_one_sentence(name):
    with pytest.raises(AnatomyError, match=REFUSED[name]):
        anatomy.of(source(name))


@pytest.mark.parametrize("name", list(REFUSED_NETS))
def test_a_module_whose_flow_depends_on_values_is_refused(name):
    with pytest.raises(AnatomyError) as refused:
        anatomy.of(*REFUSED_NETS[name]())
    assert "its control flow depends on the values of tensors" in str(refused.value).splitlines()[0]
