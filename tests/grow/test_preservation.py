"""A grown model computes what its source computes, wherever the ledger says so; and the ledger says nothing else."""

import pytest
import torch
from tests.architectures.zoo import LISTED
from tests.grow.preservation import grown
from tests.grow.zoo import DOUBLED, WIDER

QUICK = {
    "Llama": ("all",),
    "GPT-2": ("head width",),
    "BERT": ("all",),
    "ConvNeXt": ("all",),
}
CASES = [
    pytest.param(family, name, marks=[] if name in QUICK.get(family, ()) else [pytest.mark.slow])
    for family, sizes in DOUBLED.items()
    for name in sizes
]


@pytest.mark.parametrize(("family", "name"), CASES)
def test_hypercloning_preserves(family: str, name: str) -> None:
    made = grown(LISTED[family], DOUBLED[family][name])
    if family == "BERT" and name == "depth":
        assert made.reasons == [f"encoder.layer.{n}: the stream passes layer_norm inside the block" for n in (1, 3)]
        assert made.difference > 0.1
        return
    assert made.reasons == []
    assert made.difference < 1e-5


@pytest.mark.parametrize(("family", "pad"), [("Llama", "rms"), ("GPT-2", "mean")])
def test_padding_is_exact_but_for_the_norms_eps(family: str, pad: str) -> None:
    name = "all" if family == "Llama" else "hidden"
    made = grown(LISTED[family], WIDER[family][name], method="copy_pad", options={"pad": pad}, eps=0.0)
    assert made.claims
    assert made.difference < 1e-5
    (said,) = [entry.detail for entry in made.checkpoint.ledger or () if entry.action == "preserved"]
    assert "but for the norms' eps, which weighs 1." in said


@pytest.mark.parametrize(
    ("family", "name", "how", "reason"),
    [
        ("GPT-2", "hidden", {"method": "copy_pad", "options": {"pad": "zero"}}, "a norm is along an axis padded"),
        ("GPT-2", "hidden", {"method": "copy_pad", "options": {"pad": "rms"}}, "new zeros move the mean that a layer"),
        ("BERT", "hidden", {"method": "copy_pad", "options": {"pad": "mean"}}, "is not only read but passed on"),
        (
            "Llama",
            "hidden",
            {"method": "net2net"},
            "a mean is along|a norm is along an axis of 48 that is copied unequally",
        ),
        ("BERT", "inner", {"method": "masked"}, "new weights are drawn on both sides"),
        ("BERT", "inner", {"method": "bert2bert"}, "new rows are the next block's"),
    ],
)
def test_what_changes_the_function_is_said(family: str, name: str, how: dict, reason: str) -> None:
    import re

    made = grown(LISTED[family], WIDER[family][name], **how)
    assert not made.claims
    assert all(re.search(reason, said) for said in made.reasons), made.reasons
    assert made.difference > 3e-4


@pytest.mark.parametrize("rule", ["stack", "interleave", "depth_up_scaling"])
def test_blocks_that_come_twice_change_the_function(rule: str) -> None:
    made = grown(LISTED["GPT-2"], {"n_layer": 3}, depth=rule)
    assert made.reasons == ["transformer.h has blocks of the source several times"]
    assert made.difference > 0.01


@pytest.mark.parametrize("method", ["net2net", "bert2bert", "copy_pad"])
def test_inner_axes_of_any_size_are_exact_without_norms_along_them(method: str) -> None:
    options = {"bert2bert": {"expansion": "fpi"}}.get(method, {})
    made = grown(LISTED["BERT"], WIDER["BERT"]["inner"], method=method, options=options)
    assert made.claims
    assert made.difference < 1e-5


def test_a_mistake_is_seen() -> None:
    """The comparison itself: a correction left out shows."""
    made = grown(LISTED["GPT-2"], DOUBLED["GPT-2"]["head width"])
    with torch.no_grad():
        made.target.state_dict(keep_vars=True)["transformer.ln_f.weight"].mul_(2)
    assert made.again() > 0.1
