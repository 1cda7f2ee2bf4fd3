"""Small tokenizers of three kinds, trained on the standard library, and small models of four families that have them."""

import ast
import struct
import sysconfig
from functools import cache
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

LIBRARY = Path(sysconfig.get_paths()["stdlib"])
FILES = [
    LIBRARY / f"{name}.py" for name in ("ast", "calendar", "csv", "enum", "json/decoder", "pathlib/__init__", "uuid")
]
FILES = [file for file in FILES if file.is_file()]
SOURCES = [file.read_text(encoding="utf-8") for file in FILES]
DOCSTRINGS = [
    text
    for source in SOURCES
    for node in ast.walk(ast.parse(source))
    if isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.Module)) and (text := ast.get_docstring(node))
]
SPECIAL = {
    "byte-level": {"bos": "<|end|>", "eos": "<|end|>", "unk": "<|end|>"},
    "unigram": {"pad": "<pad>", "eos": "</s>", "unk": "<unk>", "bos": "<s>"},
    "wordpiece": {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"},
}


@cache
def tokenizer(kind, texts="sources", size=400):
    """A tokenizer as transformers has it."""
    special = SPECIAL[kind]
    common: dict[str, Any] = {
        "vocab_size": size,
        "special_tokens": list(dict.fromkeys(special.values())),
        "show_progress": False,
    }
    if kind == "byte-level":
        made = Tokenizer(models.BPE())
        made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
        trainer = trainers.BpeTrainer(initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), **common)
    elif kind == "unigram":
        made = Tokenizer(models.Unigram())
        made.pre_tokenizer, made.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
        trainer = trainers.UnigramTrainer(unk_token="<unk>", **common)
    else:
        made = Tokenizer(models.WordPiece(unk_token="[UNK]"))
        made.normalizer = normalizers.BertNormalizer(lowercase=True)
        made.pre_tokenizer, made.decoder = pre_tokenizers.BertPreTokenizer(), decoders.WordPiece()
        trainer = trainers.WordPieceTrainer(**common)
    made.train_from_iterator(SOURCES if texts == "sources" else DOCSTRINGS, trainer)
    names: dict[str, Any] = {f"{purpose}_token": token for purpose, token in special.items()}
    return transformers.PreTrainedTokenizerFast(tokenizer_object=made, **names)


def network(family, own, **settings):
    """A random model for a tokenizer."""
    torch.manual_seed(0)
    ids = {name: getattr(own, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    wide = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    sizes: dict[str, dict[str, Any]] = {
        "llama": {**wide, "num_key_value_heads": 2, **ids},
        "gpt2": {"n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 64, **ids},
        "bert": {**wide, "pad_token_id": own.pad_token_id},
        "t5": {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2, **ids},
        "roberta": {**wide, **ids, "max_position_embeddings": 80},
        "xlnet": {"d_model": 16, "n_layer": 1, "n_head": 2, "d_inner": 32, **ids},
        "bart": {"d_model": 16, "max_position_embeddings": 64, **ids},
    }
    for side in ("encoder", "decoder"):
        sizes["bart"] |= {f"{side}_layers": 1, f"{side}_ffn_dim": 32, f"{side}_attention_heads": 2}
    sizes["marian"] = sizes["m2m"] = sizes["bart"]
    for name in ("t5", "bart"):
        sizes[name]["decoder_start_token_id"] = own.pad_token_id
    config_class, model_class = {
        "llama": (transformers.LlamaConfig, transformers.LlamaForCausalLM),
        "gpt2": (transformers.GPT2Config, transformers.GPT2LMHeadModel),
        "bert": (transformers.BertConfig, transformers.BertForMaskedLM),
        "t5": (transformers.T5Config, transformers.T5ForConditionalGeneration),
        "roberta": (transformers.RobertaConfig, transformers.RobertaForMaskedLM),
        "xlnet": (transformers.XLNetConfig, transformers.XLNetLMHeadModel),
        "bart": (transformers.BartConfig, transformers.BartForConditionalGeneration),
        "marian": (transformers.MarianConfig, transformers.MarianMTModel),
        "m2m": (transformers.M2M100Config, transformers.M2M100ForConditionalGeneration),
    }[family]
    return model_class(config_class(**{"vocab_size": len(own), **sizes[family], **settings}))


def saved(folder, family, own, **settings):
    """A model's folder, with its tokenizer."""
    network(family, own, **settings).save_pretrained(folder)
    own.save_pretrained(folder)
    return folder


def fasttext_model(
    words, rows, *, dim, buckets, shortest, longest, labels=(), quantised=False, version=12, model=2, counts=()
):
    """The bytes of a model of fastText: words and labels, then a row for each word and each bucket, then a head."""
    head = struct.pack("<ii", 793712314, version)
    head += struct.pack("<12id", dim, 5, 5, 1, 5, 1, 2, model, buckets, shortest, longest, 100, 1e-4)
    head += struct.pack("<iiiqq", len(words) + len(labels), len(words), len(labels), 99, -1)
    for kind, some in enumerate((words, labels)):
        often = zip(some, counts or [3] * len(some))
        head += b"".join(each + b"\0" + struct.pack("<qb", count, kind) for each, count in often)
    table = struct.pack("<?qq", quantised, len(rows), dim) + rows.astype("<f4").tobytes()
    return head + table + struct.pack("<?qq", False, 1, dim) + bytes(4 * dim)
