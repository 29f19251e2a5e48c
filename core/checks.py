"""What kernels of other people give back, looked at before it reaches a user.

Flambeau's own kernels are held by its tests; those of plugins and overlays are wrapped where they are looked up.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import update_wrapper
from typing import Any

from flambeau.backends.base import Kernel
from flambeau.core.errors import KernelError
from flambeau.core.record import ELEMENTWISE, Op


def checked(kernel: Kernel, op: Op, key: Any, source: str) -> Kernel:
    """``kernel``, whose results must be arrays of the op's shapes and dtypes: KernelError names what else it gave."""
    what = f"the kernel of {op.name} on {str(key.device)!r} ({source})"
    several = not op.schema.single

    def call(*arrays: Any, **params: Any) -> Any:
        try:
            result = kernel(*arrays, **params)
        except RecursionError:
            raise RecursionError(
                f"{what} calls itself without end; an overlay that wants the kernel below calls what it was made with"
            ) from None
        except Exception as error:
            error.add_note(f"in {what}")
            raise
        if (out := params.get("out")) is not None:
            if result is not out and not _shares(key, result, out):
                raise KernelError(f"{what} returned {_shown(result)} and not the out that it must write to and return")
            return result
        if not several:
            return _result(what, op, key, 0, result, arrays, params)
        if not isinstance(result, (list, tuple)):
            raise KernelError(f"{what} returned {_shown(result)}; the op has several results: return a tuple of arrays")
        wanted = len(op.schema.outputs)
        if not op.schema.returns_list and len(result) != wanted:
            raise KernelError(f"{what} returned {len(result)} results, expected {wanted}")
        return tuple(_result(what, op, key, i, r, arrays, params) for i, r in enumerate(result))

    return update_wrapper(call, kernel) if hasattr(kernel, "__name__") else call


def _result(what: str, op: Op, key: Any, i: int, result: Any, arrays: Sequence[Any], params: dict[str, Any]) -> Any:
    """One result as an array of the backend."""
    place = f"result {i} " if not op.schema.single else ""
    if result is None or isinstance(result, (list, tuple, str, bytes, dict)):
        raise KernelError(f"{what} returned {_shown(result)} {place}where an array of the backend is expected")
    wanted = key.sibling(key.dtype if op.schema.returns_list else op.dtype.out(i, key.dtype, params))
    array = result if result.__class__ is key.array else wanted.wrap(result)
    found = key.backend.dtype_of(array)
    if found is not wanted.stored:
        raise KernelError(f"{what} returned {place}of dtype {found.name}, expected {wanted.stored.name}")
    if (op.family is ELEMENTWISE or op.name == "clone") and any(_shares(key, array, a) for a in arrays):
        raise KernelError(f"{what} returned memory of an operand; the result must have its own, or writes would meet")
    if op.infer is not None and op.schema.single:
        shape = _expected(op, arrays, params)
        if shape is not None and tuple(array.shape) != shape:
            raise KernelError(f"{what} returned shape {tuple(array.shape)}, expected {shape}")
    return array


def _shares(key: Any, x: Any, y: Any) -> bool:
    """Whether two values are arrays in one storage."""
    return (
        isinstance(x, key.array)
        and isinstance(y, key.array)
        and bool(key.backend.storage_id(x) == key.backend.storage_id(y))
    )


def _expected(op: Op, arrays: Sequence[Any], params: dict[str, Any]) -> tuple[int, ...] | None:
    """The shape that the op's rule gives for these operands, None where it does not say."""
    shapes = [getattr(a, "shape", () if a is not None else None) for a in arrays]
    if op.schema.operands and op.schema.operands[-1].is_list:
        first = len(op.schema.operands) - 1
        shapes = [*shapes[:first], shapes[first:]]
    try:
        found: Any = op.infer(*shapes, **params)  # type: ignore[misc]
        return tuple(found)
    except Exception:  # a rule that wants more than a kernel is told
        return None


def _shown(value: object) -> str:
    return "None" if value is None else f"a {type(value).__name__}"
