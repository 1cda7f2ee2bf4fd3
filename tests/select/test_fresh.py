"""Fresh tensors: begun as the target's own class begins them, by module, and the same whatever the order."""

import pytest
import torch

import scionwood
from scionwood.verbs.fresh import FreshWeights


def test_a_classifier_of_another_size_is_fresh_by_module(drawn, smaller, loads, tmp_path):
    made = scionwood.select(drawn("bert"), like=smaller("bert", num_labels=70, initializer_range=0.5))
    fresh = {entry.name: entry.detail for entry in made.ledger.of("fresh")}
    assert fresh == dict.fromkeys(("classifier.weight", "classifier.bias"), "5 outputs in the source, 70 in the target")
    assert made["classifier.weight"].shape == (70, 16)
    assert made["classifier.weight"].std() == pytest.approx(0.5, rel=0.1)
    assert not made["classifier.bias"].any()
    dropped = {entry.name: entry.detail for entry in made.ledger.of("dropped")}
    assert dropped["classifier.bias"] == "5 outputs in the source, 70 in the target"
    scionwood.write(made, tmp_path / "out")
    assert torch.equal(loads(tmp_path / "out").classifier.weight, made["classifier.weight"])


def test_the_same_number_of_classes_is_selected_unless_asked(drawn, smaller):
    selected = scionwood.select(drawn("bert"), like=smaller("bert", num_labels=5))
    assert not list(selected.ledger.of("fresh"))
    assert torch.equal(selected["classifier.weight"], scionwood.open(drawn("bert"))["classifier.weight"][:, ::2])
    fresh = scionwood.select(drawn("bert"), like=smaller("bert", num_labels=5), head="fresh")
    assert {entry.name: entry.detail for entry in fresh.ledger.of("fresh")} == dict.fromkeys(
        ("classifier.weight", "classifier.bias"), "a fresh head was asked for"
    )
    assert fresh["classifier.weight"].std() == pytest.approx(0.02, rel=0.2)
    assert not torch.equal(fresh["classifier.weight"], selected["classifier.weight"])


def test_a_head_that_embeds_too_is_not_fresh(drawn, smaller):
    """What writes the logits of a language model with tied embeddings also reads its tokens."""
    made = scionwood.select(drawn("gpt2"), like=smaller("gpt2"), head="fresh")
    assert not list(made.ledger.of("fresh"))
    untied = scionwood.select(drawn("llama"), like=smaller("llama"), head="fresh")
    assert {entry.name for entry in untied.ledger.of("fresh")} == {"lm_head.weight"}


def test_what_the_source_lacks_is_fresh_and_listed(drawn, smaller, loads, tmp_path):
    target = smaller("llama", attention_bias=True, initializer_range=0.1)
    made = scionwood.select(drawn("llama"), like=target)
    fresh = {entry.name: entry.detail for entry in made.ledger.of("fresh")}
    assert set(fresh) == {f"model.layers.{n}.self_attn.{p}_proj.bias" for n in (0, 1) for p in "qkvo"}
    name = "model.layers.0.self_attn.q_proj.bias"
    assert fresh[name] == f"the source has no {name}"
    assert not made[name].any()
    scionwood.write(made, tmp_path / "out")
    loads(tmp_path / "out")


def test_every_tensor_begins_as_its_class_begins_it(smaller, model_of, monkeypatch):
    """Norms at one, biases at zero, weights with the deviation of the config: module by module, as the whole model would be."""
    from scionwood import anatomy

    for family in ("bert", "vit", "convnext", "mixtral", "t5", "resnet", "deepseek", "gpt2"):
        config = smaller(family, **({"initializer_range": 0.3} if family not in {"t5", "resnet", "gpt2"} else {}))
        model = anatomy.model(config)
        fresh = FreshWeights(model, seed=0)
        monkeypatch.setattr(fresh, "_from_whole", pytest.fail)  # no tensor needs the memory of the whole model
        for name, tensor in model_of(config).state_dict().items():
            if not tensor.is_floating_point():
                continue
            made = fresh.tensor(name)
            assert (made.shape, made.dtype) == (tensor.shape, tensor.dtype), name
            if tensor.numel() < 2 or not tensor.std():
                assert torch.equal(made, tensor), name
            elif tensor.numel() >= 256:
                assert made.std().item() == pytest.approx(tensor.std().item(), rel=0.25), (family, name)
                assert made.mean().abs() < 4 * tensor.std() / tensor.numel() ** 0.5 + tensor.mean().abs(), name


def test_fresh_tensors_depend_on_their_name_and_seed_alone(smaller):
    from scionwood import anatomy

    model = anatomy.model(smaller("bert"))
    names = ["classifier.weight", "bert.pooler.dense.weight", "bert.embeddings.word_embeddings.weight"]
    before = torch.random.get_rng_state()
    one, other = FreshWeights(model, seed=1), FreshWeights(model, seed=1)
    first = {name: one.tensor(name) for name in names}
    torch.manual_seed(99)
    again = {name: other.tensor(name) for name in reversed(names)}
    assert all(torch.equal(first[name], again[name]) for name in names)
    assert not torch.equal(first[names[0]], FreshWeights(model, seed=2).tensor(names[0]))
    assert not torch.equal(first[names[1]].flatten()[:48], first[names[0]].flatten()[:48])
    torch.random.set_rng_state(before)
    other.tensor(names[0])
    assert torch.equal(torch.random.get_rng_state(), before)  # a caller's own random numbers go on as they were
