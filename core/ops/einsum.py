"""einsum and tensordot: sums of products named by letters, brought down to permute, reshape and matmul.

Operands are contracted two at a time. Each pair becomes one batched matrix product: the labels of both
that stay are the batch, those of one alone its rows or columns, and those that nobody needs any more
are summed over.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from math import prod
from types import EllipsisType
from typing import Any, TypeAlias, overload

from flambeau.core.autocast import autocasting
from flambeau.core.errors import ArgumentError, ShapeError
from flambeau.core.ops.matmul import matmul_p
from flambeau.core.ops.shape import axis_of, reshape, sizes_of, tensors_of
from flambeau.core.ops.storage import expand_p, permute_p
from flambeau.core.ops.views import diagonal
from flambeau.core.out import deliver
from flambeau.core.public import public
from flambeau.core.tensor import Tensor

Labels = tuple[int, ...]

#: The labels of one operand; those of the dimensions that an ellipsis stands for count down from -1, the last of them,
#: so that they align from the right.
Term: TypeAlias = list[int | EllipsisType]


@overload
def einsum(equation: str, *operands: Tensor | Sequence[Tensor]) -> Tensor: ...
@overload
def einsum(equation: Tensor, *operands: Tensor | Sequence[int | EllipsisType]) -> Tensor: ...
@public(method=False)
@autocasting("inside|low")
def einsum(equation: str | Tensor, *operands: Tensor | Sequence[Tensor] | Sequence[int | EllipsisType]) -> Tensor:
    """Sums of products by labels: "ij,jk->ik", with "..." for further dimensions that broadcast.

    Without "->" the result has the labels that occur once, in alphabetical order. The other form takes
    lists of label numbers: ``einsum(a, [0, 1], b, [1, 2], [0, 2])``.

    >>> m = fb.arange(4).reshape(2, 2)
    >>> fb.einsum("ij,kj->ik", m, m)
    tensor([[ 1,  3],
            [ 3, 13]])
    """
    if isinstance(equation, str):
        items = tensors_of(operands)  # type: ignore[arg-type]  # as the overload says
        terms, result = _parse(equation)
    else:
        items, terms, result = _sublists((equation, *operands))
    if len(terms) != len(items):
        raise ShapeError(
            f"einsum: the equation {equation!r} names {len(terms)} operand(s), but {len(items)} were given"
        )
    labelled = [_label(i, x, term) for i, (x, term) in enumerate(zip(items, terms, strict=True))]
    sizes = _sizes(labelled)
    wanted = _result_labels(result, terms, sizes)
    pairs = [_diagonals(x, labels) for x, labels in labelled]
    return _contract(pairs, wanted, sizes)


# -- reading the equation ----------------------------------------------------------------------------
def _parse(equation: str) -> tuple[list[Term], Term | None]:
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms = [_term(equation, t) for t in left.split(",")]
    return terms, _term(equation, right) if arrow else None


def _term(equation: str, text: str) -> Term:
    out: Term = []
    i = 0
    while i < len(text):
        if text.startswith("...", i):
            if ... in out:
                raise ArgumentError(f"einsum: two ellipses in the term {text!r} of {equation!r}")
            out.append(...)
            i += 3
        elif text[i].isalpha() and text[i].isascii():
            out.append(ord(text[i]))
            i += 1
        else:
            raise ArgumentError(
                f"einsum: invalid character {text[i]!r} in {equation!r}; labels are the letters a to z and A to Z"
            )
    return out


def _sublists(arguments: Sequence[Any]) -> tuple[list[Tensor], list[Term], Term | None]:
    def labels(entries: Sequence[int | EllipsisType]) -> Term:
        return [e if e is ... else 1000 + int(e) for e in entries]

    items, terms = list(arguments[0::2]), [labels(s) for s in arguments[1::2]]
    if len(arguments) % 2:
        return items[:-1], terms, labels(items[-1])
    return items, terms, None


def _label(i: int, x: Tensor, term: Term) -> tuple[Tensor, Labels]:
    if not isinstance(x, Tensor):
        raise TypeError(f"einsum: operand {i} must be a tensor, got {type(x).__name__}")
    named, ndim = sum(t is not ... for t in term), x.ndim
    if named > ndim or (named < ndim and ... not in term):
        raise ShapeError(
            f"einsum: operand {i} of shape {tuple(x.shape)} has {ndim} dimension(s), but its term names {named}"
        )
    out: list[int] = []
    for t in term:
        out += range(named - ndim, 0) if t is ... else (t,)
    return x, tuple(out)


def _sizes(labelled: Sequence[tuple[Tensor, Labels]]) -> dict[int, int]:
    sizes: dict[int, int] = {}
    for i, (x, labels) in enumerate(labelled):
        for label, n in zip(labels, x._array.shape, strict=True):
            have = sizes.get(label, 1)
            if n != 1 and have not in (1, n):
                raise ShapeError(
                    f"einsum: label {_name(label)} has size {n} in operand {i} of shape {tuple(x.shape)}, "
                    f"but size {have} before"
                )
            sizes[label] = n if have == 1 else have
    return sizes


def _name(label: int) -> str:
    return "of the ellipsis" if label < 0 else repr(chr(label)) if label < 1000 else str(label - 1000)


def _result_labels(result: Term | None, terms: Sequence[Term], sizes: dict[int, int]) -> Labels:
    broad = sorted(label for label in sizes if label < 0)
    if result is None:
        every = [t for term in terms for t in term if t is not ...]
        return (*broad, *sorted(t for t in set(every) if every.count(t) == 1))
    out: list[int] = []
    for t in result:
        out += broad if t is ... else (t,)
    unknown = [t for t in out if t not in sizes]
    if unknown or len(set(out)) != len(out):
        what = f"label {_name(unknown[0])} that no operand has" if unknown else "a label twice"
        raise ArgumentError(f"einsum: the result names {what}")
    return tuple(out)


# -- contracting -------------------------------------------------------------------------------------
def _diagonals(x: Tensor, labels: Labels) -> tuple[Tensor, Labels]:
    """A label that stands twice in one operand takes the diagonal."""
    while len(set(labels)) != len(labels):
        twice = next(t for t in labels if labels.count(t) > 1)
        a, b = [i for i, t in enumerate(labels) if t == twice][:2]
        if x._array.shape[a] != x._array.shape[b]:
            raise ShapeError(
                f"einsum: label {_name(twice)} stands for sizes {x.shape[a]} and {x.shape[b]} of one operand"
            )
        x = diagonal(x, 0, a, b)
        labels = (*(t for i, t in enumerate(labels) if i not in (a, b)), twice)
    return x, labels


def _contract(pairs: list[tuple[Tensor, Labels]], wanted: Labels, sizes: dict[int, int]) -> Tensor:
    if len(pairs) == 1:
        x, labels = pairs[0]
        return _ordered(*_summed(x, labels, wanted), wanted, sizes)
    while len(pairs) > 1:
        i, j = _cheapest(pairs, wanted, sizes) if len(pairs) > 2 else (0, 1)
        (x, a), (y, b) = pairs[i], pairs[j]
        rest = [p for k, p in enumerate(pairs) if k not in (i, j)]
        needed = {*wanted, *(t for _, labels in rest for t in labels)}
        pairs = [*rest, _pair(x, a, y, b, needed)]
    return _ordered(*_summed(*pairs[0], wanted), wanted, sizes)


def _cheapest(pairs: Sequence[tuple[Tensor, Labels]], wanted: Labels, sizes: dict[int, int]) -> tuple[int, int]:
    """The pair whose product takes the least room beyond its operands (greedy, left to right among equals)."""

    def growth(i: int, j: int) -> int:
        a, b = pairs[i][1], pairs[j][1]
        needed = {*wanted, *(t for k, (_, labels) in enumerate(pairs) if k not in (i, j) for t in labels)}
        size = [prod(sizes[t] for t in labels) for labels in ({*a, *b} & needed, a, b)]
        return size[0] - size[1] - size[2]

    return min(((i, j) for i in range(len(pairs)) for j in range(i + 1, len(pairs))), key=lambda ij: growth(*ij))


def _summed(x: Tensor, labels: Labels, needed: Container[int]) -> tuple[Tensor, Labels]:
    """``x`` summed over the labels that nobody needs."""
    gone = tuple([i for i, t in enumerate(labels) if t not in needed])
    if not gone:
        return x, labels
    return x.sum(gone), tuple([t for t in labels if t in needed])


def _pair(x: Tensor, a: Labels, y: Tensor, b: Labels, needed: set[int]) -> tuple[Tensor, Labels]:
    """Two operands as one batched product over the labels that both have and nobody needs."""
    x, a = _summed(x, a, needed | set(b))
    y, b = _summed(y, b, needed | set(a))
    shared = [t for t in a if t in b]
    # A size of 1 that meets a larger one broadcasts: it takes part as a label of the other operand alone.
    size_x, size_y = dict(zip(a, x._array.shape, strict=True)), dict(zip(b, y._array.shape, strict=True))
    x, a = _dropped(x, a, {t for t in shared if size_x[t] == 1 != size_y[t]})
    y, b = _dropped(y, b, {t for t in shared if size_y[t] == 1 != size_x[t]})
    x, a = _summed(x, a, needed | set(b))
    y, b = _summed(y, b, needed | set(a))
    batch = tuple([t for t in a if t in b and t in needed])
    inner = tuple([t for t in a if t in b and t not in needed])
    rows = tuple([t for t in a if t not in b])
    columns = tuple([t for t in b if t not in a])
    lead = (batch,) if batch else ()
    left, right = _grouped(x, a, *lead, rows, inner), _grouped(y, b, *lead, inner, columns)
    out = matmul_p(left, right) if inner else left * right
    labels = (*batch, *rows, *columns)
    sizes = dict(zip((*a, *b), (*x._array.shape, *y._array.shape), strict=True))
    return reshape(out, tuple([sizes[t] for t in labels])), labels


def _dropped(x: Tensor, labels: Labels, gone: set[int]) -> tuple[Tensor, Labels]:
    """``x`` without dimensions of size 1."""
    if not gone:
        return x, labels
    kept = [i for i, t in enumerate(labels) if t not in gone]
    return reshape(x, tuple([x._array.shape[i] for i in kept])), tuple([labels[i] for i in kept])


def _grouped(x: Tensor, labels: Labels, *groups: Labels) -> Tensor:
    """``x`` with each group of labels as one dimension."""
    at = {t: i for i, t in enumerate(labels)}
    order = tuple([at[t] for group in groups for t in group])
    sizes = [prod(x._array.shape[at[t]] for t in group) for group in groups]
    return reshape(permute_p(x, order) if order != tuple(range(len(order))) else x, tuple(sizes))


def _ordered(x: Tensor, labels: Labels, wanted: Labels, sizes: dict[int, int]) -> Tensor:
    out = permute_p(x, tuple([labels.index(t) for t in wanted])) if labels != wanted else x
    full = tuple([sizes[t] for t in wanted])
    return expand_p(out, full) if tuple(out._array.shape) != full else out


def _folded(x: Tensor, axis: int) -> Tensor:
    return x.sum(axis, keepdim=True, dtype=x.dtype)


@public(method=False, more={"axes": "dims"})
@autocasting("inside|widest")
def tensordot(
    a: Tensor, b: Tensor, dims: int | Tensor | Sequence[int | Sequence[int]] = 2, *, out: Tensor | None = None
) -> Tensor:
    """Sums of products over ``dims``: the last so many of a and first of b, or a pair of lists.

    >>> fb.tensordot(fb.ones(2, 3), fb.ones(3, 4), dims=1).shape
    flambeau.Size([2, 4])
    """
    if isinstance(dims, Tensor):
        dims = dims.tolist()
    if isinstance(dims, int):
        if not 0 <= dims <= min(a.ndim, b.ndim):
            raise ShapeError(
                f"tensordot: dims={dims} must be between 0 and the dimensions of "
                f"a {tuple(a.shape)} and b {tuple(b.shape)}"
            )
        first, second = tuple(range(a.ndim - dims, a.ndim)), tuple(range(dims))
    else:
        first = tuple([axis_of("tensordot", a, d, label="dims") for d in sizes_of("tensordot", (dims[0],), "dims")])
        second = tuple([axis_of("tensordot", b, d, label="dims") for d in sizes_of("tensordot", (dims[1],), "dims")])
    for i, j in zip(first, second, strict=False):  # a size of 1 is broadcast
        n, m = a._array.shape[i], b._array.shape[j]
        if n != m and 1 in (n, m):
            left = n == 1
            a, b = a if left else _folded(a, i), _folded(b, j) if left else b
    if len(first) != len(second) or any(
        a._array.shape[i] != b._array.shape[j] for i, j in zip(first, second, strict=False)
    ):
        raise ShapeError(
            f"tensordot: dimensions {first} of a {tuple(a.shape)} and {second} of b {tuple(b.shape)} "
            "must have equal sizes"
        )
    rows = tuple([i for i in range(a.ndim) if i not in first])
    columns = tuple([j for j in range(b.ndim) if j not in second])
    left = _grouped(a, tuple(range(a.ndim)), rows, first)
    right = _grouped(b, tuple(range(b.ndim)), second, columns)
    found = reshape(matmul_p(left, right), (*(a._array.shape[i] for i in rows), *(b._array.shape[j] for j in columns)))
    return deliver("tensordot", found, out)
