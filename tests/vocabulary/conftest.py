"""Real tokenizers of three kinds, trained on the standard library, and tiny models beside them."""

import ast
import functools
import json
import os
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

LIBRARY = Path(os.__file__).parent
PROSE, CODE = "prose", "code"


@functools.cache
def text(kind: str) -> str:
    """Docstrings, or sources, of a few modules."""
    sources = [
        (LIBRARY / f"{name}.py").read_text() for name in ("argparse", "ast", "enum", "inspect", "logging/__init__")
    ]
    if kind == CODE:
        return "\n\n".join(sources)[:150_000]
    nodes = [node for source in sources for node in ast.walk(ast.parse(source))]
    kinds = (ast.FunctionDef, ast.ClassDef, ast.Module)
    return "\n\n".join(found for node in nodes if isinstance(node, kinds) and (found := ast.get_docstring(node)))


def byte_level(kind: str, size: int) -> Tokenizer:
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    letters = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=["<|end|>"], initial_alphabet=letters, show_progress=False
    )
    made.train_from_iterator([text(kind)], trainer)
    return made


def unigram(kind: str, size: int) -> Tokenizer:
    made = Tokenizer(models.Unigram())
    made.pre_tokenizer, made.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    special = ["<unk>", "<s>", "</s>"]
    trainer = trainers.UnigramTrainer(vocab_size=size, special_tokens=special, unk_token="<unk>", show_progress=False)
    made.train_from_iterator(text(kind).splitlines(), trainer)
    return made


def word_piece(kind: str, size: int) -> Tokenizer:
    made = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=False)
    made.pre_tokenizer, made.decoder = pre_tokenizers.BertPreTokenizer(), decoders.WordPiece()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    made.train_from_iterator(
        [text(kind)], trainers.WordPieceTrainer(vocab_size=size, special_tokens=special, show_progress=False)
    )
    return made


PURPOSES = {
    byte_level: {"bos_token": "<|end|>", "eos_token": "<|end|>"},
    unigram: {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"},
    word_piece: {
        "pad_token": "[PAD]",
        "unk_token": "[UNK]",
        "cls_token": "[CLS]",
        "sep_token": "[SEP]",
        "mask_token": "[MASK]",
    },
}


def save(maker, kind: str, size: int, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    maker(kind, size).save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", **PURPOSES[maker]}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


@pytest.fixture(scope="session")
def kept(tmp_path_factory):
    """Tokenizers by kind of text and way of cutting, each trained once."""
    home = tmp_path_factory.mktemp("tokenizers")

    @functools.cache
    def get(maker, kind: str, size: int) -> Path:
        return save(maker, kind, size, home / f"{maker.__name__}-{kind}-{size}")

    return get


@pytest.fixture(scope="session")
def texts(tmp_path_factory):
    home = tmp_path_factory.mktemp("texts")
    for kind in (PROSE, CODE):
        (home / f"{kind}.txt").write_text(text(kind)[:30_000])
    return home


SIZES = {"hidden_size": 24, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 32}


def model_of(name: str, folder: Path, tokenizer: Path, rows: int, **changes):
    """A tiny model with a tokenizer beside it."""
    import shutil

    import transformers

    made = {
        "Llama": lambda: transformers.LlamaForCausalLM(
            transformers.LlamaConfig(vocab_size=rows, bos_token_id=0, eos_token_id=0, **SIZES, **changes)
        ),
        "GPT2": lambda: transformers.GPT2LMHeadModel(
            transformers.GPT2Config(
                vocab_size=rows,
                n_embd=24,
                n_layer=1,
                n_head=4,
                n_positions=256,
                bos_token_id=0,
                eos_token_id=0,
                **changes,
            )
        ),
        "Bert": lambda: transformers.BertForMaskedLM(
            transformers.BertConfig(vocab_size=rows, pad_token_id=0, max_position_embeddings=256, **SIZES, **changes)
        ),
        "T5": lambda: transformers.T5ForConditionalGeneration(
            transformers.T5Config(
                vocab_size=rows,
                d_model=24,
                d_kv=6,
                d_ff=32,
                num_layers=1,
                num_heads=4,
                decoder_start_token_id=0,
                pad_token_id=0,
                eos_token_id=2,
                **changes,
            )
        ),
    }
    torch.manual_seed(0)
    made[name]().save_pretrained(folder)
    for file in tokenizer.iterdir():
        shutil.copy(file, folder)
    return folder
