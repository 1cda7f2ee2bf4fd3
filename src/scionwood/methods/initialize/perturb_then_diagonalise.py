"""Perturb, then diagonalise: a diagonal state space as good as HiPPO-LegS itself (Yu et al., 2023, arXiv:2310.01698).

    A + E = V Lambda V^-1;   state matrix Lambda, input V^-1 B, output C V

LegS has no usable eigenvectors (condition 8e10 at n = 16). S4D drops its low-rank part instead, and so answers quite
differently to single frequencies: by up to 11.8 where |G| is at most 0.18, at n = 32; from a perturbation of 1e-3 |A| the error is 0.0035 to 0.0089 (eight draws). A perturbation of size epsilon = |E|_2
changes the answer by no more than (2 log n + 4) epsilon to first order, and leaves eigenvectors of condition 1 / epsilon.

E is Gaussian here, |E|_2 = relative |A|_2, halved until every eigenvalue is stable, and drawn again while one is real, so
that conjugate pairs are left of which half are stored. The paper minimises cond(V) + gamma |E| by gradient descent, with
steps that it does not publish, and finds |E| of 1e-2 to 1 |A| useful with that. ``descend`` does so, on the logarithm of
the condition and kept stable: at n = 16 it reaches 142 to 152 with |E| = 1e-3 |A|, where a Gaussian E leaves 740 to 2700.
A Gaussian E of 1e-2 |A| has unstable eigenvalues at n = 32 already. There is no published code. The descent is for calls
of one's own: at most sizes it leaves real eigenvalues, which stored pairs cannot hold, and at n = 64 it takes a minute.

C is drawn in LegS's own basis, real and standard normal, and taken to that of the eigenvectors.

The names that a module stores its state space under are those of ``state_space``; A_log, with real values only, is left.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from scionwood.errors import MethodError
from scionwood.methods.initialize.drawing import normal
from scionwood.methods.initialize.site import Site
from scionwood.methods.initialize.state_space import hippo_legs, part, steps, stored
from scionwood.methods.record import Finite, method

__all__ = ["Diagonalised", "descend", "diagonalise", "perturb_then_diagonalise", "split"]


@dataclass(frozen=True)
class Diagonalised:
    """A perturbed matrix in the basis of its eigenvectors.

    Args:
        values: the eigenvalues, complex.
        vectors: the eigenvectors, in columns.
        relative: |E|_2 / |A|_2 of the perturbation taken.
        condition: of the eigenvectors.
    """

    values: Tensor
    vectors: Tensor
    relative: float
    condition: float

    def input(self, b: Tensor) -> Tensor:
        """Return V^-1 B."""
        return torch.linalg.solve(self.vectors, b.to(self.vectors.dtype))

    def output(self, c: Tensor) -> Tensor:
        """Return C V."""
        return c.to(self.vectors.dtype) @ self.vectors


@method(scope="tensor", laws={"shape", "deterministic"}, paper="2310.01698")
def perturb_then_diagonalise(
    site: Site,
    generator: torch.Generator,
    draws: Callable[..., torch.Generator],
    *,
    relative: Annotated[float, Finite(above=0, at_most=1)] = 0.001,
    dt_min: Annotated[float, Finite(above=0)] = 0.001,
    dt_max: Annotated[float, Finite(above=0)] = 0.1,
    b_in_c: bool = True,
) -> Tensor | None:
    """Return the parameters of a diagonal state space near HiPPO-LegS; all others are left.

    >>> seed = torch.Generator().manual_seed(0)
    >>> real = perturb_then_diagonalise(Site("log_A_real", "other", (1, 4)), seed, lambda *key: seed)
    >>> real.shape
    torch.Size([1, 4])

    Args:
        site: the tensor.
        generator: the torch.Generator to draw from.
        draws: gives the torch.Generator of a key: the parts of one state space share their perturbation.
        relative: size of the perturbation, as a share of |A|_2, before it is halved.
        dt_min: the smallest step.
        dt_max: the largest step.
        b_in_c: the module stores no B, so that C takes it on.
    """
    name = stored(site)
    if name is None or name == "A_log":
        return None
    if name in ("log_dt", "dt_bias"):
        return steps(site, name, generator, dt_min, dt_max)
    if name == "D":
        return normal(site, 1.0, generator)
    matrix, b = hippo_legs(2 * site.shape[1])
    found = diagonalise(matrix, draws("perturb_then_diagonalise", site.name.rpartition(".")[0]), relative)
    order = found.values.imag.argsort(descending=True)[: site.shape[1]]
    inputs = found.input(b)[order]
    if name != "C":
        return part(site, name, found.values[order], inputs, generator, b_in_c=b_in_c)
    # Drawn where LegS is at home: in the basis of the eigenvectors a plain draw would be as large as their condition.
    outputs = found.output(torch.randn(site.shape[0], len(matrix), generator=generator, dtype=torch.float64))[:, order]
    return torch.view_as_real(outputs * inputs if b_in_c else outputs).float()


def diagonalise(
    matrix: Tensor, generator: torch.Generator, relative: float = 0.001, *, pairs: bool = True
) -> Diagonalised:
    """Return the eigenvalues and eigenvectors of a matrix after a random perturbation that leaves it stable.

    >>> matrix, _ = hippo_legs(16)
    >>> found = diagonalise(matrix, torch.Generator().manual_seed(0))
    >>> found.condition < 1e4, float(found.values.real.max()) < 0
    (True, True)

    Args:
        matrix: real and square.
        generator: the torch.Generator to draw from.
        relative: |E|_2 / |A|_2 to begin with.
        pairs: draw again while an eigenvalue is real; a matrix of odd size has one always.

    Raises:
        MethodError: no perturbation was found.
    """
    matrix = matrix.double()
    length, share = torch.linalg.matrix_norm(matrix, 2), relative
    problem, hint = "", ""
    for _ in range(200):
        noise = torch.randn(matrix.shape, generator=generator, dtype=torch.float64)
        found = split(matrix + noise * (share * length / torch.linalg.matrix_norm(noise, 2)), share)
        if float(found.values.real.max()) >= 0:
            share /= 2
            problem, hint = "stable eigenvalues", "The matrix itself must be stable."
        elif not pairs or len(matrix) % 2 or bool((found.values.imag.abs() > 1e-12).all()):
            return found
        else:
            problem, hint = "eigenvalues in conjugate pairs", "Small matrices need a larger perturbation: relative=0.1."
    raise MethodError(f"No perturbation of {relative:g} leaves a matrix of {len(matrix)} with {problem}.", hint=hint)


def descend(
    matrix: Tensor,
    generator: torch.Generator,
    relative: float = 0.001,
    *,
    gamma: float = 1000.0,
    steps: int = 300,
    rate: float = 1e-4,
) -> Diagonalised:
    """Return the eigenvalues and eigenvectors of a matrix after a perturbation found by gradient descent (Adam).

    What falls is log cond(V) + gamma |E|_2 / |A|_2, with a wall before eigenvalues that are not stable.

    Args:
        matrix: real and square.
        generator: the torch.Generator to draw the first perturbation from.
        relative: |E|_2 / |A|_2 to begin with.
        gamma: what the size of the perturbation costs.
        steps: of descent.
        rate: of descent, as a share of |A|_2.

    Raises:
        MethodError: the perturbation found leaves unstable eigenvalues.
    """
    matrix = matrix.double()
    length = torch.linalg.matrix_norm(matrix, 2)
    noise = torch.randn(matrix.shape, generator=generator, dtype=torch.float64)
    change = (noise * (relative * length / torch.linalg.matrix_norm(noise, 2))).requires_grad_()
    optimizer = torch.optim.Adam([change], lr=rate * float(length))
    for _ in range(steps):
        values, vectors = torch.linalg.eig((matrix + change).to(torch.complex128))
        spread = torch.linalg.svdvals(vectors)
        unstable = (values.real + 0.1).clamp(min=0).sum()
        loss = (spread[0] / spread[-1]).log() + gamma * torch.linalg.matrix_norm(change, 2) / length + 10 * unstable
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    change = change.detach()
    found = split(matrix + change, float(torch.linalg.matrix_norm(change, 2) / length))
    if float(found.values.real.max()) >= 0:
        raise MethodError(
            f"After {steps} steps an eigenvalue is not stable: its real part is {float(found.values.real.max()):.3g}.",
            hint="Take a larger gamma, or more steps.",
        )
    return found


def split(matrix: Tensor, relative: float = 0.0) -> Diagonalised:
    """Return a matrix's eigenvalues and eigenvectors, with the condition of these.

    >>> found = split(torch.tensor([[-1.0, 0.01], [1.0, -1.0]], dtype=torch.float64))
    >>> sorted(round(float(value), 9) for value in found.values.real), round(found.condition, 6)
    ([-1.1, -0.9], 10.0)
    """
    values, vectors = torch.linalg.eig(matrix.to(torch.complex128))
    spread = torch.linalg.svdvals(vectors)
    return Diagonalised(values, vectors, relative, float(spread[0] / spread[-1]))
