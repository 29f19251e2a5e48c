"""Dimensions whose size may change from call to call: ``Dim``, and what ``dynamic_shapes`` says of each argument."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from flambeau.core.tensor import Tensor
from flambeau.export.calls import Range
from flambeau.export.laws import Feature, Law
from flambeau.utils import _pytree as pytree


class DimHint:
    """A dimension that is left to :func:`~flambeau.export.export`: ``Dim.AUTO``, ``Dim.DYNAMIC``, ``Dim.STATIC``."""

    def __init__(self, kind: str, min: int | None = None, max: int | None = None):
        self.kind, self.min, self.max = kind, min, max

    def __call__(self, min: int | None = None, max: int | None = None) -> DimHint:
        """The same with limits."""
        return DimHint(self.kind, min, max)

    def __repr__(self) -> str:
        return f"Dim.{self.kind}"


class Dim:
    """A dimension by name. Where one name stands at several places, the sizes there are the same.

    ``2 * dim + 1`` and the like are sizes that follow from it.

    Args:
        name: an identifier of Python.
        min: the least size, 0 unless given.
        max: the largest, without a limit unless given.

    >>> from flambeau.export import Dim, export
    >>> batch = Dim("batch", min=1, max=64)
    >>> program = export(fb.nn.Linear(2, 1), (fb.ones(3, 2),), dynamic_shapes=({0: batch},))
    >>> program(fb.zeros(7, 2)).shape
    flambeau.Size([7, 1])
    """

    AUTO: ClassVar[DimHint] = DimHint("AUTO")
    DYNAMIC: ClassVar[DimHint] = DimHint("DYNAMIC")
    STATIC: ClassVar[DimHint] = DimHint("STATIC")

    def __init__(self, name: str, *, min: int | None = None, max: int | None = None):
        low = 0 if min is None else min
        if not isinstance(name, str) or not name.isidentifier():
            raise ValueError(f"Dim: name must be an identifier, got {name!r}")
        for what, n in (("min", low), ("max", max)):
            if n is not None and (not isinstance(n, int) or isinstance(n, bool) or n < 0):
                raise ValueError(f"Dim: {what} must be a whole number of at least 0, got {n!r}")
        if max is not None and max <= low:
            raise ValueError(f"Dim: max must be above min, got {name!r} with min={low} and max={max}")
        self.__name__, self.min, self.max = name, low, max
        self.root, self.factor, self.constant = self, 1, 0

    def _line(self, factor: int, constant: int) -> Dim:
        if not isinstance(factor, int) or not isinstance(constant, int) or factor < 1:
            raise ValueError(f"Dim: a size follows from {self.__name__!r} by a positive factor and a sum of ints")
        made = Dim.__new__(Dim)
        made.root, made.factor, made.constant = self.root, self.factor * factor, self.constant * factor + constant
        top = self.root.max
        made.min = max(made.factor * self.root.min + made.constant, 0)
        made.max = None if top is None else made.factor * top + made.constant
        made.__name__ = str(made.law())
        return made

    def __mul__(self, other: int) -> Dim:
        return self._line(other, 0)

    __rmul__ = __mul__

    def __add__(self, other: int) -> Dim:
        return self._line(1, other)

    __radd__ = __add__

    def __sub__(self, other: int) -> Dim:
        return self._line(1, -other)

    def law(self) -> Law:
        """The size as a law of the dimension that it follows from."""
        return Law("linear", ((self.factor, Feature((self.root.__name__,))),), self.constant)

    def __repr__(self) -> str:
        return f"Dim({self.__name__!r}, min={self.min}, max={self.max})"


def dims(names: str, *more: str, min: int | None = None, max: int | None = None) -> tuple[Dim, ...]:
    """Several dimensions with the same limits, whose names stand in one text or several.

    >>> from flambeau.export import dims
    >>> [d.__name__ for d in dims("batch length", max=8)]
    ['batch', 'length']
    """
    return tuple(Dim(n, min=min, max=max) for text in (names, *more) for n in text.split())


@dataclass
class Free:
    """The dimensions of a program: which sizes of its arguments they are.

    ``sizes`` has, by the place of a leaf and its axis, a law; ``ranges`` what each dimension may be, and ``example``
    what it was; ``hints`` those that were left to find out, with whether they must be dynamic.
    """

    sizes: dict[tuple[int, int], Law]
    ranges: dict[str, Range]
    example: dict[str, int]
    hints: dict[str, bool]

    def without(self, name: str) -> Free:
        """The same where a dimension has the size that it had."""
        kept = {place: law for place, law in self.sizes.items() if name not in law.dims}
        parts = [{n: v for n, v in d.items() if n != name} for d in (self.ranges, self.example, self.hints)]
        return Free(kept, *parts)  # type: ignore[arg-type]

    def merged(self) -> Free:
        """The same where dimensions that were left to find out are one if they had the same size."""
        one: dict[int, str] = {}
        names = {n: one.setdefault(self.example[n], n) if n in self.hints else n for n in self.example}
        sizes = {p: Law(v.form, tuple((k, Feature(tuple(names[d] for d in f.dims))) for k, f in v.terms), v.constant)
                 for p, v in self.sizes.items()}  # fmt: skip
        kept = set(names.values())
        hints: dict[str, bool] = {}
        for n, must in self.hints.items():
            hints[names[n]] = must or hints.get(names[n], False)
        return Free(sizes, {n: r for n, r in self.ranges.items() if n in kept},
                    {n: v for n, v in self.example.items() if n in kept}, hints)  # fmt: skip

    def points(self) -> list[dict[str, int]]:
        """Sizes at which the program runs: those of the example first, then others, all of which differ."""
        columns = {n: _tried(v, self.ranges[n], n not in self.hints) for n, v in self.example.items()}
        count = max((len(c) for c in columns.values()), default=1)
        found = [dict(self.example)]
        for i in range(1, count):
            found.append({n: c[(i * (1 + k) + k) % len(c)] for k, (n, c) in enumerate(columns.items())})
        return [p for i, p in enumerate(found) if p not in found[:i]]


def _tried(example: int, allowed: Range, ends: bool) -> list[int]:
    """Sizes near the one of the example, about twice of it, and with ``ends`` those of a range that is not wide."""
    wanted = [example, example + 1, 2 * example + 1, example + 2, 2 * example, example + 3, example + 5, example - 1]
    if ends and allowed.upper is not None and allowed.upper <= 4 * max(example, 16):
        wanted.append(allowed.upper)
    if ends and allowed.lower > 0:
        wanted.append(allowed.lower)
    found = [n for n in dict.fromkeys(wanted) if n in allowed and n > 0]
    nearby = (n for n in itertools.chain(range(example, max(example - 8, 0), -1), range(example, example + 8)))
    for n in nearby:
        if len(found) < 4 and n in allowed and n > 0 and n not in found:
            found.append(n)
    return found


# -- dynamic_shapes ----------------------------------------------------------------------------------
def read(shapes: Any, args: Sequence[Any], kwargs: Mapping[str, Any], names: Sequence[str]) -> Free:
    """The dimensions that ``dynamic_shapes`` names; ValueError or TypeError that says which part of it is wrong.

    ``names`` are the parameters that the positional arguments are for.
    """
    found = Free({}, {}, {}, {})
    if shapes is None:
        return found
    if isinstance(shapes, Mapping):
        known = [*names, *kwargs]
        if unknown := [k for k in shapes if k not in known]:
            raise ValueError(f"dynamic_shapes: there is no argument {unknown[0]!r}; there are {', '.join(known)}")
        entries = [shapes.get(n) for n in known]
    elif isinstance(shapes, (tuple, list)):
        if len(shapes) != len(args) + len(kwargs):
            raise ValueError(
                f"dynamic_shapes: {len(shapes)} entries for {len(args) + len(kwargs)} arguments; write None for one "
                "that has no dynamic dimensions"
            )
        entries = list(shapes)
    else:
        raise TypeError(f"dynamic_shapes must be a dict or tuple as the arguments are, got {type(shapes).__name__}")
    reader = _Reader(found)
    for entry, name, value in zip(entries, [*names, *kwargs], [*args, *kwargs.values()], strict=True):
        reader.walk(entry, value, name)
    return found


class _Reader:
    """Walks a nesting of arguments beside what is said of them."""

    def __init__(self, found: Free):
        self.found, self.leaf = found, 0
        self.dims: dict[str, Dim] = {}

    def walk(self, entry: Any, value: Any, where: str) -> None:
        """One argument, or a part of one."""
        if isinstance(value, Tensor):
            self._tensor(entry, value, where)
            self.leaf += 1
            return
        leaves, spec = pytree.tree_flatten(value)
        if spec.is_leaf():
            if entry is not None and entry != {} and not isinstance(entry, DimHint):
                raise ValueError(f"dynamic_shapes: {where} is no tensor but {value!r}, and has no dimensions")
            self.leaf += 1
            return
        if entry is None:
            self.leaf += len(leaves)
            return
        node = pytree._node_of(value)
        assert node is not None
        children, _ = node.flatten_fn(value)
        if isinstance(value, Mapping):
            if not isinstance(entry, Mapping):
                raise ValueError(f"dynamic_shapes: {where} is a dict, so its entry must be one, got {entry!r}")
            parts = [entry.get(k) for k in spec.context]
        else:
            parts = list(entry.values()) if isinstance(entry, Mapping) else list(entry)
        if len(parts) != len(children):
            raise ValueError(f"dynamic_shapes: {where} has {len(children)} parts, its entry {len(parts)}")
        for i, (part, child) in enumerate(zip(parts, children, strict=True)):
            self.walk(part, child, f"{where}[{i}]")

    def _tensor(self, entry: Any, value: Tensor, where: str) -> None:
        rank = value.dim()
        if entry is None:
            return
        if isinstance(entry, DimHint):
            entry = [entry] * rank
        if isinstance(entry, Mapping):
            for axis in entry:
                if not isinstance(axis, int) or not -rank <= axis < rank:
                    raise ValueError(f"dynamic_shapes: {where} has {rank} dimensions, and no dimension {axis!r}")
            by_axis = {axis % rank: dim for axis, dim in entry.items()}
        elif isinstance(entry, (tuple, list)):
            if len(entry) != rank:
                raise ValueError(f"dynamic_shapes: {where} has {rank} dimensions, its entry {len(entry)}")
            by_axis = dict(enumerate(entry))
        else:
            raise TypeError(f"dynamic_shapes: {where} needs a dict or tuple of dimensions, got {type(entry).__name__}")
        for axis, dim in by_axis.items():
            self._axis(dim, axis, value.shape[axis], f"{where} at dimension {axis}")

    def _axis(self, dim: Any, axis: int, size: int, where: str) -> None:
        found = self.found
        if dim is None or (isinstance(dim, DimHint) and dim.kind == "STATIC"):
            return
        if isinstance(dim, int) and not isinstance(dim, bool):
            if dim != size:
                raise ValueError(f"dynamic_shapes: {where} must have size {dim}, and has {size}")
            return
        if isinstance(dim, DimHint):
            if dim.kind == "AUTO" and size < 2:
                return  # what broadcasts or is empty takes other ways through a program
            name = f"s{len(found.example)}"
            found.ranges[name] = Range(2 if dim.min is None else dim.min, dim.max)
            found.example[name], found.hints[name] = size, dim.kind == "DYNAMIC"
            found.sizes[self.leaf, axis] = Law("linear", ((1, Feature((name,))),), 0)
            return
        if not isinstance(dim, Dim):
            raise TypeError(f"dynamic_shapes: {where} must be a Dim, an int or None, got {type(dim).__name__}")
        root = dim.root
        example, rest = divmod(size - dim.constant, dim.factor)
        if rest or example < 0:
            raise ValueError(f"dynamic_shapes: {where} is {size}, which is not of the form {dim.__name__}")
        name = root.__name__
        known = self.dims.setdefault(name, root)
        if (known.min, known.max) != (root.min, root.max):
            raise ValueError(f"dynamic_shapes: two dimensions of the name {name!r} with different limits")
        if found.example.setdefault(name, example) != example:
            raise ValueError(
                f"dynamic_shapes: {where} is {size}, so that {name!r} would be {example}; elsewhere it is "
                f"{found.example[name]}"
            )
        found.ranges[name] = Range(root.min, root.max)
        if example not in found.ranges[name]:
            raise ValueError(f"dynamic_shapes: {where} makes {name!r} {example}, which is not in {found.ranges[name]}")
        found.sizes[self.leaf, axis] = dim.law()


__all__ = ["Dim", "DimHint", "Free", "dims", "read"]
