"""The MiniLM demo through the whole library, at a tiny budget; and what makes its training cheap changes nothing."""

import json
from dataclasses import replace

import pytest
import torch

from scionwood.demos import minilm
from scionwood.demos.extras import quiet_transformers

TINY = {"few": replace(minilm.SETTINGS["few"], per_class=2, epochs=(0, 1, 2), shown=(1, 2))}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    out = tmp_path_factory.mktemp("minilm")
    return out, minilm.run(out, seeds=1, settings=TINY, methods=("scratch", "uniform", "whole_heads"), quiet=True)


def test_results_and_picture_are_written(tiny):
    out, results = tiny
    read = json.loads((out / "results.json").read_text())
    assert list(read["races"][0]["accuracy"]) == ["scratch", "uniform", "whole_heads"]
    assert read["races"][0]["accuracy"] == results.races[0].accuracy
    assert read["races"][0]["examples"] == 2 * len(minilm.MODULES)
    assert (out / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_the_student_is_an_ordinary_encoder_of_half_the_width(tiny):
    from transformers import AutoModel, AutoTokenizer

    out, _ = tiny
    with quiet_transformers():
        source = AutoModel.from_pretrained(minilm.source_folder())
        student, loaded = AutoModel.from_pretrained(out / "students" / "uniform", output_loading_info=True)
    assert not any(loaded[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert (student.config.hidden_size, student.config.num_hidden_layers) == (192, 3)
    words = "embeddings.word_embeddings.weight"
    assert torch.equal(student.get_parameter(words), source.get_parameter(words)[:, ::2])
    assert AutoTokenizer.from_pretrained(out / "students" / "uniform")("a word")["input_ids"][0] == 101


def test_keeping_only_the_tokens_in_use_changes_no_vector():
    from transformers import BertConfig, BertModel

    tiny_config = BertConfig(
        vocab_size=50, hidden_size=8, num_attention_heads=2, num_hidden_layers=1, intermediate_size=16
    )
    torch.manual_seed(0)
    encoder = BertModel(tiny_config, add_pooling_layer=False).eval()
    ids, mask = torch.tensor([[7, 3, 49, 0], [9, 7, 0, 0]]), torch.tensor([[1, 1, 1, 0], [1, 1, 0, 0]])
    tokens, numbered = ids.unique(return_inverse=True)
    before = minilm.sentence_vectors(encoder, ids, mask)
    after = minilm.sentence_vectors(minilm.only_tokens(encoder, tokens), numbered, mask)
    assert encoder.get_input_embeddings().num_embeddings == 5
    assert torch.equal(before, after)


def test_a_sentences_vector_does_not_depend_on_the_padding():
    from transformers import BertConfig, BertModel

    tiny_config = BertConfig(
        vocab_size=50, hidden_size=8, num_attention_heads=2, num_hidden_layers=1, intermediate_size=16
    )
    encoder = BertModel(tiny_config, add_pooling_layer=False).eval()
    alone = minilm.sentence_vectors(encoder, torch.tensor([[7, 3]]), torch.ones(1, 2, dtype=torch.long))
    ids, mask = torch.tensor([[7, 3, 0, 0], [1, 2, 3, 4]]), torch.tensor([[1, 1, 0, 0], [1, 1, 1, 1]])
    padded = minilm.sentence_vectors(encoder, ids, mask)
    assert torch.allclose(alone[0], padded[0], atol=1e-6)
