"""Learngenes: the formulas, the auxiliary model kept exactly, and its effect on digits."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional

from scionwood.errors import MethodError
from scionwood.methods.grow.learngene import allocate
from scionwood.train.growth.learngene import LinearExpansion, StageShared, distillation_loss

WIDTH = 32


class Block(nn.Module):
    """A residual block."""

    def __init__(self, width=WIDTH):
        super().__init__()
        self.norm, self.up, self.down = nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x):
        return x + self.down(functional.gelu(self.up(self.norm(x))))


class Net(nn.Module):
    def __init__(self, trunk):
        super().__init__()
        self.stem, self.norm, self.head = nn.Linear(64, WIDTH), nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 10)
        self.trunk = trunk

    def forward(self, x):
        return self.head(self.norm(self.trunk(self.stem(x))))


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def run(blocks, x):
    for block in blocks:
        x = block(x)
    return x


def blocks(count):
    return [Block() for _ in range(count)]


@pytest.mark.parametrize("repeats", [[3, 3, 3], [1, 4, 2], [1]])
def test_as_deep_as_the_auxiliary_model_is_the_auxiliary_model(repeats):
    trunk, x = StageShared(blocks(len(repeats)), repeats), torch.randn(5, WIDTH)
    torch.testing.assert_close(run(trunk.expand(sum(repeats)), x), trunk(x), atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(run(trunk.expand(repeats), x), trunk(x), atol=1e-6, rtol=1e-6)


def test_stages_keep_their_order():
    trunk = StageShared(blocks(3), [2, 2, 2])
    made = [block.up.weight for block in trunk.expand([1, 2, 1])]
    for weight, stage in zip(made, [0, 1, 1, 2]):
        assert torch.equal(weight, trunk.blocks[stage].up.weight)
        assert weight.data_ptr() != trunk.blocks[stage].up.weight.data_ptr()


def test_tied_blocks_learn_as_one_and_untied_ones_apart():
    trunk, x = StageShared(blocks(3), [4, 4, 4]), torch.randn(5, WIDTH)
    trunk(x).square().sum().backward()
    tied = [weight for weight in trunk.parameters() if weight.grad is not None]
    untied = trunk.expand(12)
    run(untied, x).square().sum().backward()
    free = [weight for weight in untied.parameters() if weight.grad is not None]
    assert len(free) == 4 * len(tied)
    # The single copy's gradient is the sum of those of the copies it stands for.
    torch.testing.assert_close(
        trunk.blocks[1].up.weight.grad, sum(block.up.weight.grad for block in untied[4:8]), rtol=1e-4, atol=1e-4
    )
    assert sum(w.numel() for w in untied.parameters()) == 4 * sum(w.numel() for w in trunk.parameters())


@pytest.mark.parametrize("depth", range(4, 30))
@pytest.mark.parametrize("repeats", [[3, 3, 3, 3], [1, 2, 3, 4], [9, 1, 1, 1]])
def test_layers_are_shared_out_as_in_the_auxiliary_model(depth, repeats):
    counts = allocate(depth, repeats)
    assert sum(counts) == depth
    assert min(counts) >= 1
    exact = [depth * repeat / sum(repeats) for repeat in repeats]
    assert all(abs(count - share) <= 2 or count == 1 for count, share in zip(counts, exact))


def test_linear_expansion_by_hand():
    trunk = LinearExpansion(nn.Linear(1, 1), depth=4)
    nn.init.constant_(trunk.B["weight"], 1.0)
    nn.init.constant_(trunk.A["weight"], 2.0)
    assert [block.weight.item() for block in trunk.expand(4)] == [1.0, 1.5, 2.0, 2.5]
    assert [block.weight.item() for block in trunk.expand(2)] == [1.0, 2.0]


def test_without_slope_all_layers_are_alike_and_with_it_the_auxiliary_model_is_kept():
    block, x = Block(), torch.randn(5, WIDTH)
    trunk = LinearExpansion(block, depth=5)
    torch.testing.assert_close(trunk(x), run([block] * 5, x))
    with torch.no_grad():
        for slope in trunk.A.values():
            slope.normal_(0, 0.1)
    torch.testing.assert_close(run(trunk.expand(5), x), trunk(x), atol=1e-6, rtol=1e-6)
    trunk(x).square().sum().backward()
    assert all(weight.grad.abs().sum() > 0 for weight in trunk.parameters())
    assert sum(w.numel() for w in trunk.parameters()) == 2 * sum(w.numel() for w in block.parameters())
    assert trunk.double()(x.double()).dtype == torch.float64


def test_distillation_is_cross_entropy_and_divergence():
    student, teacher, labels = torch.randn(6, 4), torch.randn(6, 4, requires_grad=True), torch.arange(6) % 4
    hard = functional.cross_entropy(student, labels)
    torch.testing.assert_close(distillation_loss(student, teacher, labels, alpha=0.0), hard)
    p, q = (teacher / 2).softmax(-1), (student / 2).softmax(-1)
    expected = 0.25 * hard + 0.75 * (p * (p / q).log()).sum(-1).mean()
    torch.testing.assert_close(distillation_loss(student, teacher, labels, alpha=0.75, temperature=2.0), expected)
    assert not distillation_loss(student, teacher, labels).requires_grad


def test_what_cannot_be_expanded_is_said():
    with pytest.raises(MethodError, match="2 layers do not reach for 3 stages"):
        allocate(2, [1, 1, 1])
    with pytest.raises(MethodError, match="every stage has a layer"):
        StageShared(blocks(2), [1, 0])
    with pytest.raises(MethodError, match="2 blocks, but 1 counts"):
        StageShared(blocks(2), [1])
    with pytest.raises(MethodError, match="2 stages need a number of layers each"):
        StageShared(blocks(2), [1, 1]).expand([3])
    with pytest.raises(MethodError, match="a model has a layer at least"):
        LinearExpansion(Block(), 0)
    with pytest.raises(MethodError, match="a model has a layer at least"):
        LinearExpansion(Block(), 1).expand(0)


def learn(net, digits, steps, teacher=None):
    """Train on the first 1200 digits; return the share of the others that are told right."""
    (images, labels), generator = digits, torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(net.parameters(), 1e-3)
    for _ in range(steps):
        rows = torch.randint(0, 1200, (64,), generator=generator)
        logits = net(images[rows])
        if teacher is None:
            loss = functional.cross_entropy(logits, labels[rows])
        else:
            loss = distillation_loss(logits, teacher(images[rows]), labels[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        return float((net(images[1200:]).argmax(-1) == labels[1200:]).float().mean())


@pytest.mark.parametrize("kind", ["stages", "linear"])
def test_models_of_several_depths_are_ahead_after_thirty_steps(digits, kind):
    teacher = Net(nn.Sequential(*blocks(8)))
    learn(teacher, digits, 150)
    trunk = StageShared(blocks(3), [2, 2, 2]) if kind == "stages" else LinearExpansion(Block(), 6)
    auxiliary = Net(trunk)
    assert learn(auxiliary, digits, 150, teacher) > 0.85
    for depth in (3, 8):
        torch.manual_seed(depth)
        random = Net(nn.Sequential(*blocks(depth)))
        grown = copy.deepcopy(random)
        grown.trunk = nn.Sequential(*trunk.expand(depth))
        grown.stem.load_state_dict(auxiliary.stem.state_dict())
        grown.norm.load_state_dict(auxiliary.norm.state_dict())
        assert learn(grown, digits, 30) > learn(random, digits, 30) + 0.03
