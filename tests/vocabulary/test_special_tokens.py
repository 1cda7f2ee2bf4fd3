"""Special tokens follow what they are for: in the configs, in the tokenizer's settings, and where they cannot, in an error."""

import json

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from tests.vocabulary.made import DOCSTRINGS, SPECIAL, saved, tokenizer

import scionwood
from scionwood.errors import MatchError, SourceError
from scionwood.verbs.vocabulary import report
from scionwood.verbs.vocabulary.tokens import read_tokens
from scionwood.verbs.vocabulary.vocabulary import setting_of


@pytest.fixture
def changed(tmp_path):
    """Makes a model of one tokenizer, and gives it another; the result and the folder it was written to."""

    def change(family, old, new, *, touch=None, settings=(), size=400, **arguments):
        source = saved(tmp_path / "source", family, tokenizer(old), **dict(settings))
        if touch is not None:
            touch(source)
        tokenizer(new, "docstrings", size).save_pretrained(tmp_path / "new")
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

    with pytest.warns(UserWarning, match="name them no more: 1 of 2 in suppress_tokens$"):
        made, _ = changed("gpt2", "byte-level", "byte-level", touch=touch)
    generation = json.loads(made.documents["generation_config.json"])
    assert generation["eos_token_id"] == [new.eos_token_id]
    assert generation["forced_eos_token_id"] == new.eos_token_id
    assert generation["suppress_tokens"] == [new.convert_tokens_to_ids(both)]
    assert generation["bos_token_id"] == -1


def test_what_texts_must_have_or_not_is_moved_token_by_token(changed):
    old, new = tokenizer("unigram"), tokenizer("unigram", "docstrings", 350)
    both = [token for token in old.get_vocab() if token in new.get_vocab() and token.isalpha()][:2]
    lost = next(token for token in old.get_vocab() if token not in new.get_vocab())
    one, two, none = (old.convert_tokens_to_ids(token) for token in (*both, lost))
    first, second = (new.convert_tokens_to_ids(token) for token in both)
    asked = {
        "bad_words_ids": [[one, two], [one, none], [old.eos_token_id]],
        "force_words_ids": [[[one], [two]]],
        "forced_decoder_ids": [[1, one], [2, none], [3, None]],
        "sequence_bias": [[[one, two], -1.5], [[none], 2.0]],
        "begin_suppress_tokens": [none],
        "lang_to_id": {"<|en|>": one, "<|de|>": none},
        "task_to_id": {"translate": two},
        "prefix_token_ids": [one, none],
        "max_length": two,
    }
    told = "1 of 3 in bad_words_ids; 1 of 3 in forced_decoder_ids; 1 of 2 in sequence_bias; "
    told += "1 of 1 in begin_suppress_tokens; 1 of 2 in lang_to_id; 1 of 2 in prefix_token_ids"
    with pytest.warns(UserWarning, match=f"name them no more: {told}$"):
        made, _ = changed("llama", "unigram", "unigram", touch=edited("generation_config.json", **asked), size=350)
    generation = json.loads(made.documents["generation_config.json"])
    assert {key: generation[key] for key in asked} == {
        "bad_words_ids": [[first, second], [new.eos_token_id]],
        "force_words_ids": [[[first], [second]]],
        "forced_decoder_ids": [[1, first], [3, None]],
        "sequence_bias": [[[first, second], -1.5]],
        "begin_suppress_tokens": None,
        "lang_to_id": {"<|en|>": first},
        "task_to_id": {"translate": second},
        "prefix_token_ids": [first],
        "max_length": two,
    }


def test_a_single_token_that_is_one_no_more_is_refused_by_its_key(changed):
    old, new = tokenizer("unigram"), tokenizer("unigram", "docstrings", 350)
    lost = next(token for token in old.get_vocab() if token not in new.get_vocab())
    touch = edited("config.json", image_token_index=old.convert_tokens_to_ids(lost))
    with pytest.raises(MatchError, match="does not cover the special tokens") as caught:
        changed("llama", "unigram", "unigram", touch=touch, size=350)
    assert caught.value.problems == (
        f"image_token_index is {lost!r}, and nothing says which of the new tokens is for that",
    )


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


def test_a_token_named_for_a_purpose_stands_in_the_older_file_of_special_tokens_too(tmp_path):
    source = saved(tmp_path / "source", "llama", tokenizer("unigram"))
    tokenizer("unigram", "docstrings").save_pretrained(tmp_path / "new")
    names = {f"{purpose}_token": token for purpose, token in SPECIAL["unigram"].items()}
    (tmp_path / "new" / "special_tokens_map.json").write_text(json.dumps({**names, "additional": "kept"}))
    made = scionwood.vocabulary(source, tokenizer=tmp_path / "new", special={"eos": "<s>"})
    out = scionwood.write(made, tmp_path / "out")
    held = json.loads((out / "special_tokens_map.json").read_text())
    assert held == {**names, "eos_token": "<s>", "additional": "kept"}
    numbers = [transformers.AutoTokenizer.from_pretrained(out).eos_token_id]
    numbers += [
        json.loads((out / f"{name}.json").read_text())["eos_token_id"] for name in ("config", "generation_config")
    ]
    assert set(numbers) == {tokenizer("unigram", "docstrings").bos_token_id}


def put(folder, **documents):
    for name, held in documents.items():
        (folder / f"{name}.json").write_text(json.dumps(held))


def purposes(folder):
    """Purpose → token, as a folder is read."""
    tokens = read_tokens(folder)
    spelled = {number: token for token, number in tokens.vocabulary.ids.items()}
    return {purpose: spelled[number] for purpose, number in tokens.special.items()}


def test_special_tokens_that_only_their_own_file_names(tmp_path):
    source = saved(tmp_path / "source", "llama", tokenizer("unigram"))
    new = tmp_path / "new"
    tokenizer("unigram", "docstrings").save_pretrained(new)
    names = {"bos_token": "</s>", "eos_token": {"content": "<s>"}, "pad_token": "<pad>"}
    put(new, tokenizer_config={"tokenizer_class": "PreTrainedTokenizerFast"}, special_tokens_map=names)
    assert purposes(new) == {"bos": "</s>", "eos": "<s>", "pad": "<pad>", "unk": "<unk>"}
    out = scionwood.write(scionwood.vocabulary(source, tokenizer=new), tmp_path / "out")
    loaded = transformers.AutoTokenizer.from_pretrained(out)
    assert (loaded.bos_token, loaded.eos_token) == ("</s>", "<s>")
    assert transformers.AutoConfig.from_pretrained(out).eos_token_id == loaded.eos_token_id
    put(new, tokenizer_config={"bos_token": "<s>", "eos_token": None})
    assert purposes(new) == {"bos": "<s>", "eos": "<s>", "pad": "<pad>", "unk": "<unk>"}


@pytest.mark.parametrize(
    ("kind", "settings", "config"),
    [
        ("wordpiece", {"do_lower_case": True}, {"model_type": "bert"}),
        ("wordpiece", {"tokenizer_class": "BertTokenizer"}, None),
        ("wordpiece", None, {"model_type": "distilbert"}),
        ("unigram", {}, {"model_type": "t5"}),
    ],
)
def test_special_tokens_that_are_left_to_the_tokenizer_s_class(tmp_path, kind, settings, config):
    source = saved(tmp_path / "source", {"wordpiece": "bert", "unigram": "t5"}[kind], tokenizer(kind))
    new = tmp_path / "new"
    own = tokenizer(kind, "docstrings")
    own.save_pretrained(new)
    (new / "tokenizer_config.json").unlink()
    put(new, **{name: held for name, held in (("tokenizer_config", settings), ("config", config)) if held is not None})
    found = purposes(new)
    assert found.items() <= SPECIAL[kind].items()
    assert {"pad", "unk"} < set(found)
    out = scionwood.write(scionwood.vocabulary(source, tokenizer=new), tmp_path / "out")
    loaded = transformers.AutoTokenizer.from_pretrained(out)
    assert {purpose: getattr(loaded, f"{purpose}_token") for purpose in found} == found
    text = "the first Calendar, in January"
    assert loaded(text, add_special_tokens=False).input_ids == own(text, add_special_tokens=False).input_ids
    (new / "config.json").unlink(missing_ok=True)
    put(new, tokenizer_config={})
    assert set(purposes(new)) == {"unk"}


@pytest.mark.parametrize("given", ["", "tokenizer.json"], ids=["folder", "file"])
def test_a_chat_template_beside_the_tokenizer_is_taken(tmp_path, given):
    source = saved(tmp_path / "source", "llama", tokenizer("unigram"))
    new = tmp_path / "new"
    tokenizer("unigram", "docstrings").save_pretrained(new)
    (new / "chat_template.jinja").write_text("{{ messages[0].content }}")
    out = scionwood.write(scionwood.vocabulary(source, tokenizer=new / given), tmp_path / "out")
    assert transformers.AutoTokenizer.from_pretrained(out).chat_template == "{{ messages[0].content }}"


@pytest.mark.parametrize("number", [2_000_000_000, 2**40, -1])
def test_a_number_that_no_row_can_have_is_refused(tmp_path, number):
    tokenizer("unigram").save_pretrained(tmp_path)
    spec = json.loads((tmp_path / "tokenizer.json").read_text())
    spec["added_tokens"].append({**spec["added_tokens"][0], "content": "<far>", "id": number})
    put(tmp_path, tokenizer=spec)
    with pytest.raises(SourceError, match=f"is malformed: '<far>' has the number {number:,}, which of 401 tokens"):
        read_tokens(tmp_path)


@pytest.mark.parametrize("number", [30, 390])
def test_positions_that_begin_behind_the_padding_token_move_with_it_which_is_said(tmp_path, number):
    old = tokenizer("wordpiece")
    source = saved(tmp_path / "source", "roberta", old, bos_token_id=None, eos_token_id=None)
    made = json.loads(old.backend_tokenizer.to_str())
    swapped = {"[PAD]": number, next(token for token, held in old.get_vocab().items() if held == number): 0}
    made["model"]["vocab"] |= swapped
    for entry in made["added_tokens"]:
        entry["id"] = made["model"]["vocab"][entry["content"]]
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "tokenizer.json").write_text(json.dumps(made))
    (tmp_path / "new" / "tokenizer_config.json").write_text((source / "tokenizer_config.json").read_text())
    if number > 80:
        with pytest.raises(MatchError, match="number the new tokenizer's padding token 0"):
            scionwood.vocabulary(source, tokenizer=tmp_path / "new")
        return
    with pytest.warns(UserWarning, match="every token stands 30 further on than the model has learned"):
        assert scionwood.vocabulary(source, tokenizer=tmp_path / "new").config["pad_token_id"] == 30
    (tmp_path / "text").write_text(" ".join(DOCSTRINGS[:5]))
    found = report(setting_of(source, tmp_path / "new", text=[tmp_path / "text"]), ["overlap_copy"])
    assert found.lines[0].bits not in (None, found.before)  # measured at the positions that there are


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


def test_settings_of_a_tokenizer_that_nothing_can_read_are_refused_by_file_and_key(tmp_path):
    tokenizer("unigram").save_pretrained(tmp_path / "new")
    wrong = {"bos_token": 5, "eos_token": {"text": "</s>"}, "chat_template": 3, "pad_token": None}
    wrong |= {"extra_special_tokens": {"image": 1}, "added_tokens_decoder": {"0": {}}}
    edited("tokenizer_config.json", **wrong)(tmp_path / "new")
    edited("special_tokens_map.json", unk_token=["<unk>"])(tmp_path / "new")
    with pytest.raises(SourceError, match="settings that nothing can read") as caught:
        scionwood.vocabulary(saved(tmp_path / "source", "llama", tokenizer("unigram")), tokenizer=tmp_path / "new")
    assert caught.value.problems == (
        "bos_token in tokenizer_config.json is 5, not a token",
        'eos_token in tokenizer_config.json is {"text": "</s>"}, not a token',
        'extra_special_tokens in tokenizer_config.json is {"image": 1}, not tokens, in a list or by name',
        'added_tokens_decoder in tokenizer_config.json is {"0": {}}, not tokens by number',
        "chat_template in tokenizer_config.json is 3, not a template, or several by name",
        'unk_token in special_tokens_map.json is ["<unk>"], not a token',
    )


# Sizes: a setting is changed where it counts a table that was.


def test_a_row_of_padding_that_a_config_names_is_what_the_new_tokenizer_pads_with(changed):
    settings = {"vocab_size": 512, "pad_token_id": 511}
    made, out = changed("llama", "unigram", "unigram", settings=settings, size=350)
    assert made.config["pad_token_id"] == tokenizer("unigram", "docstrings", 350).pad_token_id
    assert transformers.AutoModelForCausalLM.from_pretrained(out).model.embed_tokens.weight.shape == (350, 16)


def test_a_row_of_padding_that_nothing_serves_is_refused_and_one_that_never_was_is_none(changed):
    settings = {"vocab_size": 512, "pad_token_id": 511}
    with pytest.raises(MatchError, match="does not cover the special tokens") as caught:
        changed("llama", "unigram", "byte-level", settings=settings)
    assert caught.value.problems == (
        "pad_token_id is 511, a row that no token has, and nothing says which of the new tokens is for that",
    )
    made, _ = changed("gpt2", "byte-level", "byte-level", touch=edited("config.json", pad_token_id=50256))
    assert made.config["pad_token_id"] is None


@pytest.mark.parametrize("shared", [True, False])
def test_both_sizes_of_a_translator_are_changed(changed, shared):
    settings = {"share_encoder_decoder_embeddings": shared, "tie_word_embeddings": shared, "decoder_vocab_size": 400}
    made, out = changed("marian", "unigram", "unigram", settings=settings, size=350)
    assert (made.config["vocab_size"], made.config["decoder_vocab_size"]) == (350, 350)
    ids = torch.tensor([[5, 6, 7]])
    assert transformers.MarianMTModel.from_pretrained(out)(input_ids=ids, labels=ids).logits.shape == (1, 3, 350)


def test_a_size_under_a_name_that_the_family_has_for_it_is_changed_too(changed):
    touch = edited("config.json", vocab_size="gone", n_token=400)
    made, out = changed("xlnet", "unigram", "unigram", touch=touch, size=350)
    assert made.config["n_token"] == 350
    assert transformers.XLNetLMHeadModel.from_pretrained(out).lm_loss.weight.shape == (350, 16)


def llava(folder):
    """A model that sees, whose text is one part of its config, and whose placeholder is a token of the text."""
    own = tokenizer("unigram")
    wide = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = transformers.LlamaConfig(vocab_size=400, num_key_value_heads=2, **wide)
    vision = transformers.CLIPVisionConfig(image_size=8, patch_size=4, **wide)
    config = transformers.LlavaConfig(
        text_config=text, vision_config=vision, image_token_index=own.convert_tokens_to_ids("▁the")
    )
    transformers.LlavaForConditionalGeneration(config).save_pretrained(folder)
    own.save_pretrained(folder)
    edited("config.json", qformer_config={"vocab_size": 30522, "pad_token_id": 0})(folder)
    return folder


def test_parts_of_a_config_with_another_vocabulary_stay_as_they_are(tmp_path):
    new = tokenizer("unigram", "docstrings", 350)
    new.save_pretrained(tmp_path / "new")
    made = scionwood.vocabulary(llava(tmp_path / "source"), tokenizer=tmp_path / "new")
    assert made.config["text_config"]["vocab_size"] == 350
    assert made.config["qformer_config"] == {"vocab_size": 30522, "pad_token_id": 0}
    assert made.config["image_token_index"] == new.convert_tokens_to_ids("▁the")
