"""What the array API standard says of operators, where PyTorch says something else.

A 0-d tensor takes part in promotion like any other; the floor of a quotient with an infinity is that of the quotient's
limit; slices may step backwards, and a mask without places along a dimension takes nothing. https://data-apis.org/array-api/2024.12/
"""

from __future__ import annotations

import math
from functools import reduce
from typing import Any

from flambeau.core import dtype as dt
from flambeau.core.dispatch import call
from flambeau.core.dtype import DType, promote_types
from flambeau.core.ops import elementwise as e
from flambeau.core.ops import storage
from flambeau.core.record import Op
from flambeau.core.state import State, _AtOnce, _Scope, current
from flambeau.core.tensor import Tensor


def common(dtypes: list[DType]) -> DType:
    """The dtype that arrays of these dtypes promote to."""
    return reduce(promote_types, dtypes)


def promoted(*operands: Any) -> tuple[Any, ...]:  # Any: tensors, and numbers, which are left alone
    """The operands with all tensors in their common dtype."""
    dtypes = [a.dtype for a in operands if isinstance(a, Tensor)]
    if len(set(dtypes)) < 2:
        return operands
    chosen = common(dtypes)
    return tuple(storage.cast_p(a, dtype=chosen) if isinstance(a, Tensor) else a for a in operands)


def floor_divide(x1: Any, x2: Any) -> Tensor:  # Any: tensors or numbers, not both numbers
    """The floor of the quotient; where one of the two is infinite, the quotient itself."""
    x1, x2 = promoted(x1, x2)
    plain: Tensor = e.floor_divide_p(x1, x2)
    if plain.dtype.category < dt.FLOATING:
        return plain
    one, other = (e.eq_p(e.abs_p(x), math.inf) if isinstance(x, Tensor) else abs(x) == math.inf for x in (x1, x2))
    return e.where(one != other, e.div_p(x1, x2), plain)


def _layer(op: Op, args: tuple[Any, ...], params: dict[str, Any]) -> Any:
    if op.name in ("floor_divide", "floor_divide_"):
        found = floor_divide(args[0], args[1])
        return found if op.name == "floor_divide" else args[0].copy_(found)
    if op.perform is not None or not (op.dtype.promotes or op.name == "matmul"):
        return NotImplemented
    alike = [op.kind_of(o) == "same" and isinstance(a, Tensor) for a, o in zip(args, op.schema.operands, strict=True)]
    dtypes = {a.dtype for a, joins in zip(args, alike, strict=True) if joins}
    if len(dtypes) < 2:
        return NotImplemented
    chosen = common(list(dtypes))
    return call(op, [storage.cast_p(a, dtype=chosen) if j else a for a, j in zip(args, alike, strict=True)], params)


class strict(_AtOnce):
    """Operators as the array API standard has them: from now on in this thread, or inside a ``with``.

    Functions of ``flambeau.array_api`` always follow the standard. Operators are those of tensors, which follow
    PyTorch: a 0-d tensor does not promote, and ``x[::-1]`` is an error. What runs inside takes the slow way of a call.

    >>> with fb.array_api.strict():
    ...     (fb.tensor([1], dtype=fb.int8) + fb.tensor(1, dtype=fb.int16)).dtype
    flambeau.int16
    """

    def __init__(self) -> None:
        super().__init__()

    def _next(self, state: State) -> State:
        return state.replace(layers=(_layer, *state.layers))

    def _copy(self) -> _Scope:
        return strict()


def is_strict() -> bool:
    """Whether :class:`strict` is on."""
    return _layer in current().layers


def fits(mask: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    """Whether a mask may stand for these sizes: it has them, or no place at all along a dimension."""
    return len(mask) == len(shape) and all(n in (m, 0) for n, m in zip(mask, shape, strict=True))


def forwards(index: Any, shape: tuple[int, ...]) -> tuple[tuple[Any, ...], tuple[int, ...]]:  # Any: as in x[index]
    """An index of ints, slices, None and an Ellipsis with all slices forwards, and which axes of the result to flip."""
    given = index if isinstance(index, tuple) else (index,)
    entries: list[Any] = []
    axis, flipped, out = 0, [], 0
    used = sum(v is not None and v is not Ellipsis for v in given)
    for item in given:
        if item is Ellipsis:
            axis, out = axis + len(shape) - used, out + len(shape) - used
        elif isinstance(item, slice) and item.step is not None and item.step < 0:
            places = range(*item.indices(shape[axis]))[::-1]
            item = slice(places.start, places.stop, places.step) if places else slice(0, 0)
            flipped.append(out)
        if item is not Ellipsis:
            axis += item is not None
            out += item is None or isinstance(item, slice)
        entries.append(item)
    return tuple(entries), tuple(flipped)
