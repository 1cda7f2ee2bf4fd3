"""What models of text predict, and the loss of it."""

import pytest
import torch
import transformers
from torch import nn

from scionwood.errors import MethodError
from scionwood.train.text import objective_of, places_predicted, text_loss

SIZES = {"vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
T5 = {"vocab_size": 40, "d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2}


def built(name, config, **sizes):
    torch.manual_seed(0)
    return getattr(transformers, name)(getattr(transformers, config)(**sizes)).eval()


@pytest.mark.parametrize(
    ("name", "config", "expected"),
    [
        ("LlamaForCausalLM", "LlamaConfig", "causal"),
        ("GPT2LMHeadModel", "GPT2Config", "causal"),
        ("BertForMaskedLM", "BertConfig", "masked"),
        ("T5ForConditionalGeneration", "T5Config", "prefix"),
        ("BartForConditionalGeneration", "BartConfig", "prefix"),
        ("BartForCausalLM", "BartConfig", "causal"),
        ("MarianMTModel", "MarianConfig", "prefix"),
        ("T5EncoderModel", "T5Config", None),
        ("BertModel", "BertConfig", None),
        ("ViTForImageClassification", "ViTConfig", None),
        ("WhisperForConditionalGeneration", "WhisperConfig", None),
    ],
)
def test_what_a_model_predicts_is_known_without_its_weights(name, config, expected):
    with torch.device("meta"):
        assert objective_of(built(name, config)) == expected


def test_a_model_can_learn_by_every_objective():
    ids = torch.arange(12).repeat(4, 2)
    places = torch.rand(ids.shape, generator=torch.Generator().manual_seed(0)) < 0.3
    for model, given in (
        (built("LlamaForCausalLM", "LlamaConfig", **SIZES), {}),
        (built("BertForMaskedLM", "BertConfig", **SIZES), {"mask": 39, "places": places}),
        (built("T5ForConditionalGeneration", "T5Config", decoder_start_token_id=0, **T5), {"start": 0}),
    ):
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
        losses = []
        for _ in range(40):
            loss = text_loss(model, ids, objective_of(model), **given)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
        assert losses[-1] < losses[0] / 3, type(model).__name__


def test_masked_tokens_are_not_seen_and_others_not_counted():
    model = built("BertForMaskedLM", "BertConfig", **SIZES)
    ids = torch.randint(38, (2, 15), generator=torch.Generator().manual_seed(0))
    told = places_predicted("masked", 15)
    whole = text_loss(model, ids, "masked", mask=39)
    halves = sum(text_loss(model, piece[None], "masked", mask=39) for piece in ids)
    torch.testing.assert_close(whole, halves)
    logits = model(input_ids=ids.masked_fill(told, 39)).logits
    expected = nn.functional.cross_entropy(logits[:, told].flatten(0, 1), ids[:, told].flatten(), reduction="sum")
    torch.testing.assert_close(whole, expected)


def test_what_cannot_be_predicted_is_told():
    ids = torch.zeros(1, 4, dtype=torch.long)
    for objective, message in (("masked", "give mask"), ("prefix", "give start")):
        with pytest.raises(MethodError, match=message):
            text_loss(nn.Identity(), ids, objective)
    with pytest.raises(MethodError, match="Pieces of 1 tokens are too short"):
        text_loss(nn.Identity(), ids[:, :1], "causal")
