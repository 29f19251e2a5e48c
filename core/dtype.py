"""Data types, their categories, and PyTorch's promotion lattice.

A :class:`DType` is an interned singleton: compare with ``is``. Promotion follows
https://docs.pytorch.org/docs/stable/tensor_attributes.html#type-promotion-doc, which differs from
numpy's (int32 with float32 is float32, not float64).
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from functools import cache
from typing import Any, Final, TypeAlias

import ml_dtypes
import numpy as np

from flambeau.core.errors import NarrowTypeError, NumberError
from flambeau.core.naming import prefix, shown


@shown("dtype", own="")
class DType:
    """An element type. Attributes: ``name``, ``itemsize`` (bytes), ``category``, ``numpy``.

    ``category`` orders the promotion: 0 bool, 1 integer, 2 floating point, 3 complex.

    >>> fb.float32.itemsize, fb.float32.is_floating_point
    (4, True)
    """

    __slots__ = ("bits", "category", "is_signed", "itemsize", "name", "numpy")

    def __init__(self, name: str, numpy_type: type, category: int, *, is_signed: bool = True):
        self.name: Final[str] = name
        self.numpy: Final[np.dtype[Any]] = np.dtype(numpy_type)
        self.itemsize: Final[int] = self.numpy.itemsize
        self.bits: Final[int] = self.itemsize * 8
        self.category: Final[int] = category
        self.is_signed: Final[bool] = is_signed

    @property
    def is_floating_point(self) -> bool:
        return self.category == FLOATING

    @property
    def is_complex(self) -> bool:
        return self.category == COMPLEX

    def to_real(self) -> DType:
        """The dtype of the real part: ``complex64.to_real() is float32``."""
        return {complex64: float32, complex128: float64}.get(self, self)

    def to_complex(self) -> DType:
        """The complex dtype whose parts hold this dtype: ``float64.to_complex() is complex128``."""
        if self.category == COMPLEX:
            return self
        return complex128 if self is float64 else complex64

    def __repr__(self) -> str:
        return f"{prefix()}.{self.name}"

    def __reduce__(self) -> tuple[Callable[[str], DType], tuple[str]]:
        return dtype_named, (self.name,)


BOOL, INTEGER, FLOATING, COMPLEX = range(4)

bool_ = DType("bool", np.bool_, BOOL, is_signed=False)
uint8 = DType("uint8", np.uint8, INTEGER, is_signed=False)
int8 = DType("int8", np.int8, INTEGER)
uint16 = DType("uint16", np.uint16, INTEGER, is_signed=False)
int16 = DType("int16", np.int16, INTEGER)
uint32 = DType("uint32", np.uint32, INTEGER, is_signed=False)
int32 = DType("int32", np.int32, INTEGER)
uint64 = DType("uint64", np.uint64, INTEGER, is_signed=False)
int64 = DType("int64", np.int64, INTEGER)
float16 = DType("float16", np.float16, FLOATING)
bfloat16 = DType("bfloat16", ml_dtypes.bfloat16, FLOATING)
float32 = DType("float32", np.float32, FLOATING)
float64 = DType("float64", np.float64, FLOATING)
complex64 = DType("complex64", np.complex64, COMPLEX)
complex128 = DType("complex128", np.complex128, COMPLEX)

float8_e4m3fn = DType("float8_e4m3fn", ml_dtypes.float8_e4m3fn, FLOATING)
float8_e4m3fnuz = DType("float8_e4m3fnuz", ml_dtypes.float8_e4m3fnuz, FLOATING)
float8_e5m2 = DType("float8_e5m2", ml_dtypes.float8_e5m2, FLOATING)
float8_e5m2fnuz = DType("float8_e5m2fnuz", ml_dtypes.float8_e5m2fnuz, FLOATING)
float8_e8m0fnu = DType("float8_e8m0fnu", ml_dtypes.float8_e8m0fnu, FLOATING)
float4_e2m1fn_x2 = DType("float4_e2m1fn_x2", np.uint8, FLOATING)  # two in a byte

#: Dtypes that host memory holds and that convert; no op computes in them.
HELD: Final = (
    float8_e4m3fn, float8_e4m3fnuz, float8_e5m2, float8_e5m2fnuz, float8_e8m0fnu, float4_e2m1fn_x2,
)  # fmt: skip


def _unheld() -> dict[str, DType]:
    """Dtypes that programs name and that no tensor can have: of quantized numbers, bits, and odd numbers of bits."""
    odd = {f"{sign}int{n}": np.uint8 for sign in ("", "u") for n in range(1, 8)}
    quantized = {"qint8": np.int8, "quint8": np.uint8, "quint4x2": np.uint8, "quint2x4": np.uint8, "qint32": np.int32}
    bits = {"bits8": np.uint8, "bits1x8": np.uint8, "bits2x4": np.uint8, "bits4x2": np.uint8, "bits16": np.uint16}
    signed = ("int", "qint")
    found = {n: DType(n, kind, INTEGER, is_signed=n.startswith(signed)) for n, kind in (odd | quantized | bits).items()}
    return found | {"complex32": DType("complex32", np.float32, COMPLEX)}


#: The dtypes that are names alone: a tensor of one is an error.
UNHELD: Final = _unheld()
globals().update(UNHELD)
chalf = UNHELD["complex32"]

ALL: Final = (
    bool_, uint8, int8, uint16, int16, uint32, int32, uint64, int64,
    float16, bfloat16, float32, float64, complex64, complex128,
)  # fmt: skip
BOOLS: Final = (bool_,)
INTS: Final = tuple(d for d in ALL if d.category == INTEGER)
FLOATS: Final = tuple(d for d in ALL if d.category == FLOATING)
COMPLEXES: Final = (complex64, complex128)
REALS: Final = INTS + FLOATS
LOW_PRECISION: Final = (float16, bfloat16)
STORABLE: Final = ALL + HELD

_BY_NAME: Final = {d.name: d for d in STORABLE} | UNHELD | {
    "float": float32, "double": float64, "half": float16, "int": int32, "long": int64, "short": int16,
    "cfloat": complex64, "cdouble": complex128, "chalf": UNHELD["complex32"],
}  # fmt: skip
_BY_NUMPY: Final[dict[object, DType]] = {d.numpy: d for d in HELD[:-1]} | {d.numpy: d for d in ALL}
_BY_PYTHON: Final[dict[type, DType]] = {bool: bool_, int: int64}

#: A Python number; bool is an int.
Number: TypeAlias = int | float | complex
#: What names a dtype: itself, ``float`` and other types of Python, a text, a dtype or scalar type of numpy.
DTypeLike: TypeAlias = DType | type | str | np.dtype[Any]

_default: DType = float32


def dtype_named(name: str) -> DType:
    """The dtype called ``name``, as in a file or a setting; ValueError names the known ones."""
    try:
        return _BY_NAME[name.removeprefix("flambeau.").removeprefix("torch.")]
    except KeyError:
        raise ValueError(f"unknown dtype {name!r}; known: {', '.join(d.name for d in ALL)}") from None


def from_numpy(dtype: np.dtype[Any] | type | str) -> DType:
    """The dtype of a numpy dtype (or of anything ``np.dtype`` takes); TypeError when there is none."""
    try:
        found = _BY_NUMPY.get(dtype)
    except TypeError:
        found = None
    if found is None:
        normal = np.dtype(dtype)
        found = _BY_NUMPY.get(normal.newbyteorder("="))
        if found is None:
            raise TypeError(f"numpy dtype {normal} has no flambeau dtype; supported: {', '.join(d.name for d in ALL)}")
    return found


def as_dtype(value: DTypeLike) -> DType:
    """A DType from a DType, a Python type (float means the default dtype), a name or a numpy dtype."""
    if isinstance(value, DType):
        return value
    if value is float:
        return _default
    if value is complex:
        return _default.to_complex()
    if isinstance(value, type) and value in _BY_PYTHON:
        return _BY_PYTHON[value]
    if isinstance(value, str):
        return dtype_named(value)
    try:
        return from_numpy(value)
    except (TypeError, ValueError):
        raise TypeError(f"expected a flambeau dtype, got {value!r} ({type(value).__name__})") from None


def get_default_dtype() -> DType:
    """The floating dtype that Python floats become.

    >>> fb.get_default_dtype()
    flambeau.float32
    """
    return _default


def set_default_dtype(dtype: DTypeLike) -> None:
    """Set the dtype of tensors made from Python floats; TypeError unless it is floating point.

    >>> fb.set_default_dtype(fb.float32)
    >>> fb.ones(1).dtype
    flambeau.float32
    """
    global _default
    chosen = as_dtype(dtype)
    if not chosen.is_floating_point:
        raise TypeError(f"set_default_dtype: only floating-point dtypes can be the default, got {chosen}")
    _default = chosen


# Promotion inside a category. Integers: PyTorch's table for uint8 and the signed ones; an unsigned
# type wider than 8 bits promotes only with itself, bool and the weaker scalars, as in PyTorch.
_SIGNED_ORDER: Final = (int8, int16, int32, int64)


def _promote_ints(a: DType, b: DType) -> DType:
    if a.is_signed and b.is_signed:
        return a if a.itemsize >= b.itemsize else b
    unsigned, other = (b, a) if a.is_signed else (a, b)
    if not other.is_signed:
        if uint8 in (a, b):  # uint8 with a wider unsigned
            return a if a.itemsize > b.itemsize else b
        return a if a.itemsize >= b.itemsize else b
    for candidate in _SIGNED_ORDER:  # the first signed type that holds both
        if candidate.itemsize > unsigned.itemsize and candidate.itemsize >= other.itemsize:
            return candidate
    raise TypeError(f"promotion of {a} with {b} has no integer dtype; cast one of them with .to(dtype)")


def _promote_floats(a: DType, b: DType) -> DType:
    if a.itemsize == b.itemsize:  # float16 with bfloat16
        return float32
    return a if a.itemsize > b.itemsize else b


@cache
def promote_types(a: DType, b: DType) -> DType:
    """The smallest dtype that both promote to.

    >>> promote_types(int32, float16)
    flambeau.float16
    >>> promote_types(uint8, int8)
    flambeau.int16
    """
    a, b = as_dtype(a), as_dtype(b)
    if a is b:
        return a
    if a not in ALL or b not in ALL:
        raise NarrowTypeError(
            f"promotion of {a} with {b}: {a if a not in ALL else b} promotes with nothing; cast first"
        )
    if a.category != b.category:
        high, low = (a, b) if a.category > b.category else (b, a)
        if high.category == COMPLEX and low is float64:
            return complex128
        return high
    if a.category == INTEGER:
        return _promote_ints(a, b)
    if a.category == FLOATING:
        return _promote_floats(a, b)
    return complex128


def can_cast(from_: DTypeLike, to: DTypeLike) -> bool:
    """Whether an in-place result of dtype ``from_`` may be written to ``to`` (the category may not fall).

    >>> can_cast(float64, float32), can_cast(float32, int64)
    (True, False)
    """
    source, target = as_dtype(from_), as_dtype(to)
    if source is target:
        return True
    if target is bool_:
        return False
    return source.category <= target.category


def scalar_dtype(value: Number) -> DType:
    """The dtype that a Python number has when nothing stronger decides."""
    if isinstance(value, bool):
        return bool_
    if isinstance(value, int):
        return int64 if value < 2**63 else uint64
    if isinstance(value, float):
        return _default
    return _default.to_complex()


def check_int(name: str, value: object) -> None:
    """NumberError for an int that no dtype of integers holds; ``name`` is what it says of the value."""
    if value.__class__ is int and not -(2**63) <= value < 2**64:
        raise NumberError(f"{name} {value} is too big: the integers from -2**63 to 2**64 - 1 have a dtype")


def holds(dtype: DType, value: Number) -> bool:
    """Whether a number converts to ``dtype`` without overflow, by torch's rules.

    The fraction of a float falls off, a negative int may stand for an unsigned one, infinity and nan are for floats,
    and an imaginary part is for complex dtypes. A bool holds everything.

    >>> holds(uint8, -1), holds(uint8, 256), holds(float16, 1e6), holds(int8, 1.5)
    (True, False, False, True)
    """
    plain: Any = value  # to type checkers an int is a complex number
    kind = type(plain)
    if kind in (int, float) and 0 <= plain < 128 or dtype is bool_:
        return True
    if kind is not plain.__class__:  # a number of whoever records: it is another one each time, and nobody may look
        return True
    if isinstance(value, complex):
        if dtype.category < COMPLEX:
            return value.imag == 0 and holds(dtype, value.real)
        return holds(dtype.to_real(), value.real) and holds(dtype.to_real(), value.imag)
    if dtype.category == INTEGER:
        limits = iinfo(dtype)
        wraps = isinstance(value, int) and not dtype.is_signed
        return (-limits.max if wraps else limits.min) <= value <= limits.max  # nan is not
    return not math.isfinite(value) or abs(value) <= finfo(dtype).max


def host_scalar(value: complex, dtype: DType) -> np.ndarray[Any, Any]:
    """A number as a 0-d host array: integers wrap around, the fraction of a float falls off, as in a cast."""
    plain: Any = value  # to type checkers an int is a complex number
    kind = plain.__class__
    if kind is int and 0 <= plain < 128 or kind is float and dtype.category == FLOATING and -60000 < plain < 60000:
        return np.array(value, dtype.numpy)  # the common ones, quickly: every dtype holds them
    if dtype.category == INTEGER:
        if isinstance(value, (float, complex)):  # what overflows becomes what processors make of it
            great = 2 ** (dtype.bits - 1) if dtype.bits >= 32 else 0
            value = int(value.real) if abs(value.real) < 2**63 else great
        bits = operator.index(value) & (2**dtype.bits - 1)
        return np.array(bits, f"u{dtype.itemsize}").view(dtype.numpy)
    with np.errstate(all="ignore"):
        if isinstance(value, int) and abs(value) >= 2**63:  # which numpy would make an object of
            value = float(value)
        elif isinstance(value, complex) and dtype.category == FLOATING:
            value = value.real
        return np.array(value).astype(dtype.numpy)


def cast_host(host: np.ndarray[Any, Any], dtype: DType) -> np.ndarray[Any, Any]:
    """A host array in another dtype; one of 8 bits keeps what is too large at its limit where it has no infinity."""
    with np.errstate(all="ignore"):
        if dtype is float8_e4m3fn and host.dtype != dtype.numpy:
            host = np.clip(host.astype(np.float32), -448.0, 448.0)
        elif dtype is float8_e8m0fnu and host.dtype != dtype.numpy:  # a power of 2, without a sign
            wide = np.abs(host.astype(np.float32))
            power = np.floor(np.log2(np.maximum(wide, np.float32(2.0**-126))))
            up = wide >= np.float32(1.5) * np.exp2(power)  # to the nearer one, the upper of two
            power = np.where(wide < 2.0**-126, -127, power + up)
            found = np.where((power > 127) | ~np.isfinite(wide), 255, power + 127).astype(np.uint8)
            return found.view(dtype.numpy)
        return host.astype(dtype.numpy)


class finfo:
    """Limits of a floating dtype: ``bits eps max min tiny smallest_normal resolution dtype``.

    >>> fb.finfo(fb.float16).max
    65504.0
    """

    def __init__(self, dtype: DTypeLike | None = None):
        chosen = _default if dtype is None else as_dtype(dtype)
        if chosen.category < FLOATING:
            raise TypeError(f"finfo: {chosen} is not floating point; use iinfo")
        real = chosen.to_real()
        info: Any = ml_dtypes.finfo(real.numpy)  # type: ignore[no-untyped-call]
        self.bits: int = real.bits
        self.dtype: str = real.name
        self.eps, self.max, self.min = float(info.eps), float(info.max), float(info.min)
        self.tiny = self.smallest_normal = float(info.tiny)
        self.resolution = 1.0 if real in HELD else float(info.resolution)

    def __repr__(self) -> str:
        return (
            f"finfo(resolution={self.resolution:g}, min={self.min:g}, max={self.max:g}, eps={self.eps:g}, "
            f"smallest_normal={self.smallest_normal:g}, tiny={self.tiny:g}, dtype={self.dtype})"
        )


class iinfo:
    """Limits of an integer dtype: ``bits max min dtype``.

    >>> fb.iinfo(fb.int8).min
    -128
    """

    def __init__(self, dtype: DTypeLike):
        chosen = as_dtype(dtype)
        if chosen.category != INTEGER:
            raise TypeError(f"iinfo: {chosen} is not an integer dtype; use finfo")
        info = np.iinfo(chosen.numpy)
        self.bits: int = chosen.bits
        self.dtype: str = chosen.name
        self.max, self.min = int(info.max), int(info.min)

    def __repr__(self) -> str:
        return f"iinfo(min={self.min}, max={self.max}, dtype={self.dtype})"
