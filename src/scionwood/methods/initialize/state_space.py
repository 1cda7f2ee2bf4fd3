"""S4D: diagonal state matrices that remember at every scale (Gu et al., 2022, arXiv:2206.11893).

    real  A_n = -(n + 1)        lin  A_n = -1/2 + i pi n        inv  A_n = -1/2 + i (N / pi) (N / (2 n + 1) - 1)
    legs  the eigenvalues of HiPPO-LegS without its low-rank part: -1/2 + i w_n, B = V* sqrt(2 n + 1)

n = 0 .. N/2 - 1: of each conjugate pair one is kept, with positive imaginary part, hence the factor 2 Re in

    K[l] = 2 Re sum_n C_n B_n (exp(dt A_n) - 1) / A_n exp(dt A_n l)

B = 1 but for legs; C is complex standard normal; log dt is uniform between log 0.001 and log 0.1, a value for each channel;
D ~ N(0, 1). As every real part is -1/2, dt sets how far a channel remembers. Inv approximates legs. The parameters want
no weight decay and a smaller learning rate. The theory halves B for legs; the published code does not, nor does this.

Measured here, 8 slow waves to be told apart half a sequence of 256 later, 150 steps: 0.91 to 0.98 right with lin, 0.84 to
1.00 with inv, 0.94 to 0.98 with legs; 0.17 with real, and 0.28 to 0.41 from random eigenvalues.

What a module stores is known by its names: ``A_log`` of (channels, state) in Mamba, which has real values only and takes
real; ``log_A_real``, ``A_imag``, ``C``, ``B``, ``log_dt`` in S4D; ``D`` of (channels,) in both; ``dt_proj.bias`` and
``dt_bias``, which softplus turns into dt. All others are left.
"""

import math
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Tensor

from scionwood.errors import MethodError
from scionwood.methods.initialize.drawing import normal
from scionwood.methods.initialize.site import Site
from scionwood.methods.record import Finite, method

__all__ = ["StateSpace", "diagonal", "hippo_legs", "kernel", "log_steps", "state_space", "stored"]

Variant = Literal["real", "lin", "inv", "legs"]


@dataclass(frozen=True)
class StateSpace:
    """The parameters of diagonal state spaces, one for each channel.

    Args:
        a: (channels, N / 2), complex; the real parts are negative.
        b: (channels, N / 2), complex.
        c: (channels, N / 2), complex.
        dt: (channels,), the step.
        d: (channels,), what the input adds to the output at once.
    """

    a: Tensor
    b: Tensor
    c: Tensor
    dt: Tensor
    d: Tensor

    @staticmethod
    def draw(
        channels: int,
        size: int,
        generator: torch.Generator,
        *,
        variant: Variant = "lin",
        dt_min: float = 0.001,
        dt_max: float = 0.1,
    ) -> "StateSpace":
        """Return parameters for a number of channels and a state size N, in float64.

        >>> StateSpace.draw(3, 8, torch.Generator().manual_seed(0)).a[0].imag.div(math.pi).tolist()
        [0.0, 1.0, 2.0, 3.0]
        """
        a, b = diagonal(variant, size)
        c = torch.randn(channels, size // 2, generator=generator, dtype=torch.complex128)
        dt = log_steps(channels, generator, dt_min, dt_max).exp()
        d = torch.randn(channels, generator=generator, dtype=torch.float64)
        return StateSpace(a.expand(channels, -1), b.expand(channels, -1), c, dt, d)


@method(scope="tensor", laws={"shape", "deterministic"}, paper="2206.11893")
def state_space(
    site: Site,
    generator: torch.Generator,
    *,
    variant: Literal["fitting", "real", "lin", "inv", "legs"] = "fitting",
    dt_min: Annotated[float, Finite(above=0)] = 0.001,
    dt_max: Annotated[float, Finite(above=0)] = 0.1,
    b_in_c: bool = True,
) -> Tensor | None:
    """Return the parameters of a diagonal state space; all others are left.

    >>> site = Site("layers.0.mixer.A_log", "other", (2, 4))
    >>> state_space(site, torch.Generator()).exp().round().tolist()
    [[1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 4.0]]

    Args:
        site: the tensor.
        generator: the torch.Generator to draw from.
        variant: which eigenvalues; fitting takes real where only real values are stored, and lin otherwise.
        dt_min: the smallest step.
        dt_max: the largest step.
        b_in_c: the module stores no B, so that C takes it on.

    Raises:
        MethodError: complex eigenvalues for what stores real ones.
    """
    name = stored(site)
    if name is None:
        return None
    if name in ("log_dt", "dt_bias"):
        return steps(site, name, generator, dt_min, dt_max)
    if name == "D":
        return normal(site, 1.0, generator)
    if name == "A_log":
        if variant not in ("fitting", "real"):
            raise MethodError(
                f"{site.name} stores real eigenvalues, of which {variant} has but one: -1/2.", hint="Use variant=real."
            )
        return torch.arange(1, site.shape[-1] + 1).log().expand(site.shape).clone()
    size = 2 * site.shape[1]
    a, b = diagonal("lin" if variant == "fitting" else variant, size)
    return part(site, name, a, b, generator, b_in_c=b_in_c)


def stored(site: Site) -> str | None:
    """Return which parameter of a state space a site is, by its name and shape, or None.

    >>> stored(Site("mixer.dt_proj.bias", "bias", (8,))), stored(Site("head.C", "linear", (8, 8)))
    ('dt_bias', None)
    """
    if site.is_weight or site.kind == "embedding":
        return None
    last = site.name.rpartition(".")[2]
    if len(site.shape) == 1 and (site.name.endswith("dt_proj.bias") or last == "dt_bias"):
        return "dt_bias"
    dims = {"A_log": 2, "log_A_real": 2, "A_imag": 2, "log_dt": 1, "D": 1}
    if dims.get(last) == len(site.shape):
        return last
    # Complex numbers are stored as pairs.
    return last if last in ("B", "C") and len(site.shape) == 3 and site.shape[-1] == 2 else None


def part(site: Site, name: str, a: Tensor, b: Tensor, generator: torch.Generator, *, b_in_c: bool) -> Tensor:
    """Return one stored parameter of a state space with the eigenvalues a and the input vector b."""
    if name == "log_A_real":
        return (-a.real).log().float().expand(site.shape).clone()
    if name == "A_imag":
        return a.imag.float().expand(site.shape).clone()
    if name == "B":
        return torch.view_as_real(b.expand(site.shape[:2])).float().clone()
    c = torch.randn(*site.shape[:2], generator=generator, dtype=torch.complex128)
    return torch.view_as_real(c * b if b_in_c else c).float()


def steps(site: Site, name: str, generator: torch.Generator, dt_min: float, dt_max: float) -> Tensor:
    """Return log dt, or what softplus turns into dt."""
    logs = log_steps(site.shape[0], generator, dt_min, dt_max)
    return (logs if name == "log_dt" else logs.exp().expm1().log()).float()


def log_steps(channels: int, generator: torch.Generator, dt_min: float, dt_max: float) -> Tensor:
    """Return log dt, uniform between the logarithms of two steps.

    >>> steps = log_steps(1000, torch.Generator().manual_seed(0), 0.001, 0.1).exp()
    >>> bool(steps.min() >= 0.001), bool(steps.max() <= 0.1), round(float(steps.log10().mean()), 1)
    (True, True, -2.0)
    """
    low, high = math.log(dt_min), math.log(dt_max)
    return torch.rand(channels, generator=generator, dtype=torch.float64) * (high - low) + low


def hippo_legs(size: int) -> tuple[Tensor, Tensor]:
    """Return the matrix A and the vector B of HiPPO-LegS.

    >>> hippo_legs(3)[0].neg().round(decimals=4).tolist()
    [[1.0, 0.0, 0.0], [1.7321, 2.0, 0.0], [2.2361, 3.873, 3.0]]
    """
    n = torch.arange(size, dtype=torch.float64)
    b = (2 * n + 1).sqrt()
    return -(torch.outer(b, b).tril(-1) + torch.diag(n + 1)), b


def diagonal(variant: Variant, size: int) -> tuple[Tensor, Tensor]:
    """Return the eigenvalues and the input vector, N / 2 of each, complex.

    >>> diagonal("inv", 8)[0].imag.round(decimals=5).tolist()
    [17.82535, 4.24413, 1.52789, 0.36378]

    Raises:
        MethodError: the state size is odd.
    """
    if size % 2:
        raise MethodError(f"A state of conjugate pairs has an even size, not {size}.")
    n = torch.arange(size // 2, dtype=torch.float64)
    half = torch.full_like(n, -0.5)
    ones = torch.ones(size // 2, dtype=torch.complex128)
    if variant == "real":
        return torch.complex(-(n + 1), torch.zeros_like(n)), ones
    if variant == "lin":
        return torch.complex(half, math.pi * n), ones
    if variant == "inv":
        return torch.complex(half, size / math.pi * (size / (2 * n + 1) - 1)), ones
    matrix, b = hippo_legs(size)
    p = (torch.arange(size, dtype=torch.float64) + 0.5).sqrt()
    # The low-rank part added back, A is normal: -1/2 and a skew matrix, whose eigenvalues come from a Hermitian one.
    skew = matrix + torch.outer(p, p) + 0.5 * torch.eye(size, dtype=torch.float64)
    imaginary, vectors = torch.linalg.eigh(-1j * skew.to(torch.complex128))
    order = imaginary.argsort(descending=True)[: size // 2]
    return torch.complex(half, imaginary[order]), vectors[:, order].mH @ b.to(torch.complex128)


def kernel(a: Tensor, b: Tensor, c: Tensor, dt: Tensor, length: int) -> Tensor:
    """Return the convolution kernel of each channel, (channels, length).

    >>> one = torch.ones(1, 1, dtype=torch.complex128)
    >>> step = torch.tensor([math.log(2)], dtype=torch.float64)
    >>> kernel(-one, one, one / 2, step, 3).round(decimals=9).tolist()  # half of the state is left after a step
    [[0.5, 0.25, 0.125]]
    """
    step = dt[:, None] * a
    powers = torch.exp(step[..., None] * torch.arange(length, dtype=dt.dtype))
    return 2 * torch.einsum("hn,hnl->hl", c * b * torch.expm1(step) / a, powers).real
