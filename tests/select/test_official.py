"""The rule of the published code, written again here, gives the same student, tensor for tensor (arXiv:2311.18823)."""

import pytest
import torch
import transformers
from torch import nn

import scionwood

VIT = {"patch_size": 16, "image_size": 224, "num_hidden_layers": 12, "num_channels": 3}
VIT_S = VIT | {"hidden_size": 384, "num_attention_heads": 6, "intermediate_size": 1536}
VIT_T = VIT | {"hidden_size": 192, "num_attention_heads": 3, "intermediate_size": 768}
CONVNEXT_T = {"hidden_sizes": [96, 192, 384, 768], "depths": [3, 3, 9, 3]}
CONVNEXT_F = {"hidden_sizes": [48, 96, 192, 384], "depths": [2, 2, 6, 2]}


def select_officially(teacher, student, rule, skip, *, per_part=False):
    """Loop over the student's keys, look each up in the teacher, select along every axis in turn; skip a module by name."""
    made = {}
    for name, tensor in student.items():
        if name.split(".")[0] == skip:
            continue
        found = teacher[name]
        for dim, target in enumerate(tensor.shape):
            number = 3 if dim == 0 and ".qkv." in name and per_part else 1
            size = found.shape[dim] // number
            index = torch.tensor(
                [part * size + each for part in range(number) for each in rule(size, target // number)]
            )
            found = found.index_select(dim, index)
        made[name] = found
    return made


def build(model_class, config_class, sizes, classes):
    torch.manual_seed(0)
    config = getattr(transformers, config_class)(**sizes, num_labels=classes)
    config.architectures = [model_class]
    return getattr(transformers, model_class)(config)


@pytest.mark.parametrize(
    ("model_class", "config_class", "large", "small", "classes"),
    [
        ("ViTForImageClassification", "ViTConfig", VIT_S, VIT_T, 100),
        ("ConvNextForImageClassification", "ConvNextConfig", CONVNEXT_T, CONVNEXT_F, 1000),
    ],
    ids=["vit-s to vit-t", "convnext-t to convnext-f"],
)
def test_shape_true_pairs(model_class, config_class, large, small, classes, official, count, loads, tmp_path):
    teacher = build(model_class, config_class, large, 8)
    student = build(model_class, config_class, small, classes)
    made = scionwood.select(teacher, like=student, method="uniform")
    expected = select_officially(teacher.state_dict(), student.state_dict(), official, "classifier")
    scionwood.write(made, tmp_path / "out")
    loaded = loads(tmp_path / "out").state_dict()
    assert set(loaded) == {*expected, "classifier.weight", "classifier.bias"}
    for name, tensor in expected.items():
        assert torch.equal(loaded[name], tensor), name
    assert {entry.name for entry in made.ledger.of("fresh")} == {"classifier.weight", "classifier.bias"}
    assert made.num_parameters == count(loaded)
    backbone, teachers = count(expected), count(teacher.state_dict()) - count(teacher.classifier.state_dict())
    if config_class == "ViTConfig":
        assert (backbone, made.num_parameters, teachers) == (5_524_416, 5_543_716, 22_050_664 - 385_000)
    else:
        # The published code skips the last norm (768 numbers) with its head, by a substring; here it is selected.
        assert (backbone, made.num_parameters, teachers) == (4_832_016 + 768, 5_217_784, 28_589_128 - 769_000)


class Attention(nn.Module):
    """As in timm: queries, keys and values of all heads in one projection."""

    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x):
        batch, tokens, width = x.shape
        qkv = self.qkv(x).reshape(batch, tokens, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        x = nn.functional.scaled_dot_product_attention(q, k, v)
        return self.proj(x.transpose(1, 2).reshape(batch, tokens, width))


class Block(nn.Module):
    def __init__(self, width, heads, inner):
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attn = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(width, inner), "fc2": nn.Linear(inner, width)})

    def forward(self, x):
        x = x + self.attn(self.norm1(x))
        return x + self.mlp["fc2"](nn.functional.gelu(self.mlp["fc1"](self.norm2(x))))


class VisionTransformer(nn.Module):
    def __init__(self, width, heads, depth, inner, classes):
        super().__init__()
        self.cls_token = nn.Parameter(torch.randn(1, 1, width))
        self.pos_embed = nn.Parameter(torch.randn(1, 5, width))
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, width, 4, 4)})
        self.blocks = nn.Sequential(*[Block(width, heads, inner) for _ in range(depth)])
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, classes)

    def forward(self, picture):
        x = self.patch_embed["proj"](picture).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], 1) + self.pos_embed
        return self.head(self.norm(self.blocks(x))[:, 0])


@pytest.mark.parametrize(("old", "new"), [((16, 4, 3, 32), (8, 2, 2, 16)), ((8, 2, 2, 12), (6, 2, 2, 7))])
def test_fused_projections_are_selected_per_part(old, new, official):
    torch.manual_seed(0)
    teacher, student = VisionTransformer(*old, classes=9), VisionTransformer(*new, classes=4)
    # Odd sizes inside heads: the rule on the flat dimension is the same whatever the heads are.
    made = scionwood.select(teacher, like=student, inputs=torch.zeros(2, 3, 8, 8))
    expected = select_officially(teacher.state_dict(), student.state_dict(), official, "head", per_part=True)
    for name, tensor in expected.items():
        assert torch.equal(made[name], tensor), name
    flat = select_officially(teacher.state_dict(), student.state_dict(), official, "head")
    differ = {name for name in expected if not torch.equal(flat[name], expected[name])}
    assert differ == (set() if old[0] % new[0] == 0 else {n for n in expected if "qkv" in n})
    # Modules bring their own fresh tensors: those of the module given.
    assert torch.equal(made["head.weight"], student.head.weight)


@pytest.mark.parametrize(("old", "new", "rows"), [(8, 6, 2), (384, 280, 88), (384, 192, 0)])
def test_the_flat_rule_would_mix_queries_keys_and_values(old, new, rows, official):
    per_part = [old * part + index for part in range(3) for index in official(old, new)]
    assert sum(a != b for a, b in zip(official(3 * old, 3 * new), per_part)) == rows


@pytest.mark.parametrize(("old", "new"), [(32, 20), (48, 28)])
def test_widths_that_do_not_divide(old, new, larger, smaller, model_of, official, loads, same, tmp_path):
    teacher = model_of(larger("vit", hidden_size=old, num_labels=3))
    student = model_of(smaller("vit", hidden_size=new, intermediate_size=31, num_hidden_layers=4))
    made = scionwood.select(teacher, like=student.config)
    expected = select_officially(teacher.state_dict(), student.state_dict(), official, "none")
    assert made.ledger.counts().keys() == {"selected", "copied"}
    scionwood.write(made, tmp_path / "out")
    assert same(loads(tmp_path / "out").state_dict(), expected)
