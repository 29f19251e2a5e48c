"""``rearrange``: dimensions taken apart, moved and put together by a pattern, in the notation of einops.

https://einops.rocks/api/rearrange/
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Final, TypeAlias

from flambeau.core.errors import ShapeError
from flambeau.core.ops import joining, shape, storage
from flambeau.core.tensor import Tensor

Groups: TypeAlias = list[list[str]]  # what makes up each dimension; "..." stands for those without a name
_REST: Final = "..."
_TOKEN: Final = re.compile(r"\s*(\.\.\.|[()]|[A-Za-z]\w*|\d+)")


def _parsed(side: str, pattern: str) -> Groups:
    groups: Groups = []
    inside = False
    at = 0
    side = side.rstrip()
    while at < len(side):
        found = _TOKEN.match(side, at)
        if found is None:
            raise ValueError(f"rearrange: cannot read {side[at:]!r} in pattern {pattern!r}")
        token, at = found[1], found.end()
        if token in "()":
            if inside is (token == "("):
                raise ValueError(f"rearrange: parentheses in pattern {pattern!r} must be closed, and not be nested")
            inside = token == "("
            if inside:
                groups.append([])
        elif token.isdigit():
            if token != "1":
                raise ValueError(f"rearrange: a dimension without a name must have size 1, got {token} in {pattern!r}")
            if not inside:
                groups.append([])
        elif inside:
            groups[-1].append(token)
        else:
            groups.append([token])
    if inside:
        raise ValueError(f"rearrange: a parenthesis in pattern {pattern!r} is not closed")
    names = [n for g in groups for n in g]
    if len(set(names)) < len(names):
        raise ValueError(f"rearrange: a name stands twice on one side of pattern {pattern!r}")
    return groups


def _sides(pattern: str, lengths: dict[str, int]) -> tuple[Groups, Groups]:
    if pattern.count("->") != 1:
        raise ValueError(f"rearrange: pattern must have one '->', got {pattern!r}")
    left, right = (_parsed(side, pattern) for side in pattern.split("->"))
    here, there = ({n for g in side for n in g} for side in (left, right))
    if here != there:
        raise ValueError(f"rearrange: {sorted(here ^ there)} stand on one side of pattern {pattern!r} alone")
    if unknown := set(lengths) - here:
        raise ValueError(f"rearrange: lengths are given for {sorted(unknown)}, which pattern {pattern!r} has not")
    if any(_REST in g and len(g) > 1 or g == [_REST] and f"({_REST})" in pattern.split("->")[0] for g in left):
        raise ValueError(f"rearrange: the ellipsis must not be in parentheses on the left of pattern {pattern!r}")
    return left, right


def _spread(groups: Groups, rest: list[str]) -> Groups:
    """The groups with a name for each dimension that the ellipsis stands for: apart, or all of them in their group."""
    out: Groups = []
    for g in groups:
        if g == [_REST]:
            out += [[n] for n in rest]
        else:
            out.append([m for n in g for m in (rest if n == _REST else [n])])
    return out


def _sizes(x: Tensor, left: Groups, lengths: dict[str, int], pattern: str) -> dict[str, int]:
    """The size of every name; one name of a group may be left to be inferred."""
    sizes = dict(lengths)
    for axis, (group, n) in enumerate(zip(left, x.shape, strict=True)):
        unknown = [name for name in group if name not in sizes]
        known = math.prod(sizes[name] for name in group if name in sizes)
        if len(unknown) > 1:
            raise ValueError(f"rearrange: give the lengths of all but one of {group} in pattern {pattern!r}")
        if unknown and known and n % known == 0:
            sizes[unknown[0]] = n // known
        elif unknown or known != n:
            raise ShapeError(f"rearrange: dimension {axis} of size {n} is not made of {group} in pattern {pattern!r}")
    return sizes


def rearrange(tensor: Tensor | Sequence[Tensor], pattern: str, **axes_lengths: int) -> Tensor:
    """The elements of ``tensor`` in the order that a pattern in einops' notation says; a sequence is stacked first.

    Names in parentheses make one dimension together; ``axes_lengths`` says how long they are where it does not
    follow. 1 or () is a dimension of size 1, ... stands for any number of them.

    >>> fb.func.rearrange(fb.arange(4), "(h w) -> w h", h=2)
    tensor([[0, 2],
            [1, 3]])
    """
    x = tensor if isinstance(tensor, Tensor) else joining.stack(list(tensor))
    left, right = _sides(pattern, axes_lengths)
    spare = x.ndim - sum(g != [_REST] for g in left)
    if spare < 0 or (spare and [_REST] not in left):
        raise ValueError(f"rearrange: pattern {pattern!r} does not fit a tensor of {x.ndim} dimensions")
    rest = [f".{i}" for i in range(spare)]
    inner = [[f"{_REST}" if n == _REST else n for n in g] for g in right]
    if f"({_REST})" in pattern.replace(" ", "").split("->")[1]:  # together, not apart
        inner = [[_REST, ""] if g == [_REST] else g for g in inner]
    left, right = _spread(left, rest), [[n for n in g if n] for g in _spread(inner, rest)]
    sizes = _sizes(x, left, axes_lengths, pattern)
    names = [n for g in left for n in g]
    apart = shape.reshape(x, tuple(sizes[n] for n in names))
    order = tuple(names.index(n) for g in right for n in g)
    return shape.reshape(storage.permute_p(apart, order), tuple(math.prod(sizes[n] for n in g) for g in right))
