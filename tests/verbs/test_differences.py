"""Merges of models that differ: by a tensor, by a tied head, by rows of the embedding."""

import dataclasses
import re

import pytest
import torch

from scionwood.checkpoint import open as open_checkpoint
from scionwood.errors import MatchError, MethodError
from scionwood.verbs.merge import merge


def model(value, *, rows=5, tied=False, bias=False):
    tensors = {"model.embed_tokens.weight": torch.full((rows, 2), float(value)), "up.weight": torch.full((2, 2), value)}
    tensors |= {} if tied else {"lm_head.weight": torch.full((rows, 2), 10.0 * value)}
    tensors |= {"up.bias": torch.full((2,), float(value))} if bias else {}
    config = {"architectures": ["LlamaForCausalLM"], "vocab_size": rows, "tie_word_embeddings": tied}
    return dataclasses.replace(open_checkpoint(tensors), config=config, source=f"model {value:g}")


def test_a_tensor_that_some_lack_is_refused_and_can_be_merged_among_the_others():
    models = [model(1.0), model(2.0, bias=True), model(4.0, bias=True)]
    with pytest.raises(MatchError, match=r"up.bias is not in model 1"):
        merge(models)
    with pytest.warns(UserWarning, match=r"Not all models have up.bias; the ledger says which do"):
        made = merge(models, options={"weights": [5, 3, 1]}, differences="common")
    assert torch.allclose(made["up.bias"], torch.full((2,), (3 * 2 + 4) / 4))  # by the weights of those that have it
    (entry,) = [each for each in made.ledger or () if each.name == "up.bias"]
    assert entry.detail == "of model 2, model 4, which have it"


def test_what_only_one_model_has_is_copied():
    with pytest.warns(UserWarning, match=r"Not all models have up.bias"):
        made = merge([model(1.0), model(3.0, bias=True)], method="slerp", differences="common")
    assert torch.equal(made["up.bias"], torch.full((2,), 3.0))
    assert [each.name for each in made.ledger or () if each.action == "copied"] == ["up.bias"]


def test_models_of_different_depths_are_refused():
    short, deep = ({f"layers.{n}.up": torch.ones(2) for n in range(count)} for count in (2, 3))
    with pytest.raises(MatchError, match=r"layers.0 to 1(.|\n)*layers.0 to 2"):
        merge([short, deep], differences="common")


def test_what_the_base_lacks_has_no_difference():
    with pytest.raises(MatchError, match=r"up.bias is not in model 0"):
        merge([model(1.0, bias=True)], base=model(0.0), method="task_arithmetic", differences="common")


@pytest.mark.parametrize("tied_first", [True, False])
def test_a_tied_head_is_the_embedding_where_another_model_has_one(tied_first):
    tied, own = model(1.0, tied=True), model(3.0)
    made = merge([tied, own] if tied_first else [own, tied], differences="common")
    assert torch.equal(made["lm_head.weight"], torch.full((5, 2), (1 + 30) / 2))
    assert not made.ties
    assert made.config is not None
    assert made.config["tie_word_embeddings"] is False


def test_embeddings_are_cut_to_the_rows_that_all_have():
    said = (
        "The models have vocabularies of 5, 6 rows: the first 5 are merged and the others left out, by number and not by "
        "token; a tokenizer (--tokenizer union, or tokenizer_source: union in a file of mergekit) keeps them all."
    )
    with pytest.warns(UserWarning, match=f"^{re.escape(said)}$"):
        made = merge([model(1.0, rows=6), model(3.0, rows=5)], differences="common")
    assert torch.equal(made["model.embed_tokens.weight"], torch.full((5, 2), 2.0))
    assert made.config is not None
    assert made.config["vocab_size"] == 5
    details = {each.name: each.detail for each in made.ledger or ()}
    assert details["model.embed_tokens.weight"] == "the first 5 rows, which all have"


def test_embeddings_are_cut_to_the_base_which_must_not_have_more():
    with pytest.warns(UserWarning, match="vocabularies of 5, 6 rows"):
        made = merge([model(3.0, rows=6)], base=model(1.0, rows=5), method="task_arithmetic", differences="common")
    assert made.tensors["lm_head.weight"].shape == (5, 2)
    with pytest.raises(MethodError, match=r"has less than the base's"):
        merge([model(3.0, rows=5)], base=model(1.0, rows=6), method="task_arithmetic", differences="common")


def test_models_without_differences_are_merged_as_ever():
    plain, common = (merge([model(1.0), model(2.0)], differences=each) for each in (None, "common"))
    assert all(torch.equal(plain[name], common[name]) for name in plain)
    assert list(plain) == list(common)
