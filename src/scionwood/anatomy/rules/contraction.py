"""Contractions: dimensions that are summed against each other are one."""

from __future__ import annotations

from scionwood.anatomy.atoms import UNIT, Dim, size_of, tag
from scionwood.anatomy.walk import Call, Value


def _linear(call: Call) -> Value:
    given: Value = call["input"]
    weight: Value = call["weight"]
    if len(weight.dims) == 1:
        return _product(call, given, weight)
    out, into = weight.dims
    call.walk.unify(given.dims[-1], into)
    _contracted(call, (given, given.dims[-1]), (weight, into))
    _bias(call, call.get("bias"), out)
    return Value([*given.dims[:-1], out], constant=given.constant and weight.constant)


def _contracted(call: Call, *sides: tuple[Value, Dim]) -> None:
    """One side of a sum reads; of two parameters the last, and the first writes what is read."""
    parameters = [side for side in sides if side[0].origin is not None]
    for value, dim in parameters[-1:]:
        call.walk.contract(value, dim)
    for value, _ in parameters[:-1]:
        call.walk.write(value, *value.dims)


def _bias(call: Call, bias: Value | None, dim: Dim) -> None:
    if bias is not None:
        call.walk.unify(bias.dims[-1], dim)
        if bias.origin is not None:
            call.walk.roles.append((bias.origin, bias.dims[-1], "scales"))


def _product(call: Call, left: Value, right: Value) -> Value:
    """``left @ right`` with broadcast batch dimensions, as ``matmul`` has it."""
    walk = call.walk
    left_dims = list(left.dims) if len(left.dims) > 1 else [UNIT, *left.dims]
    right_dims = list(right.dims) if len(right.dims) > 1 else [*right.dims, UNIT]
    walk.unify(left_dims[-1], right_dims[-2])
    _contracted(call, (left, left_dims[-1]), (right, right_dims[-2]))
    rank = max(len(left_dims), len(right_dims)) - 2
    batch = walk.align([Value(left_dims[:-2]), Value(right_dims[:-2])], rank)
    if left.weights:
        tag(right_dims[-1], "value")
        for dim in batch:
            tag(dim, "heads")
    walk.pair(left, right, left_dims[-1], None if left.weights else "score")
    result = list(batch)
    if len(left.dims) > 1:
        result.append(left_dims[-2])
    if len(right.dims) > 1:
        result.append(right_dims[-1])
    return Value(result, constant=left.constant and right.constant)


def _matmul(call: Call) -> Value:
    other = next(name for name in ("other", "mat2", "vec", "tensor") if name in call)
    return _product(call, call["self"], call[other])


def _addmm(call: Call) -> Value:
    names = [name for name in ("mat1", "mat2", "batch1", "batch2", "mat", "vec") if name in call]
    product = _product(call, call[names[0]], call[names[1]])
    added: Value = call["self"]
    dims = call.walk.align([product, added], len(product.dims))
    if added.origin is not None:
        call.walk.roles.extend((added.origin, dim, "scales") for dim in added.dims)
    return Value(dims)


def _einsum(call: Call) -> Value:
    equation = str(call["equation"]).replace(" ", "")
    left, _, right = equation.partition("->")
    terms = left.split(",")
    operands: list[Value] = call["tensors"]
    letters: dict[str, Dim] = {}
    used: dict[str, list[Value]] = {}
    broadcast: list[Value] = []
    for term, value in zip(terms, operands, strict=True):
        before, dots, after = term.partition("...")
        extra = len(value.dims) - len(before) - len(after)
        named = [*before, *(["..."] * extra if dots else []), *after]
        if dots:
            broadcast.append(Value(value.dims[len(before) : len(before) + extra]))
        for letter, dim in zip(named, value.dims, strict=True):
            if letter == "..." or size_of(dim) == 1:
                continue
            if letter in letters:
                call.walk.unify(letters[letter], dim)
            letters.setdefault(letter, dim)
            used.setdefault(letter, []).append(value)
    if not right and "->" not in equation:
        counts = sorted(set(left) - {",", "."})
        right = ("..." if broadcast else "") + "".join(c for c in counts if left.count(c) == 1)
    for letter, owners in used.items():
        if letter not in right and len(owners) > 1:
            _contracted(call, *((value, letters[letter]) for value in owners))
            call.walk.pair(owners[0], owners[1], letters[letter])
    rank = max((len(v.dims) for v in broadcast), default=0)
    shared = call.walk.align(broadcast, rank)
    before, dots, after = right.partition("...")
    result = [letters.get(c, UNIT) for c in before] + (shared if dots else []) + [letters.get(c, UNIT) for c in after]
    return Value(result)


def _bilinear(call: Call) -> Value:
    first, second, weight = call["input1"], call["input2"], call["weight"]
    out, one, two = weight.dims
    call.walk.unify(first.dims[-1], one)
    call.walk.unify(second.dims[-1], two)
    call.walk.roles.extend(
        ((weight.origin, dim, role)) for dim, role in ((out, "writes"), (one, "reads"), (two, "reads")) if weight.origin
    )
    _bias(call, call.get("bias"), out)
    return Value([*first.dims[:-1], out])


def _attention(call: Call) -> Value:
    """Scaled dot product: queries against keys over their width, the weights against the values over the keys' positions."""
    walk = call.walk
    query, key, value = call["query"], call["key"], call["value"]
    if call.get("enable_gqa"):
        groups = size_of(query.dims[-3]) // size_of(key.dims[-3])
        outer, inner = walk.regroup([query.dims[-3]], [size_of(key.dims[-3]), groups])
        walk.unify(outer, key.dims[-3])
        walk.unify(outer, value.dims[-3])
        tag(outer, "heads")
        tag(inner, "heads")
        batch = [*walk.align([Value(v.dims[:-3]) for v in (query, key, value)], len(query.dims) - 3), query.dims[-3]]
    else:
        batch = walk.align([Value(v.dims[:-2]) for v in (query, key, value)], len(query.dims) - 2)
        for dim in batch:
            tag(dim, "heads")
    walk.unify(query.dims[-1], key.dims[-1])
    walk.unify(key.dims[-2], value.dims[-2])
    walk.pair(query, key, query.dims[-1], "score")
    tag(value.dims[-1], "value")
    if call.get("is_causal"):
        walk.pin(query.dims[-2], "positional")
        walk.pin(key.dims[-2], "positional")
    mask: Value | None = call.get("attn_mask")
    if mask is not None:
        walk.align([mask, Value([*batch, query.dims[-2], key.dims[-2]])], len(batch) + 2)
    return Value([*batch, query.dims[-2], value.dims[-1]])


def _grouped_matmul(call: Call) -> Value:
    """Rows sorted by label, each against the matrix of its label: ``(tokens, in) x (labels, in, out)``."""
    walk = call.walk
    left: Value = call["input" if "input" in call else "self"]
    weight: Value = call["weight" if "weight" in call else "mat2"]
    ends: Value = call["offs"]
    labels, into, out = weight.dims
    if ends.counts:
        walk.unify(labels, ends.dims[-1])
        tag(labels, "experts")
    else:
        walk.pin(labels, "positional")
    walk.unify(left.dims[-1], into)
    walk.contract(weight, into)
    return Value([left.dims[0], out])


def _distance(call: Call) -> Value:
    """``cdist``: pairwise distances over the last dimension."""
    one, two = call["x1"], call["x2"]
    call.walk.unify(one.dims[-1], two.dims[-1])
    batch = call.walk.align([Value(one.dims[:-2]), Value(two.dims[:-2])], max(len(one.dims), len(two.dims)) - 2)
    return Value([*batch, one.dims[-2], two.dims[-2]])


def _inverse(call: Call) -> Value:
    """The inverse of a matrix has its rows where the matrix has its columns."""
    dims = call["A" if "A" in call else "self"].dims
    return Value([*dims[:-2], dims[-1], dims[-2]])


RULES = {
    "linear": _linear,
    **dict.fromkeys(("matmul", "mm", "bmm", "mv", "dot", "__matmul__"), _matmul),
    **dict.fromkeys(("addmm", "baddbmm", "addmv", "addbmm"), _addmm),
    "einsum": _einsum,
    "bilinear": _bilinear,
    "scaled_dot_product_attention": _attention,
    **dict.fromkeys(("_grouped_mm", "grouped_mm", "grouped_mm_fallback"), _grouped_matmul),
    "cdist": _distance,
    **dict.fromkeys(("linalg_inv", "inverse", "linalg_pinv"), _inverse),
}
