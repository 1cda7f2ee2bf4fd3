"""Special tokens follow what they are for: in the configs, in the tokenizer's settings, and where they cannot, in an error."""

import json

import pytest
import transformers
from safetensors.torch import load_file, save_file
from tests.vocabulary.made import SPECIAL, saved, tokenizer

import scionwood
from scionwood.errors import MatchError


@pytest.fixture
def changed(tmp_path):
    """Makes a model of one tokenizer, and gives it another; the result and the folder it was written to."""

    def change(family, old, new, *, touch=None, **arguments):
        source = saved(tmp_path / "source", family, tokenizer(old))
        if touch is not None:
            touch(source)
        tokenizer(new, "docstrings").save_pretrained(tmp_path / "new")
        made = scionwood.vocabulary(source, tokenizer=tmp_path / "new", **arguments)
        return made, scionwood.write(made, tmp_path / "out")

    return change


def edited(name, **changes):
    def touch(folder):
        file = folder / name
        held = json.loads(file.read_text()) if file.is_file() else {}
        file.write_text(json.dumps({key: value for key, value in {**held, **changes}.items() if value != "gone"}))

    return touch


def test_one_old_token_of_two_purposes_becomes_the_two_new_ones(changed):
    made, _ = changed("gpt2", "byte-level", "unigram")
    new = tokenizer("unigram", "docstrings")
    assert (made.config["bos_token_id"], made.config["eos_token_id"]) == (new.bos_token_id, new.eos_token_id)
    assert new.bos_token_id != new.eos_token_id
    generation = json.loads(made.documents["generation_config.json"])
    assert (generation["bos_token_id"], generation["eos_token_id"]) == (new.bos_token_id, new.eos_token_id)


def test_what_decoders_call_bos_and_eos_encoders_call_cls_and_sep(changed):
    made, _ = changed("gpt2", "byte-level", "wordpiece")
    new = tokenizer("wordpiece", "docstrings")
    assert (made.config["bos_token_id"], made.config["eos_token_id"]) == (new.cls_token_id, new.sep_token_id)


def test_a_decoder_starts_with_what_serves_the_same(changed):
    made, _ = changed("t5", "unigram", "unigram")
    assert made.config["decoder_start_token_id"] == tokenizer("unigram", "docstrings").pad_token_id


def test_numbers_that_only_the_generation_config_names_are_moved(changed):
    old, new = tokenizer("byte-level"), tokenizer("byte-level", "docstrings")
    both = next(token for token in old.get_vocab() if token.startswith("Ġ") and token in new.get_vocab())
    lost = next(token for token in old.get_vocab() if token not in new.get_vocab())
    numbers = [old.convert_tokens_to_ids(token) for token in (lost, both)]
    asked = {"eos_token_id": [old.eos_token_id], "suppress_tokens": numbers, "forced_eos_token_id": old.eos_token_id}

    def touch(folder):
        edited("config.json", bos_token_id="gone", eos_token_id="gone")(folder)
        edited("generation_config.json", **asked, bos_token_id=-1)(folder)

    made, _ = changed("gpt2", "byte-level", "byte-level", touch=touch)
    generation = json.loads(made.documents["generation_config.json"])
    assert generation["eos_token_id"] == [new.eos_token_id]
    assert generation["forced_eos_token_id"] == new.eos_token_id
    assert generation["suppress_tokens"] == [new.convert_tokens_to_ids(both)]
    assert generation["bos_token_id"] == -1


def test_what_the_model_needs_and_the_tokenizer_lacks_is_refused_at_once(changed):
    with pytest.raises(MatchError, match="does not cover the special tokens") as caught:
        changed("bert", "wordpiece", "byte-level")
    assert caught.value.problems == (
        "pad_token_id is '[PAD]', and nothing says which of the new tokens is for that",
        "the model fills in '[MASK]', and nothing says which of the new tokens is for that",
    )
    assert "--special PURPOSE=TOKEN" in str(caught.value.hint)


def test_a_token_named_for_a_purpose_stands_in_the_tokenizer_s_settings(changed):
    _, out = changed("llama", "unigram", "byte-level", special={"pad": "<|end|>"})
    loaded = transformers.AutoTokenizer.from_pretrained(out)
    assert loaded.pad_token == "<|end|>"
    assert transformers.AutoConfig.from_pretrained(out).pad_token_id == loaded.pad_token_id


def test_a_purpose_or_a_token_that_there_is_not_is_named(changed):
    with pytest.raises(MatchError, match="special tokens cannot be as asked") as caught:
        changed("llama", "unigram", "byte-level", special={"end": "<|end|>", "pad": "<none>"})
    assert len(caught.value.problems) >= 2


def test_a_bare_tokenizer_file_cuts_text_as_it_did(tmp_path):
    source = saved(tmp_path / "source", "llama", tokenizer("unigram"))
    new = tokenizer("byte-level", "docstrings")
    new.backend_tokenizer.save(str(tmp_path / "tokenizer.json"))
    named = dict.fromkeys(SPECIAL["unigram"], "<|end|>")
    made = scionwood.vocabulary(source, tokenizer=tmp_path / "tokenizer.json", special=named)
    loaded = transformers.AutoTokenizer.from_pretrained(scionwood.write(made, tmp_path / "out"))
    text = "def calendar(year): return the first, of January\n"
    assert loaded(text).input_ids == new(text).input_ids
    assert loaded.eos_token == "<|end|>"


def test_a_tied_head_that_is_stored_twice_is_changed_twice(tmp_path):
    source = saved(tmp_path / "source", "llama", tokenizer("unigram"), tie_word_embeddings=True)
    stored = load_file(source / "model.safetensors")
    stored["lm_head.weight"] = stored["model.embed_tokens.weight"].clone()
    save_file(stored, source / "model.safetensors", metadata={"format": "pt"})
    tokenizer("unigram", "docstrings", 300).save_pretrained(tmp_path / "new")
    out = scionwood.write(scionwood.vocabulary(source, tokenizer=tmp_path / "new"), tmp_path / "out")
    loaded = transformers.AutoModelForCausalLM.from_pretrained(out)
    assert loaded.lm_head.weight is loaded.model.embed_tokens.weight
    assert loaded.lm_head.weight.shape[0] == 300
