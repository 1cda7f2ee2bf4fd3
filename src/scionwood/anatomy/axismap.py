"""How a target axis is made from a source axis: by an index, or by a matrix; each with its dual for the reading role.

Let x be an activation along an axis of size n. A map to size m makes it x' = M_write x. So a tensor that *writes* the
axis becomes M_write W, and one that *reads* it becomes W M_read^T. The two together leave the function as it was where

    W M_read^T M_write x = W x,   that is   M_read^T M_write = I_n.

Selecting, growing, pruning, aligning and vocabulary surgery differ in nothing but the maps they choose:

===============  ==========================  ========================================
map              M_write                     M_read
===============  ==========================  ========================================
selection        rows of the identity        the same rows (times a gain, if asked)
permutation      a permutation               the same: it preserves
duplication      rows repeated k times       the same rows divided by k: it preserves
mixture          any matrix                  given, or the transposed pseudo-inverse
===============  ==========================  ========================================
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

import torch
from torch import Tensor

from scionwood.errors import AnatomyError

__all__ = ["AxisMap"]

LARGEST_PSEUDO_INVERSE = 2**24
"""The most entries of a matrix whose pseudo-inverse is taken unasked: about 4096 x 4096, some ten seconds."""


@dataclass(frozen=True, eq=False, repr=False)
class AxisMap:
    """A map from a source axis of size n to a target axis of size m; make one by the class methods.

    Args:
        source: the size n.
        target: the size m.
        index: the source index of every target index, or nothing for a matrix.
        divisor: what divides each target index in the reading role, in float64; nothing stands for ones.
        writing: the m x n matrix of the writing role, dense or sparse, or nothing for an index.
        reading: the m x n matrix of the reading role, where it is given.
    """

    source: int
    target: int
    index: Tensor | None = None
    divisor: Tensor | None = None
    writing: Tensor | None = None
    reading: Tensor | None = None

    def __post_init__(self) -> None:
        n, m = self.source, self.target
        problems: list[str] = []
        if n < 0 or m < 0:
            problems.append("a size is negative")
        if (self.index is None) == (self.writing is None):
            problems.append("it takes either an index or a matrix")
        if self.index is not None:
            if self.index.dtype != torch.long or self.index.shape != (m,):
                problems.append(f"the index is {self.index.dtype} of shape {tuple(self.index.shape)}, not {m} int64")
            elif m and not 0 <= int(self.index.min()) <= int(self.index.max()) < n:
                low, high = int(self.index.min()), int(self.index.max())
                problems.append(f"the index runs from {low} to {high}, outside 0 to {n - 1}")
            if self.reading is not None:
                problems.append("an index has no matrix for reading")
        if self.divisor is not None and (
            self.index is None or self.divisor.shape != (m,) or bool((self.divisor == 0).any())
        ):
            problems.append(f"the divisor must be {m} numbers other than 0, beside an index")
        for name, matrix in (("writing", self.writing), ("reading", self.reading)):
            if matrix is not None and (matrix.shape != (m, n) or not matrix.is_floating_point()):
                shape = " x ".join(map(str, matrix.shape))
                problems.append(f"the {name} matrix is {matrix.dtype}, {shape}, not floating point, {m} x {n}")
        if problems:
            raise AnatomyError(f"No map of an axis from size {n} to size {m}.", problems=problems)

    # Making maps.

    @classmethod
    def identity(cls, n: int) -> "AxisMap":
        """Return the map that changes nothing.

        >>> AxisMap.identity(4)
        AxisMap(4 to 4, identity)
        """
        return cls(n, n, torch.arange(n))

    @classmethod
    def select(cls, index: Tensor | Sequence[int], n: int, *, gain: float = 1.0) -> "AxisMap":
        """Return the map that takes the indices of an axis of size n; reading tensors are multiplied by the gain.

        >>> AxisMap.select([0, 2], 4).write(torch.tensor([1, 2, 3, 4]), 0)
        tensor([1, 3])
        """
        index = torch.as_tensor(index, dtype=torch.long)
        divisor = None if gain == 1.0 else torch.full((len(index),), 1 / gain, dtype=torch.float64)
        return cls(n, len(index), index, divisor)

    @classmethod
    def duplicate(cls, index: Tensor | Sequence[int], n: int) -> "AxisMap":
        """Return the map that takes indices, some repeatedly; reading tensors are divided by the number of copies.

        >>> twice = AxisMap.duplicate([0, 0, 1], 2)
        >>> twice.write(torch.tensor([5.0, 7.0]), 0), twice.read(torch.tensor([5.0, 7.0]), 0)
        (tensor([5., 5., 7.]), tensor([2.5000, 2.5000, 7.0000]))
        """
        plain = cls.select(index, n)
        assert plain.index is not None
        copies = torch.bincount(plain.index, minlength=n)[plain.index]
        return plain if bool((copies == 1).all()) else cls(n, plain.target, plain.index, copies.double())

    @classmethod
    def permutation(cls, index: Tensor | Sequence[int]) -> "AxisMap":
        """Return the map that reorders an axis: target index j is source index ``index[j]``.

        Raises:
            AnatomyError: an index is missing or taken twice.
        """
        permutation = cls.select(index, len(index))
        if not permutation.is_permutation:
            raise AnatomyError(f"An index of {len(index)} is no permutation: it takes some index twice.")
        return permutation

    @classmethod
    def matrix(cls, writing: Tensor, reading: Tensor | None = None) -> "AxisMap":
        """Return the map with an m x n matrix, dense or sparse; its dual is the transposed pseudo-inverse unless given.

        >>> AxisMap.matrix(torch.tensor([[1.0, 0.0], [0.5, 0.5]])).read(torch.tensor([1.0, 3.0]), 0)
        tensor([-2.,  6.])
        """
        if writing.ndim != 2:
            raise AnatomyError(f"The matrix of a map has two dimensions, not {writing.ndim}.")
        m, n = writing.shape
        return cls(n, m, writing=_coo(writing), reading=None if reading is None else _coo(reading))

    @classmethod
    def product(cls, *maps: "AxisMap") -> "AxisMap":
        """Return the map of a dimension that is the row-major product of axes, outermost first (Kronecker).

        >>> AxisMap.product(AxisMap.select([1], 2), AxisMap.select([0, 2], 3)).index
        tensor([3, 5])
        """
        result = cls.identity(1)
        for inner in maps:
            result = result._times(inner)
        return result

    @classmethod
    def concatenate(cls, maps: Sequence["AxisMap"]) -> "AxisMap":
        """Return the map of a dimension that is the concatenation of dimensions (block diagonal).

        >>> AxisMap.concatenate([AxisMap.select([1], 2), AxisMap.select([0, 2], 3)]).index
        tensor([1, 2, 4])
        """
        source, target = sum(each.source for each in maps), sum(each.target for each in maps)
        indices = [each.index for each in maps if each.index is not None]
        if len(indices) == len(maps):
            starts = accumulate((each.source for each in maps), initial=0)
            index = torch.cat([i + start for i, start in zip(indices, starts, strict=False)] or [torch.arange(0)])
            divisor = torch.cat([each._divisors for each in maps]) if any(m.divisor is not None for m in maps) else None
            return cls(source, target, index, divisor)
        return cls(
            source,
            target,
            writing=_block_diagonal([each.writing_matrix for each in maps]),
            reading=_block_diagonal([each.reading_matrix for each in maps]),
        )

    # What a map is.

    @property
    def is_selection(self) -> bool:
        """Whether it takes indices, none of them twice."""
        return self.index is not None and len(self.index.unique()) == self.target

    @property
    def is_permutation(self) -> bool:
        """Whether it only reorders."""
        return self.source == self.target and self.is_selection and self.divisor is None

    @property
    def is_identity(self) -> bool:
        """Whether it changes nothing."""
        if self.index is None or self.divisor is not None or self.source != self.target:
            return False
        return torch.equal(self.index, torch.arange(self.source))

    @cached_property
    def preserves(self) -> bool:
        """Whether mapping every tensor that writes or reads the axis leaves the function as it was."""
        if self.index is not None:
            kept = torch.bincount(self.index, weights=1 / self._divisors, minlength=self.source)
            return bool(torch.allclose(kept, torch.ones_like(kept), rtol=0, atol=1e-9))
        kept = self.reading_matrix.t() @ self.writing_matrix
        kept = kept.to_dense() if kept.is_sparse else kept
        return bool(torch.allclose(kept, torch.eye(self.source, dtype=kept.dtype), rtol=0, atol=1e-5))

    @cached_property
    def writing_matrix(self) -> Tensor:
        """M_write, m x n: as given, or sparse for an index."""
        if self.writing is not None:
            return self.writing
        return self._one_hot(torch.ones(self.target, dtype=torch.float64))

    @cached_property
    def reading_matrix(self) -> Tensor:
        """M_read, m x n: as given, or sparse for an index, or the transposed pseudo-inverse of M_write.

        Raises:
            AnatomyError: the matrix is too large for a pseudo-inverse.
        """
        if self.reading is not None:
            return self.reading
        if self.writing is None:
            return self._one_hot(1 / self._divisors)
        if self.writing.numel() > LARGEST_PSEUDO_INVERSE:
            raise AnatomyError(
                f"The matrix of a map from {self.source} to {self.target} is too large for a pseudo-inverse.",
                hint="Give the matrix of its reading role.",
            )
        # float64: the dual of a nearly singular matrix must still be a dual in float32.
        return torch.linalg.pinv(self.writing.to_dense().double()).t().to(self.writing.dtype)

    def inverse(self) -> "AxisMap":
        """Return the permutation that undoes this one.

        >>> AxisMap.permutation([2, 0, 1]).inverse().index
        tensor([1, 2, 0])

        Raises:
            AnatomyError: the map is no permutation.
        """
        if not self.is_permutation:
            raise AnatomyError(f"Only a permutation has an inverse; this is {self}.")
        return AxisMap(self.source, self.source, torch.argsort(self._indices))

    def __matmul__(self, first: "AxisMap") -> "AxisMap":
        """Return the map that applies ``first`` and then this one, in both roles.

        >>> AxisMap.select([1], 2) @ AxisMap.select([0, 2], 4)
        AxisMap(4 to 1, index [2])
        """
        if first.target != self.source:
            raise AnatomyError(f"Maps do not fit: the first gives {first.target}, the second takes {self.source}.")
        if self.index is not None and first.index is not None:
            divisor = None
            if self.divisor is not None or first.divisor is not None:
                divisor = self._divisors * first._divisors[self.index]
            return AxisMap(first.source, self.target, first.index[self.index], divisor)
        return AxisMap(
            first.source,
            self.target,
            writing=_multiply(self.writing_matrix, first.writing_matrix),
            reading=_multiply(self.reading_matrix, first.reading_matrix),
        )

    # Using a map.

    def write(self, tensor: Tensor, dim: int) -> Tensor:
        """Return M_write applied along a dimension of a tensor that writes the axis.

        An index that is a slice gives a view; the identity gives the tensor itself.
        """
        self._check(tensor, dim)
        return self._take(tensor, dim) if self.index is not None else _apply(self.writing_matrix, tensor, dim)

    def read(self, tensor: Tensor, dim: int) -> Tensor:
        """Return M_read applied along a dimension of a tensor that reads the axis: W' = W M_read^T."""
        self._check(tensor, dim)
        if self.index is None:
            return _apply(self.reading_matrix, tensor, dim)
        taken = self._take(tensor, dim)
        if self.divisor is None:
            return taken
        wide = _arithmetic(tensor)
        shape = [1] * tensor.ndim
        shape[dim] = self.target
        return (taken.to(wide) / self.divisor.to(tensor.device, wide).view(shape)).to(tensor.dtype)

    def __repr__(self) -> str:
        if self.index is None:
            how = "matrix"
        elif self.is_identity:
            how = "identity"
        elif (found := self._slice) and self.target > 1:
            how = f"slice {found.start}:{found.stop}:{found.step}"
        else:
            few = self._indices[:8].tolist()
            how = f"index {few}" if self.target <= 8 else f"index [{', '.join(map(str, few))}, …]"
        scaled = "" if self.divisor is None else ", scaled for reading"
        return f"AxisMap({self.source} to {self.target}, {how}{scaled})"

    @property
    def _indices(self) -> Tensor:
        assert self.index is not None
        return self.index

    @property
    def _divisors(self) -> Tensor:
        return torch.ones(self.target, dtype=torch.float64) if self.divisor is None else self.divisor

    @cached_property
    def _slice(self) -> slice | None:
        """The index as a slice, where it is one: half of all selections are, and a slice copies nothing."""
        if self.target == 0:
            return slice(0, 0, 1)
        start, stop = int(self._indices[0]), int(self._indices[-1]) + 1
        step = int(self._indices[1]) - start if self.target > 1 else 1
        return slice(start, stop, step) if step > 0 and bool((self._indices.diff() == step).all()) else None

    def _take(self, tensor: Tensor, dim: int) -> Tensor:
        if self._slice is None:
            return tensor.index_select(dim, self._indices.to(tensor.device))
        if self._slice == slice(0, self.source, 1):
            return tensor
        return tensor[(slice(None),) * (dim % tensor.ndim) + (self._slice,)]

    def _check(self, tensor: Tensor, dim: int) -> None:
        if not -tensor.ndim <= dim < tensor.ndim or tensor.shape[dim] != self.source:
            raise AnatomyError(
                f"A map from {self.source} to {self.target} does not fit dimension {dim} of a tensor of shape "
                f"{tuple(tensor.shape)}."
            )
        mixes = self.index is None or self.divisor is not None
        if mixes and not tensor.is_floating_point():
            raise AnatomyError(f"A map that mixes or scales cannot be applied to a tensor of {tensor.dtype}.")

    def _times(self, inner: "AxisMap") -> "AxisMap":
        n, m = self.source * inner.source, self.target * inner.target
        if self.index is not None and inner.index is not None:
            index = (self.index[:, None] * inner.source + inner.index).flatten()
            divisor = None
            if self.divisor is not None or inner.divisor is not None:
                divisor = (self._divisors[:, None] * inner._divisors).flatten()
            return AxisMap(n, m, index, divisor)
        return AxisMap(
            n,
            m,
            writing=_kronecker(self.writing_matrix, inner.writing_matrix),
            reading=_kronecker(self.reading_matrix, inner.reading_matrix),
        )

    def _one_hot(self, values: Tensor) -> Tensor:
        places = torch.stack([torch.arange(self.target), self._indices])
        return torch.sparse_coo_tensor(places, values, (self.target, self.source), check_invariants=True).coalesce()


def _arithmetic(tensor: Tensor) -> torch.dtype:
    return torch.float64 if tensor.dtype == torch.float64 else torch.float32


def _apply(matrix: Tensor, tensor: Tensor, dim: int) -> Tensor:
    """Apply a matrix along a dimension, in float32 or wider, and give back the tensor's own dtype."""
    wide = _arithmetic(tensor)
    columns = tensor.movedim(dim, 0)
    mixed = matrix.to(tensor.device, wide) @ columns.reshape(len(columns), -1).to(wide)
    return mixed.view(-1, *columns.shape[1:]).movedim(0, dim).to(tensor.dtype)


def _coo(matrix: Tensor) -> Tensor:
    """Bring every sparse layout to the one that all operations here know."""
    return matrix if matrix.layout == torch.strided else matrix.to_sparse_coo().coalesce()


def _multiply(second: Tensor, first: Tensor) -> Tensor:
    wide = torch.promote_types(second.dtype, first.dtype)
    with warnings.catch_warnings():
        # torch multiplies two sparse matrices as CSR, and says once in a process that CSR is in beta.
        warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta", UserWarning)
        return _coo(second.to(wide) @ first.to(wide))


def _kronecker(outer: Tensor, inner: Tensor) -> Tensor:
    if not outer.is_sparse and not inner.is_sparse:
        return torch.kron(outer, inner)
    outer, inner = outer.to_sparse().coalesce(), inner.to_sparse().coalesce()
    sizes = torch.tensor(inner.shape)[:, None, None]
    places = outer.indices()[:, :, None] * sizes + inner.indices()[:, None, :]
    values = outer.values()[:, None] * inner.values()
    shape = [a * b for a, b in zip(outer.shape, inner.shape, strict=True)]
    return torch.sparse_coo_tensor(places.flatten(1), values.flatten(), shape, check_invariants=True).coalesce()


def _block_diagonal(blocks: Sequence[Tensor]) -> Tensor:
    if not any(block.is_sparse for block in blocks):
        return torch.block_diag(*blocks)
    sparse = [block.to_sparse().coalesce() for block in blocks]
    corners = torch.tensor([[0, 0], *(block.shape for block in blocks)]).cumsum(0)
    places = [block.indices() + corner[:, None] for block, corner in zip(sparse, corners, strict=False)]
    values = [block.values() for block in sparse]
    return torch.sparse_coo_tensor(
        torch.cat(places, 1), torch.cat(values), corners[-1].tolist(), check_invariants=True
    ).coalesce()
