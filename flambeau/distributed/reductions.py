"""How values of several ranks become one: the ops, and which dtypes each takes.

Bools are truth values: their sum is "or", their product "and". Numbers of 16 bits are added in float32 and rounded
once, whatever the number of ranks, so that all ranks have the same result to the bit. An average of integers is
rounded towards zero.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np

from flambeau.core import dtype as dt
from flambeau.core.dtype import DType

HostArray: TypeAlias = np.ndarray[Any, Any]


class ReduceOp(enum.Enum):
    """How values of several ranks become one."""

    SUM = 0
    AVG = 1
    PRODUCT = 2
    MIN = 3
    MAX = 4
    BAND = 5
    BOR = 6
    BXOR = 7
    PREMUL_SUM = 8


class PremulSum(NamedTuple):
    """A sum of values that each rank multiplies by ``factor`` first."""

    factor: float


def premul_sum(factor: float) -> PremulSum:
    """The op that multiplies by ``factor`` and adds: ``ReduceOp.PREMUL_SUM`` with its number.

    >>> premul_sum(0.5).factor
    0.5
    """
    return PremulSum(float(factor))


Reduction: TypeAlias = ReduceOp | PremulSum

_BITWISE: Final = (ReduceOp.BAND, ReduceOp.BOR, ReduceOp.BXOR)
_ORDERED: Final = (ReduceOp.MIN, ReduceOp.MAX)
#: What an op is for truth values.
TRUTH: Final = {
    ReduceOp.SUM: ReduceOp.BOR, ReduceOp.MAX: ReduceOp.BOR, ReduceOp.BOR: ReduceOp.BOR,
    ReduceOp.PRODUCT: ReduceOp.BAND, ReduceOp.MIN: ReduceOp.BAND, ReduceOp.BAND: ReduceOp.BAND,
    ReduceOp.BXOR: ReduceOp.BXOR,
}  # fmt: skip
#: The same op on rows of a numpy array.
ROWS: Final[dict[ReduceOp, Callable[..., Any]]] = {
    ReduceOp.SUM: np.add.reduce, ReduceOp.PRODUCT: np.multiply.reduce, ReduceOp.MIN: np.minimum.reduce,
    ReduceOp.MAX: np.maximum.reduce,
}  # fmt: skip


def supports_complex(reduceOp: Reduction) -> bool:
    """Whether an op is one for complex numbers.

    >>> supports_complex(ReduceOp.SUM), supports_complex(ReduceOp.MAX)
    (True, False)
    """
    return reduceOp not in (*_BITWISE, *_ORDERED)


def name_of(op: Reduction) -> str:
    """The op's name in messages."""
    return f"PREMUL_SUM({op.factor:g})" if isinstance(op, PremulSum) else op.name


def checked(call: str, op: object, dtype: DType) -> Reduction:
    """``op`` as one that serves ``dtype``; TypeError or ValueError say why it is none."""
    if not isinstance(op, (ReduceOp, PremulSum)):
        raise TypeError(f"{call}: op must be a ReduceOp, got {op!r} ({type(op).__name__})")
    if op is ReduceOp.PREMUL_SUM:
        raise ValueError(f"{call}: ReduceOp.PREMUL_SUM needs its factor: use premul_sum(factor)")
    if dtype in dt.HELD:
        raise TypeError(f"{call}: no numbers are added in {dtype.name}; convert the tensor with .to(dtype)")
    if dtype.is_complex and not supports_complex(op):
        raise ValueError(f"{call}: {name_of(op)} is no op for complex numbers ({dtype.name})")
    if op in _BITWISE and dtype.category > dt.INTEGER:
        raise ValueError(f"{call}: {name_of(op)} works on bits of integers and bools, not on {dtype.name}")
    if dtype is dt.bool_ and op not in TRUTH:
        raise ValueError(f"{call}: {name_of(op)} is no op for bools")
    return op


def is_low(dtype: np.dtype[Any]) -> bool:
    """Whether numbers are added in float32."""
    return dtype.itemsize == 2 and dtype.kind not in "iu"


def base(op: Reduction) -> ReduceOp:
    """What is done between the ranks: an average, or a sum of products, is a sum there."""
    return ReduceOp.SUM if op is ReduceOp.AVG or isinstance(op, PremulSum) else op


def before(op: Reduction, array: HostArray, fresh: bool) -> HostArray:
    """What a rank gives of ``array``; ``fresh`` says that it may be written to."""
    if not isinstance(op, PremulSum):
        return array
    with np.errstate(all="ignore"):
        product = (array * array.dtype.type(op.factor)).astype(array.dtype, copy=False)
    if not fresh:
        return np.ascontiguousarray(product).reshape(array.shape)
    array[...] = product
    return array


def after(op: Reduction, array: HostArray, size: int) -> None:
    """Make the result of :func:`base` that of ``op``, in place."""
    if op is ReduceOp.AVG and array.size:
        if array.dtype.kind in "iu":
            array[...] = _truncated(array, size)
        else:
            np.divide(array, array.dtype.type(size), out=array)


def _truncated(array: HostArray, size: int) -> HostArray:
    quotient = array // size
    quotient += ((quotient < 0) & (quotient * size != array)).astype(array.dtype)
    return quotient


def rows(op: ReduceOp, parts: HostArray, into: HostArray) -> None:
    """Reduce ``parts``, a row for each rank, in float32 and in their order."""
    with np.errstate(all="ignore"):
        into[...] = ROWS[op](parts.astype(np.float32), axis=0).astype(into.dtype)
