"""The anatomy of every listed family is proved by its symmetry, twice, and a wrong rule is seen to fail."""

import json

import pytest
import torch
from tests.architectures.derived import derived, model
from tests.architectures.naive import largest_difference, shape_errors
from tests.architectures.plain import PLAIN
from tests.architectures.zoo import LISTED

from scionwood import anatomy
from scionwood.anatomy import walk
from scionwood.anatomy.atoms import pin
from scionwood.anatomy.derive import derive
from scionwood.anatomy.rules import RULES
from scionwood.errors import SymmetryError

NAMES = [*LISTED, *PLAIN]

LISTENING = ("Whisper", "wav2vec2", "HuBERT")
"""An encoder and a decoder of their own widths; a width that grouped convolutions cut in groups."""

BOUND = {
    "DeBERTa-v2": {"deberta.encoder.rel_embeddings.weight"},
}
"""Weights none of whose axes may be permuted, and rightly so."""


@pytest.mark.parametrize("name", NAMES)
def test_permuting_every_free_axis_changes_nothing(name):
    found = derived(name)
    checked = anatomy.symmetry.verify(model(name), found)
    assert len(checked) >= 3
    assert max(one.error for one in checked) < 5e-6
    weak = {one.axis: one.effect for one in checked if one.effect < 0.01}
    assert not weak, "a mistake on these axes would have gone unseen"


@pytest.mark.parametrize("name", NAMES)
def test_a_naive_check_of_the_json_agrees(name):
    described = json.loads(json.dumps(derived(name).to_json()))
    assert shape_errors(described) == []
    assert largest_difference(model(name), described) < 1e-3


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_unknown_and_every_weight_is_free_somewhere(name):
    found = derived(name)
    assert not found.unknown_ops
    assert found.coarse_share < 0.01
    for tensor in found.tensors.values():
        if sum(size > 1 for size in tensor.shape) < 2 or tensor.name in found.unused:
            continue
        kinds = {found.axes[leaf].kind for dim in tensor.dims for leaf in found.leaves(dim)}
        assert kinds & {"free", "output"} or tensor.name in BOUND.get(name, ()), f"{tensor.name}: {tensor.dims}"


@pytest.mark.parametrize(
    "name", [name for name, config in LISTED.items() if "vocab_size" in config and name not in LISTENING]
)
def test_the_width_of_a_text_model_is_one_axis_of_each_of_its_stacks(name):
    found = derived(name)
    # A grouped convolution over the residual stream (wav2vec 2.0) makes it groups x width.
    widths = [axis for axis in found.axes if axis.rpartition(".")[2] in ("hidden", "hidden_groups", "hidden_width")]
    assert 1 <= len(widths) <= 3
    assert all(found.axes[axis].kind in ("free", "output") for axis in widths)
    holders = {tensor for axis in widths for tensor, _ in found.occurrences(axis)}
    assert len(holders) > 0.3 * len(found.tensors)


def embedding_rows_are_free(call):
    return walk.Value([*call["indices"].dims, call["weight"].dims[1]])


def linear_forgets_its_input(call):
    return walk.Value([*call["input"].dims[:-1], call["weight"].dims[0]])


def norm_forgets_its_weight(call):
    return walk.Value(list(call["input"].dims))


def softmax_makes_a_new_axis(call):
    dims = call["self"].dims
    return walk.Value([*dims[:-1], call.walk.fresh(call.shape[-1])])


def attention_takes_keys_for_values(call):
    dims = call["query"].dims
    return walk.Value([*dims[:-1], call["query"].dims[-1]])


def taps_are_free(call):
    pinned, call.walk.pin = call.walk.pin, lambda dim, reason: None if reason == "kernel" else pin(dim, reason)
    try:
        return RULES["convolution"](call)
    finally:
        call.walk.pin = pinned


def halves_are_one(call):
    value = call["self"]
    place = call.dim()
    part, inner = call.walk.regroup([value.dims[place]], [len(call.result), call.result[0].shape[place]])
    del part
    return [value.like([*value.dims[:place], inner, *value.dims[place + 1 :]]) for _ in call.result]


@pytest.mark.parametrize(
    ("name", "operation", "broken"),
    [
        ("BERT", "embedding", embedding_rows_are_free),
        ("BERT", "linear", linear_forgets_its_input),
        ("BERT", "layer_norm", norm_forgets_its_weight),
        ("ViT", "scaled_dot_product_attention", attention_takes_keys_for_values),
        ("ResNet", "conv2d", taps_are_free),
        ("Phi-3", "chunk", halves_are_one),
    ],
)
def test_a_broken_rule_is_seen(name, operation, broken, monkeypatch):
    assert operation in RULES
    monkeypatch.setitem(RULES, operation, broken)
    wrong = derive(model(name))  # afresh
    with pytest.raises(SymmetryError, match="no symmetry of the model"):
        anatomy.symmetry.verify(model(name), wrong)


def test_the_naive_check_sees_a_positional_axis_called_free():
    described = derived("Llama").to_json()
    rotary = next(axis for axis, entry in described["axes"].items() if entry["kind"] == "positional")
    described["axes"][rotary]["kind"] = "free"
    assert largest_difference(model("Llama"), described) > 1e-2


def test_the_check_does_not_move_the_weights_it_was_given():
    built = model("MLP")
    before = {name: tensor.clone() for name, tensor in built.module.state_dict().items()}
    anatomy.symmetry.verify(built, derived("MLP"))
    assert all(torch.equal(tensor, before[name]) for name, tensor in built.module.state_dict().items())
