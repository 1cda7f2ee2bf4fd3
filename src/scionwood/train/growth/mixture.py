"""MixtureGrowth: a net grown from two of half its width, all made of templates (Pham et al., 2024, arXiv:2311.04251).

    W(a, T) = sum_t a_t T_t            W_full = [[W(a_0, T_0), W(a_2, T_s2)], [W(a_3, T_s3), W(a_1, T_1)]]

Every layer of half width is a linear combination of templates. Two such nets, members 0 and 1, are trained each on its
own; grown, they stand on the diagonal of the full weights, and what lies beside it combines the same templates with new
coefficients: growth adds no weights but these few numbers. Then all is trained. With new coefficients of zero the grown
net is both members side by side and its logits their sum (``average`` halves it). It helps where two half nets are
there anyway, or are trained on two machines; it hurts where their training is not counted: two half-width nets cost half
of a full one a step.

``orthogonal``, the default, takes the direction least used by the coefficients before, the last right singular vector of
them all. Only with three templates or more is there one orthogonal to both members', with four for a_3 as well; with two,
as the paper uses, it is merely the weakest. The official code skips a_2 in that mode, so it keeps its first random
value; here both are set. Its ``random`` draws evenly from 0 to 1, and so does this one.

Growing here keeps the templates and the coefficients, which only nets of these layers have. ``scionwood grow --method
mixture_growth`` joins any two checkpoints of one shape, whose templates are their own layers; ``plain_state`` gives a
member, or the grown net, as one.

Measured on scikit-learn's digits (three convolutions of 32 channels, members of 200 steps each, then 120 grown, 5 seeds),
test accuracy in per cent learning from 300 images: members 94.0; grown, at once and after training: orthogonal 40.2 and
93.8, copy 21.2 and 94.7, random 56.8 and 94.3, zero with ``average`` 95.6 and 95.5; a full net with as many operations in
all 96.2. From 1200 images, trained: 98.4, 98.6, 98.3, 98.9, against 98.8. So the gain of two to two and a half points
that the paper has on CIFAR does not show here: ``zero``, an ensemble of two, is the best start, and none beats the full
net trained from nothing for as long.
"""

from collections.abc import Iterator, Sequence
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from scionwood.errors import MethodError
from scionwood.methods.grow.mixture_growth import How, joining_coefficients

__all__ = [
    "MixtureBatchNorm",
    "MixtureConv2d",
    "MixtureLayer",
    "MixtureLinear",
    "grow",
    "plain_state",
    "select_member",
]


class MixtureLayer(nn.Module):
    """A weight of two half-width members, or of both and what joins them, out of templates.

    Args:
        shape: of the full weight: outputs, inputs, and any kernel.
        templates: how many each member's set has; the paper uses two.
        split: what is halved: ``both``; ``outputs`` alone, for the first layer; ``inputs`` alone, for the classifier.
        joining: which member's templates the two blocks beside the diagonal use, above and below it.
        bias: whether each member has one; the classifier's are added up.
    """

    def __init__(
        self,
        shape: Sequence[int],
        *,
        templates: int = 2,
        split: Literal["both", "outputs", "inputs"] = "both",
        joining: tuple[int, int] = (0, 1),
        bias: bool = False,
    ) -> None:
        super().__init__()
        halved = {"both": (0, 1), "outputs": (0,), "inputs": (1,)}[split]
        odd = [f"{('outputs', 'inputs')[dim]}: {shape[dim]}" for dim in halved if shape[dim] % 2]
        if odd:
            raise MethodError("a layer of two halves needs even sizes", problems=odd)
        if templates < 1 or set(joining) - {0, 1}:
            raise MethodError(f"no such templates: {templates} in each of two sets, joined by sets {joining}")
        self.split, self.joining, self.average = split, joining, False
        self.member: int | None = 0
        half = [size // 2 if dim in halved else size for dim, size in enumerate(shape)]
        self.templates = nn.ParameterList(nn.Parameter(torch.empty(templates, *half)) for _ in range(2))
        start = torch.empty(2, templates)
        nn.init.orthogonal_(start)
        self.coefficients = nn.ParameterList(nn.Parameter(row.clone()) for row in start)
        self.biases = nn.ParameterList(nn.Parameter(torch.zeros(half[0])) for _ in range(2 if bias else 0))
        for stack in self.templates:
            for template in stack:
                nn.init.kaiming_normal_(template.data, nonlinearity="relu")

    def combined(self, member: int) -> Tensor:
        """Return a block of the weight: of member 0 or 1, or the one above (2) or below (3) the diagonal."""
        templates = self.templates[(0, 1, *self.joining)[member]]
        return torch.tensordot(self.coefficients[member], templates, 1)

    def weight_and_bias(self) -> tuple[Tensor, Tensor | None]:
        """Return what the layer computes with: a member's, or the full ones once grown."""
        if self.member is not None:
            return self.combined(self.member), self.biases[self.member] if len(self.biases) else None
        if self.split == "both":
            above = torch.cat([self.combined(0), self.combined(2)], 1)
            weight = torch.cat([above, torch.cat([self.combined(3), self.combined(1)], 1)], 0)
        else:
            weight = torch.cat([self.combined(0), self.combined(1)], 0 if self.split == "outputs" else 1)
        if not len(self.biases):
            bias = None
        elif self.split == "inputs":
            bias = self.biases[0] + self.biases[1]
        else:
            bias = torch.cat(list(self.biases))
        if self.average:
            weight, bias = weight / 2, bias if bias is None else bias / 2
        return weight, bias

    def grow(
        self,
        coefficients: How = "orthogonal",
        *,
        scale: float = 1.0,
        average: bool = False,
        generator: torch.Generator | None = None,
    ) -> None:
        """Join the members; see :func:`grow`."""
        if self.member is None:
            raise MethodError("this layer has grown already")
        self.member, self.average = None, average and self.split == "inputs"
        if self.split != "both":
            return
        members = [row.detach() for row in self.coefficients]
        for held in self.joining:
            new = joining_coefficients(coefficients, torch.stack(members), held, scale, generator)
            if coefficients == "orthogonal":
                members.append(new)
            self.coefficients.append(nn.Parameter(new.clone()))


class MixtureLinear(MixtureLayer):
    """A Linear made of templates; sizes are those of the full net.

    >>> layer = MixtureLinear(8, 6)
    >>> layer(torch.zeros(1, 4)).shape
    torch.Size([1, 3])
    >>> layer.grow(); layer(torch.zeros(1, 8)).shape
    torch.Size([1, 6])
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        templates: int = 2,
        split: Literal["both", "outputs", "inputs"] = "both",
        joining: tuple[int, int] = (0, 1),
        bias: bool = True,
    ) -> None:
        super().__init__((outputs, inputs), templates=templates, split=split, joining=joining, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x, *self.weight_and_bias())


class MixtureConv2d(MixtureLayer):
    """A convolution made of templates; sizes are those of the full net.

    >>> layer = MixtureConv2d(4, 6, 3, padding=1)
    >>> layer(torch.zeros(1, 2, 5, 5)).shape
    torch.Size([1, 3, 5, 5])
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel_size: int,
        *,
        stride: int = 1,
        padding: int = 0,
        templates: int = 2,
        split: Literal["both", "outputs", "inputs"] = "both",
        joining: tuple[int, int] = (0, 1),
        bias: bool = False,
    ) -> None:
        shape = (outputs, inputs, kernel_size, kernel_size)
        super().__init__(shape, templates=templates, split=split, joining=joining, bias=bias)
        self.stride, self.padding = stride, padding

    def forward(self, x: Tensor) -> Tensor:
        return functional.conv2d(x, *self.weight_and_bias(), stride=self.stride, padding=self.padding)


class MixtureBatchNorm(nn.Module):
    """A batch normalisation for each member; grown, their gains, shifts and running statistics stand side by side.

    Where the members' channels do not make up the full net's, the gap between them starts at gain 1, shift 0.

    >>> norm = MixtureBatchNorm(6, dimensions=0)
    >>> norm(torch.randn(4, 3)).shape
    torch.Size([4, 3])
    >>> norm.grow(); norm(torch.randn(4, 6)).shape
    torch.Size([4, 6])

    Args:
        features: of the full net.
        member_features: of each member; half unless given.
        dimensions: of an example without its channels: 0 for a vector, 2 for an image.
    """

    def __init__(self, features: int, *, member_features: int | None = None, dimensions: Literal[0, 1, 2] = 2) -> None:
        super().__init__()
        held = features // 2 if member_features is None else member_features
        if 2 * held > features or (member_features is None and features % 2):
            raise MethodError(f"two members of {held} channels do not make up {features}")
        self._kind = nn.BatchNorm2d if dimensions == 2 else nn.BatchNorm1d
        self.features = features
        self.norms = nn.ModuleList(self._kind(held) for _ in range(2))
        self.member: int | None = 0

    def forward(self, x: Tensor) -> Tensor:
        return self.norms[self.member or 0](x)  # grown, there is one

    def grow(self) -> None:
        """Join the members' normalisations."""
        if self.member is None:
            raise MethodError("this normalisation has grown already")
        held = [cast("nn.BatchNorm1d", norm) for norm in self.norms]
        grown = self._kind(self.features).to(held[0].weight.device, held[0].weight.dtype).train(self.training)
        with torch.no_grad():
            for name, fill in (("weight", 1.0), ("bias", 0.0), ("running_mean", 0.0), ("running_var", 1.0)):
                one, other = (getattr(norm, name) for norm in held)
                gap = torch.full((self.features - len(one) - len(other),), fill).to(one)
                getattr(grown, name).copy_(torch.cat([one, gap, other]))
        self.norms, self.member = nn.ModuleList([grown]), None


def select_member(model: nn.Module, member: int) -> None:
    """Make a model compute as one of its two half-width members.

    >>> net = nn.Sequential(MixtureLinear(2, 4, split="outputs"))
    >>> select_member(net, 1)
    >>> torch.equal(net(torch.eye(2)).T, net[0].combined(1))
    True

    Raises:
        MethodError: there is no such member, or the model has grown.
    """
    if member not in {0, 1}:
        raise MethodError(f"there is no member {member}: they are 0 and 1")
    for part in _parts(model):
        if part.member is None:
            raise MethodError("the model has grown: it has no members any more")
        part.member = member


def grow(
    model: nn.Module,
    coefficients: How = "orthogonal",
    *,
    scale: float = 1.0,
    average: bool = False,
    generator: torch.Generator | None = None,
) -> list[nn.Parameter]:
    """Join the two members of every layer; return the new parameters, for the optimiser.

    >>> net = nn.Sequential(MixtureLinear(2, 4, split="outputs"), nn.ReLU(), MixtureLinear(4, 1, split="inputs"))
    >>> outputs = []
    >>> for member in (0, 1):
    ...     select_member(net, member)
    ...     outputs.append(net(torch.ones(1, 2)))
    >>> grow(net, average=True)
    []
    >>> torch.allclose(net(torch.ones(1, 2)), sum(outputs) / 2)
    True

    Args:
        model: with layers of this file.
        coefficients: of the blocks beside the diagonal: ``orthogonal``; ``copy``, of the member whose templates they
            use, with noise; ``random``; ``zero``, where the members stay side by side.
        scale: of the orthogonal and the random ones, and of the copies' noise; the official code's 1.
        average: halve the classifier, so that the logits are the members' mean and not their sum.
        generator: of the noise.

    Raises:
        MethodError: the model has no layers of this file, or has grown already.
    """
    parts = list(_parts(model))
    if not parts:
        raise MethodError("the model has no layer made of templates")
    before = {id(weight): weight for weight in model.parameters()}  # held, so that no new one takes an old one's place
    for part in parts:
        if isinstance(part, MixtureBatchNorm):
            part.grow()
        else:
            part.grow(coefficients, scale=scale, average=average, generator=generator)
    return [weight for weight in model.parameters() if id(weight) not in before]


def plain_state(model: nn.Module) -> dict[str, Tensor]:
    """Return what the model computes with as the weights of a plain net of the same names: of its member, or grown.

    >>> net = nn.Sequential(MixtureLinear(2, 4, split="outputs"), MixtureBatchNorm(4, dimensions=0))
    >>> plain = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    >>> plain.load_state_dict(plain_state(net))
    <All keys matched successfully>
    >>> x = torch.randn(8, 2)
    >>> torch.equal(net(x), plain(x))
    True
    """
    state: dict[str, Tensor] = {}
    inside: list[str] = []
    for name, part in model.named_modules():
        start = f"{name}." if name else ""
        if isinstance(part, MixtureBatchNorm):
            inside.append(start)
            state |= {start + key: held for key, held in part.norms[part.member or 0].state_dict().items()}
        elif isinstance(part, MixtureLayer):
            inside.append(start)
            weight, bias = part.weight_and_bias()
            state |= {f"{start}weight": weight.detach().clone()}
            state |= {} if bias is None else {f"{start}bias": bias.detach().clone()}
    others = {key: held for key, held in model.state_dict().items() if not key.startswith(tuple(inside))}
    return {**state, **others}


def _parts(model: nn.Module) -> Iterator["MixtureLayer | MixtureBatchNorm"]:
    for part in model.modules():
        if isinstance(part, MixtureLayer | MixtureBatchNorm):
            yield part
