"""Plain PyTorch modules of many kinds, to try the rules on: each factory returns a module and its example inputs."""

import math
from collections.abc import Callable

import torch
from tests.architectures.plain import Made
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations


class Block(nn.Module):
    """A module made of layers and a function of them."""

    def __init__(self, run: Callable[..., Tensor], **layers: nn.Module | nn.Parameter | Tensor) -> None:
        super().__init__()
        self.run = run
        for name, layer in layers.items():
            if isinstance(layer, Tensor) and not isinstance(layer, nn.Parameter):
                self.register_buffer(name, layer)
            else:
                setattr(self, name, layer)

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.run(self, *inputs)


def weight(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(shape) / math.prod(shape[1:]) ** 0.5)


IMAGE = torch.zeros(2, 3, 16, 16)
SERIES = torch.zeros(2, 10, 12)


def option_a_resnet() -> Made:
    """The shortcut of the CIFAR ResNet: every other pixel, channels padded with zeros."""

    def run(self: Block, x: Tensor) -> Tensor:
        x = functional.relu(self.stem(x))
        y = self.two(functional.relu(self.norm(self.one(x))))
        return self.head((y + functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 4, 4))).mean((2, 3)))

    return Block(
        run,
        stem=nn.Conv2d(3, 8, 3, padding=1),
        one=nn.Conv2d(8, 12, 3, 2, 1),
        norm=nn.BatchNorm2d(12),
        two=nn.Conv2d(12, 16, 3, padding=1),
        head=nn.Linear(16, 5),
    ), IMAGE


def inception() -> Made:
    def run(self: Block, x: Tensor) -> Tensor:
        x = self.stem(x)
        joined = torch.cat([self.a(x), self.c(functional.relu(self.b(x))), functional.max_pool2d(x, 3, 1, 1)], 1)
        return self.head(functional.relu(self.norm(joined)).flatten(2).mean(-1))

    return Block(
        run,
        stem=nn.Conv2d(3, 6, 3),
        a=nn.Conv2d(6, 5, 1),
        b=nn.Conv2d(6, 4, 1),
        c=nn.Conv2d(4, 7, 3, padding=1),
        norm=nn.BatchNorm2d(18),
        head=nn.Linear(18, 3),
    ), IMAGE


def shuffle() -> Made:
    def run(self: Block, x: Tensor) -> Tensor:
        x = self.shuffle(self.grouped(self.stem(x)))
        left, right = x.chunk(2, 1)
        return self.head(torch.cat([left, self.depthwise(right)], 1).mean((2, 3)))

    return Block(
        run,
        stem=nn.Conv2d(3, 12, 1),
        grouped=nn.Conv2d(12, 12, 1, groups=3),
        shuffle=nn.ChannelShuffle(3),
        depthwise=nn.Conv2d(6, 6, 3, padding=1, groups=6),
        head=nn.Linear(12, 3),
    ), IMAGE


def squeeze_excite() -> Made:
    def run(self: Block, x: Tensor) -> Tensor:
        x = self.act(self.norm(self.stem(x)))
        gate = functional.hardsigmoid(self.up(functional.relu(self.down(x.mean((2, 3), keepdim=True)))))
        return self.head(self.project(x * gate).flatten(1))

    return Block(
        run,
        stem=nn.Conv2d(3, 12, 3, stride=4),
        norm=nn.BatchNorm2d(12),
        act=nn.Hardswish(),
        down=nn.Conv2d(12, 5, 1),
        up=nn.Conv2d(5, 12, 1),
        project=nn.Conv2d(12, 7, 1),
        head=nn.Linear(7 * 16, 4),
    ), IMAGE


def wavenet() -> Made:
    def run(self: Block, x: Tensor) -> Tensor:
        x = self.stem(x)
        filtered, gate = self.dilated(functional.pad(x, (4, 0))).chunk(2, 1)
        residual, skip = self.out(filtered.tanh() * gate.sigmoid()).split([9, 5], 1)
        return self.head(functional.relu(skip)) + self.tail(functional.prelu(x + residual, self.slope))

    return Block(
        run,
        stem=nn.Conv1d(10, 9, 1),
        dilated=nn.Conv1d(9, 14, 3, dilation=2),
        out=nn.Conv1d(7, 14, 1),
        head=nn.Conv1d(5, 4, 1),
        tail=nn.Conv1d(9, 4, 1),
        slope=nn.Parameter(torch.full((9,), 0.2)),
    ), SERIES


def weight_normed() -> Made:
    return nn.Sequential(
        parametrizations.weight_norm(nn.Conv1d(10, 8, 3, padding=1)),
        nn.ReLU(),
        parametrizations.spectral_norm(nn.Conv1d(8, 6, 1)),
        nn.ReLU(),
        nn.Flatten(),
        parametrizations.weight_norm(nn.Linear(72, 4)),
    ), SERIES


def bilstm_attention() -> Made:
    def run(self: Block, tokens: Tensor) -> Tensor:
        states, _ = self.body(self.table(tokens))
        weights = self.score(torch.tanh(self.key(states))).softmax(1)
        return self.head((weights * states).sum(1))

    return Block(
        run,
        table=nn.Embedding(30, 12),
        body=nn.LSTM(12, 10, batch_first=True, bidirectional=True),
        key=nn.Linear(20, 7),
        score=nn.Linear(7, 1),
        head=nn.Linear(20, 3),
    ), torch.zeros(2, 6, dtype=torch.long)


def stacked_gru() -> Made:
    def run(self: Block, x: Tensor) -> Tensor:
        states, last = self.body(x.transpose(1, 2))
        return self.head(states[:, -1]) + self.other(last[0])

    return Block(
        run,
        body=nn.GRU(10, 8, num_layers=2, batch_first=True),
        head=nn.Linear(8, 3),
        other=nn.Linear(8, 3),
    ), SERIES


def transformer() -> Made:
    layer = nn.TransformerEncoderLayer(12, 3, 20, batch_first=True, norm_first=True)
    decoder = nn.TransformerDecoderLayer(12, 2, 22, batch_first=True)

    def run(self: Block, source: Tensor, target: Tensor) -> Tensor:
        memory = self.encoder(self.table(source))
        mask = nn.Transformer.generate_square_subsequent_mask(target.shape[1])
        return self.head(self.decoder(self.table(target), memory, tgt_mask=mask, tgt_is_causal=True))

    return Block(
        run,
        table=nn.Embedding(30, 12),
        encoder=nn.TransformerEncoder(layer, 2, enable_nested_tensor=False),
        decoder=nn.TransformerDecoder(decoder, 1),
        head=nn.Linear(12, 30),
    ), (torch.zeros(2, 6, dtype=torch.long), torch.zeros(2, 4, dtype=torch.long))


def cross_attention() -> Made:
    def run(self: Block, x: Tensor, y: Tensor) -> Tensor:
        mixed, weights = self.attend(self.a(x), self.b(y), self.c(y))
        return self.head(mixed) + weights.mean()

    return Block(
        run,
        a=nn.Linear(5, 12),
        b=nn.Linear(6, 8),
        c=nn.Linear(6, 9),
        attend=nn.MultiheadAttention(12, 3, kdim=8, vdim=9, batch_first=True, add_bias_kv=True),
        head=nn.Linear(12, 4),
    ), (torch.zeros(2, 4, 5), torch.zeros(2, 7, 6))


def super_resolution() -> Made:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.GroupNorm(2, 8),
        nn.ReLU(),
        nn.Conv2d(8, 20, 3, padding=1),
        nn.PixelShuffle(2),
        nn.Conv2d(5, 3, 1),
    ), IMAGE


def pixel_unshuffle() -> Made:
    return nn.Sequential(
        nn.Conv2d(3, 4, 1), nn.PixelUnshuffle(2), nn.Conv2d(16, 6, 3), nn.ReLU(), nn.Conv2d(6, 2, 1)
    ), IMAGE


def autoencoder() -> Made:
    return nn.Sequential(
        nn.Conv2d(3, 8, 4, 2, 1), nn.ReLU(), nn.Conv2d(8, 6, 4, 2, 1), nn.Flatten(), nn.Linear(96, 7),
        nn.Linear(7, 96), nn.Unflatten(1, (6, 4, 4)), nn.ConvTranspose2d(6, 8, 4, 2, 1), nn.BatchNorm2d(8), nn.ELU(),
        nn.ConvTranspose2d(8, 3, 4, 2, 1), nn.Tanh(),
    ), IMAGE  # fmt: skip


def dcgan() -> Made:
    return nn.Sequential(
        nn.ConvTranspose2d(9, 12, 4), nn.BatchNorm2d(12), nn.ReLU(), nn.ConvTranspose2d(12, 8, 4, 2, 1, groups=2),
        nn.InstanceNorm2d(8, affine=True), nn.LeakyReLU(0.2), nn.Upsample(scale_factor=2, mode="nearest"),
        nn.ReflectionPad2d(1), nn.Conv2d(8, 3, 3),
    ), torch.zeros(2, 9, 1, 1)  # fmt: skip


def siren() -> Made:
    def run(self: Block, x: Tensor) -> Tensor:
        x = torch.sin(30 * self.one(x))
        return self.three(torch.sin(self.two(x) + x @ self.skip))

    return Block(run, one=nn.Linear(2, 9), two=nn.Linear(9, 7), skip=weight(9, 7), three=nn.Linear(7, 1)), torch.zeros(
        4, 2
    )


def graph() -> Made:
    def run(self: Block, x: Tensor, adjacency: Tensor) -> Tensor:
        degree = adjacency.sum(-1, keepdim=True).clamp_min(1)
        x = functional.relu(self.norm(adjacency @ self.one(x) / degree))
        edge = self.left(x)[:, None] + self.right(x)[None, :]
        attention = functional.leaky_relu((edge * self.vector).sum(-1)).masked_fill(adjacency == 0, -9.0).softmax(-1)
        return self.two(attention @ x)

    return Block(
        run,
        one=nn.Linear(5, 8),
        norm=nn.LayerNorm(8),
        left=nn.Linear(8, 6),
        right=nn.Linear(8, 6),
        vector=weight(6),
        two=nn.Linear(8, 3),
    ), (torch.zeros(7, 5), torch.zeros(7, 7))


def message_passing() -> Made:
    def run(self: Block, x: Tensor, edges: Tensor) -> Tensor:
        x = self.encode(x)
        sent = functional.silu(self.message(torch.cat([x[edges[0]], x[edges[1]]], -1)))
        return self.update(torch.cat([x, torch.zeros_like(x[:, :6]).index_add(0, edges[1], sent)], -1))

    return Block(run, encode=nn.Linear(5, 8), message=nn.Linear(16, 6), update=nn.Linear(14, 4)), (
        torch.zeros(7, 5),
        torch.tensor([[0, 1, 2, 3], [4, 5, 6, 0]]),
    )


def experts() -> Made:
    """Every expert sees every token; the gate weighs."""

    def run(self: Block, x: Tensor) -> Tensor:
        gate = self.gate(x).softmax(-1)
        hidden = functional.gelu(torch.einsum("bti,eio->beto", x, self.up))
        return torch.einsum("beto,eoi,bte->bti", hidden, self.down, gate) + sum(
            one(x) * gate[..., place, None] for place, one in enumerate(self.loop)
        )

    return Block(
        run,
        gate=nn.Linear(6, 4),
        up=weight(4, 6, 9),
        down=weight(4, 9, 6),
        loop=nn.ModuleList(nn.Linear(6, 6) for _ in range(4)),
    ), torch.zeros(2, 5, 6)


def routed() -> Made:
    """Tokens are sent to the experts of highest score, one expert after the other."""

    def run(self: Block, x: Tensor) -> Tensor:
        weights, chosen = self.gate(x).softmax(-1).topk(2, -1)
        result = torch.zeros_like(x)
        for place, expert in enumerate(self.experts):
            share = (weights * (chosen == place)).sum(-1, keepdim=True)
            result = result + share * expert(x)
        return self.head(result)

    made = [nn.Sequential(nn.Linear(6, 9 + n), nn.GELU(), nn.Linear(9 + n, 6)) for n in range(3)]
    return Block(run, gate=nn.Linear(6, 3), experts=nn.ModuleList(made), head=nn.Linear(6, 2)), torch.zeros(2, 5, 6)


def conformer() -> Made:
    def run(self: Block, x: Tensor) -> Tensor:
        x = x + 0.5 * self.down(functional.silu(self.up(self.norm1(x))))
        x = x + self.attend(self.norm2(x), self.norm2(x), self.norm2(x))[0]
        inner = functional.glu(self.point1(self.norm3(x).transpose(1, 2)), 1)
        return x + self.point2(functional.silu(self.batch(self.depth(inner)))).transpose(1, 2)

    return Block(
        run, norm1=nn.LayerNorm(12), up=nn.Linear(12, 20), down=nn.Linear(20, 12), norm2=nn.LayerNorm(12),
        attend=nn.MultiheadAttention(12, 3, batch_first=True), norm3=nn.LayerNorm(12), point1=nn.Conv1d(12, 16, 1),
        depth=nn.Conv1d(8, 8, 3, padding=1, groups=8), batch=nn.BatchNorm1d(8), point2=nn.Conv1d(8, 12, 1),
    ), torch.zeros(2, 6, 12)  # fmt: skip


def linear_attention() -> Made:
    def run(self: Block, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).view(2, 6, 3, 4, 5).unbind(2)
        q, k = functional.elu(q) + 1, functional.elu(k) + 1
        memory = torch.einsum("bthd,bthe->bhde", k, v)
        total = torch.einsum("bthd,bhd->bth", q, k.sum(1))
        return self.out((torch.einsum("bthd,bhde->bthe", q, memory) / total[..., None]).flatten(2))

    return Block(run, qkv=nn.Linear(12, 60), out=nn.Linear(20, 12)), torch.zeros(2, 6, 12)


def retention() -> Made:
    """A causal linear recurrence, written as a loop."""

    def run(self: Block, x: Tensor) -> Tensor:
        q, k, v = self.q(x), self.k(x), self.v(x)
        state, outputs = torch.zeros(2, 5, 7), []
        for step in range(x.shape[1]):
            state = torch.sigmoid(self.decay)[:, None] * state + k[:, step, :, None] * v[:, step, None, :]
            outputs.append(torch.einsum("bk,bkv->bv", q[:, step], state))
        return self.out(torch.stack(outputs, 1))

    return Block(
        run, q=nn.Linear(6, 5), k=nn.Linear(6, 5), v=nn.Linear(6, 7), decay=weight(5), out=nn.Linear(7, 6)
    ), torch.zeros(2, 4, 6)


def splines() -> Made:
    """Each edge has a function of its own, a sum of bumps."""

    def layer(x: Tensor, grid: Tensor, coefficients: Tensor) -> Tensor:
        return torch.einsum("big,oig->bo", torch.exp(-((x[..., None] - grid) ** 2)), coefficients)

    def run(self: Block, x: Tensor) -> Tensor:
        return layer(layer(x, self.grid, self.one), self.grid, self.two)

    return Block(run, grid=torch.linspace(-1, 1, 6), one=weight(7, 5, 6), two=weight(3, 7, 6)), torch.zeros(2, 5)


def hypernetwork() -> Made:
    def run(self: Block, x: Tensor, z: Tensor) -> Tensor:
        made = self.generate(functional.relu(self.embed(z))).view(2, 7, 5)
        return self.head(functional.relu(torch.bmm(made, x[..., None]).squeeze(-1)))

    return Block(run, embed=nn.Linear(4, 6), generate=nn.Linear(6, 35), head=nn.Linear(7, 3)), (
        torch.zeros(2, 5),
        torch.zeros(2, 4),
    )


def bags() -> Made:
    def run(self: Block, tokens: Tensor) -> Tensor:
        return self.head(functional.relu(self.bag(tokens)))

    return Block(run, bag=nn.EmbeddingBag(30, 8, mode="mean"), head=nn.Linear(8, 3)), torch.zeros(
        2, 5, dtype=torch.long
    )


def bilinear() -> Made:
    def run(self: Block, x: Tensor, y: Tensor) -> Tensor:
        return self.head(functional.relu(self.both(self.left(x), self.right(y))))

    return Block(run, left=nn.Linear(4, 6), right=nn.Linear(5, 7), both=nn.Bilinear(6, 7, 8), head=nn.Linear(8, 3)), (
        torch.zeros(2, 4),
        torch.zeros(2, 5),
    )


def mixer() -> Made:
    def run(self: Block, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = x + self.mix2(functional.gelu(self.mix1(self.norm(x).transpose(1, 2)))).transpose(1, 2)
        return self.head(x.mean(1))

    return Block(
        run,
        patches=nn.Conv2d(3, 10, 4, 4),
        norm=nn.LayerNorm(10),
        mix1=nn.Linear(16, 9),
        mix2=nn.Linear(9, 16),
        head=nn.Linear(10, 3),
    ), IMAGE


def gated_unit() -> Made:
    def run(self: Block, x: Tensor) -> Tensor:
        u, v = functional.gelu(self.expand(x)).chunk(2, -1)
        return x + self.project(u * self.spatial(self.norm(v).transpose(1, 2)).transpose(1, 2))

    return Block(
        run, expand=nn.Linear(6, 16), norm=nn.LayerNorm(8), spatial=nn.Linear(5, 5), project=nn.Linear(8, 6)
    ), torch.zeros(2, 5, 6)


def rms_transformer() -> Made:
    """Rotary positions through complex numbers, queries in groups, a gated feed-forward."""

    def run(self: Block, x: Tensor) -> Tensor:
        y = self.norm(x)
        q, k, v = self.q(y).view(2, 5, 4, 6), self.k(y).view(2, 5, 2, 6), self.v(y).view(2, 5, 2, 7)
        turn = torch.polar(torch.ones(5, 3), torch.arange(5)[:, None] * self.frequencies)[:, None]
        q, k = (
            torch.view_as_real(torch.view_as_complex(t.reshape(*t.shape[:-1], 3, 2)) * turn).flatten(-2) for t in (q, k)
        )
        mixed = functional.scaled_dot_product_attention(
            q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), is_causal=True, enable_gqa=True
        )
        x = x + self.out(mixed.transpose(1, 2).flatten(2))
        return x + self.down(functional.silu(self.gate(x)) * self.up(x))

    return Block(
        run, norm=nn.RMSNorm(10), q=nn.Linear(10, 24), k=nn.Linear(10, 12), v=nn.Linear(10, 14), out=nn.Linear(28, 10),
        gate=nn.Linear(10, 16), up=nn.Linear(10, 16), down=nn.Linear(16, 10), frequencies=torch.tensor([1.0, 0.5, 0.1]),
    ), torch.zeros(2, 5, 10)  # fmt: skip


def spatial_transformer() -> Made:
    def run(self: Block, x: Tensor) -> Tensor:
        x = self.stem(x)
        theta = self.where(x.mean((2, 3))).view(2, 2, 3)
        return self.head(
            functional.grid_sample(
                x, functional.affine_grid(theta, [2, 6, 8, 8], align_corners=False), align_corners=False
            )
        )

    return Block(run, stem=nn.Conv2d(3, 6, 3), where=nn.Linear(6, 6), head=nn.Conv2d(6, 2, 1)), IMAGE


def unfolded() -> Made:
    """A convolution by hand: patches laid out, a product, and patches laid back."""

    def run(self: Block, x: Tensor) -> Tensor:
        x = self.stem(x)
        columns = functional.unfold(x, 3, padding=1)
        y = torch.einsum("ok,bkl->bol", self.kernel, columns)
        return (
            functional.fold(self.back(y.transpose(1, 2)).transpose(1, 2), (16, 16), 2, stride=2)
            if y.shape[-1] == 64
            else y
        )

    return Block(run, stem=nn.Conv2d(3, 5, 3, 2, 1), kernel=weight(7, 45), back=nn.Linear(7, 12)), IMAGE


def windows() -> Made:
    def run(self: Block, x: Tensor) -> Tensor:
        x = torch.roll(self.stem(x), (1, 1), (2, 3))
        x = x.unfold(2, 4, 4).unfold(3, 4, 4).permute(0, 2, 3, 4, 5, 1).reshape(-1, 16, 6)
        return self.head(self.attend(x, x, x)[0].mean(1))

    return Block(
        run, stem=nn.Conv2d(3, 6, 1), attend=nn.MultiheadAttention(6, 2, batch_first=True), head=nn.Linear(6, 3)
    ), IMAGE


def spectral() -> Made:
    def run(self: Block, x: Tensor) -> Tensor:
        x = self.one(x)
        modes = torch.fft.rfft(x, dim=-1)[..., :4]
        mixed = torch.einsum("bim,iom->bom", modes, torch.complex(self.real, self.imaginary))
        return self.two(functional.gelu(torch.fft.irfft(mixed, n=12, dim=-1) + self.skip(x)))

    return Block(
        run,
        one=nn.Conv1d(10, 6, 1),
        real=weight(6, 7, 4),
        imaginary=weight(6, 7, 4),
        skip=nn.Conv1d(6, 7, 1),
        two=nn.Conv1d(7, 3, 1),
    ), SERIES


def metric() -> Made:
    def run(self: Block, x: Tensor) -> Tensor:
        z = functional.normalize(self.encode(x), dim=-1)
        return -torch.cdist(z, self.prototypes) + functional.cosine_similarity(
            z[:, None], self.prototypes[None], dim=-1
        )

    return Block(run, encode=nn.Linear(5, 8), prototypes=weight(4, 8)), torch.zeros(3, 5)


def lora() -> Made:
    def run(self: Block, x: Tensor) -> Tensor:
        return self.head(functional.relu(self.base(x) + 2 * (x @ self.a.T @ self.b.T)))

    return Block(run, base=nn.Linear(6, 8), a=weight(2, 6), b=weight(8, 2), head=nn.Linear(8, 3)), torch.zeros(2, 6)


def modulated() -> Made:
    """Styles scale, shift and gate (adaptive layer norm)."""

    def run(self: Block, x: Tensor, style: Tensor) -> Tensor:
        scale, shift, gate = self.style(functional.silu(style))[:, None].chunk(3, -1)
        return x + gate * self.two(functional.gelu(self.one(functional.layer_norm(x, (6,)) * (1 + scale) + shift)))

    return Block(run, style=nn.Linear(4, 18), one=nn.Linear(6, 9), two=nn.Linear(9, 6)), (
        torch.zeros(2, 5, 6),
        torch.zeros(2, 4),
    )


def three_dimensional() -> Made:
    return nn.Sequential(
        nn.Conv3d(2, 6, 3, padding=1), nn.BatchNorm3d(6), nn.Mish(), nn.MaxPool3d(2), nn.Conv3d(6, 8, (1, 3, 3), groups=2),
        nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Softmax(-1), nn.Linear(8, 3),
    ), torch.zeros(2, 2, 4, 8, 8)  # fmt: skip


def quantized_book() -> Made:
    """The nearest of a book's vectors replaces each vector."""

    def run(self: Block, x: Tensor) -> Tensor:
        z = self.encode(x)
        return self.decode(functional.embedding(torch.cdist(z, self.book).argmin(-1), self.book))

    return Block(run, encode=nn.Linear(6, 5), book=weight(11, 5), decode=nn.Linear(5, 6)), torch.zeros(2, 4, 6)


def capsules() -> Made:
    def run(self: Block, x: Tensor) -> Tensor:
        votes = torch.einsum("bni,nioj->bnoj", x, self.transform)
        weights = torch.zeros(2, 4, 3)
        for _ in range(2):
            out = torch.tanh((weights.softmax(-1)[..., None] * votes).sum(1))
            weights = weights + (votes * out[:, None]).sum(-1)
        return out.norm(dim=-1)

    return Block(run, transform=weight(4, 5, 3, 6)), torch.zeros(2, 4, 5)


def highway() -> Made:
    def run(self: Block, x: Tensor) -> Tensor:
        for layer, gate in zip(self.layers, self.gates, strict=True):
            open_ = gate(x).sigmoid()
            x = torch.where(open_ > 0.5, functional.relu(layer(x)), x) * open_
        return self.head(torch.lerp(x, x.flip(0), 0.3))

    return Block(
        run,
        layers=nn.ModuleList(nn.Linear(7, 7) for _ in range(2)),
        gates=nn.ModuleList(nn.Linear(7, 7) for _ in range(2)),
        head=nn.Linear(7, 3),
    ), torch.zeros(2, 7)


def cells() -> Made:
    def run(self: Block, x: Tensor) -> Tensor:
        state = torch.zeros(2, 7)
        memory = torch.zeros(2, 6), torch.zeros(2, 6)
        for step in x.unbind(-1):
            state = self.gru(step, state)
            memory = self.lstm(state, memory)
        return self.head(memory[0])

    return Block(run, gru=nn.GRUCell(10, 7), lstm=nn.LSTMCell(7, 6), head=nn.Linear(6, 3)), SERIES


def flow() -> Made:
    """A coupling: one half is scaled and shifted by what the other says, after an invertible mixing."""

    def run(self: Block, x: Tensor) -> Tensor:
        a, b = (x @ self.mix).split([3, 4], -1)
        scale, shift = self.net(a).chunk(2, -1)
        return torch.cat([a, b * torch.exp(scale.tanh()) + shift], -1) @ torch.linalg.inv(self.mix + 9 * torch.eye(7))

    return Block(run, mix=weight(7, 7), net=nn.Sequential(nn.Linear(3, 9), nn.ReLU(), nn.Linear(9, 8))), torch.zeros(
        2, 7
    )


def tied_autoencoder() -> Made:
    def run(self: Block, x: Tensor) -> Tensor:
        return functional.linear(functional.relu(self.encode(x)), self.encode.weight.t(), self.bias)

    return Block(run, encode=nn.Linear(9, 5), bias=weight(9)), torch.zeros(2, 9)


def positions() -> Made:
    """A table of positions cut to the length of the text: the rows beyond are rows like the others."""

    def run(self: Block, tokens: Tensor) -> Tensor:
        x = self.table(tokens) + self.place[: tokens.shape[1]]
        return self.head(functional.gelu(self.mid(x)))

    return Block(
        run, table=nn.Embedding(30, 8), place=weight(16, 8), mid=nn.Linear(8, 9), head=nn.Linear(9, 3)
    ), torch.zeros(2, 5, dtype=torch.long)


NETS: dict[str, Callable[[], Made]] = {
    factory.__name__: factory
    for factory in (
        option_a_resnet, inception, shuffle, squeeze_excite, wavenet, weight_normed, bilstm_attention, stacked_gru, transformer,
        cross_attention, super_resolution, pixel_unshuffle, autoencoder, dcgan, siren, graph, message_passing, experts, routed,
        conformer, linear_attention, retention, splines, hypernetwork, bags, bilinear, mixer, gated_unit, rms_transformer,
        spatial_transformer, unfolded, windows, spectral, metric, lora, modulated, three_dimensional, quantized_book, capsules,
        highway, cells, flow, tied_autoencoder, positions,
    )
}  # fmt: skip


def branching() -> Made:
    def run(self: Block, x: Tensor) -> Tensor:
        return self.one(x) if x.sum() > 0 else self.two(x)

    return Block(run, one=nn.Linear(3, 2), two=nn.Linear(3, 2)), torch.zeros(2, 3)


REFUSED_NETS: dict[str, Callable[[], Made]] = {"branching": branching}
