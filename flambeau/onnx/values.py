"""What stands at the edges of an ONNX graph: tensors, whole numbers on the host, narrow numbers, texts, sequences.

Numbers that describe shapes (the chains from Shape through Gather and Concat to Reshape) stay Python ints in
:class:`Ints`: no kernel runs for them, and none waits for a device. Element types that no op of flambeau computes in
are carried by a wider dtype, together with their own name, in :class:`Narrow`. Texts are arrays of objects of numpy.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, cast

import ml_dtypes
import numpy as np

import flambeau as fb
from flambeau.core.dtype import DType, bool_
from flambeau.onnx.errors import OnnxError

#: Texts, as an array of objects.
Texts: TypeAlias = "np.ndarray[Any, np.dtype[np.object_]]"


@dataclass(frozen=True, slots=True)
class Kind:
    """An element type narrower than any that computes: how it is called, held by numpy, and carried.

    ``digits`` are the bits of the mantissa after the point, ``least`` the exponent of the smallest normal number and
    ``largest`` the largest finite one; ``infinite`` says whether it has infinities, ``nan`` whether it has NaN.
    """

    name: str
    numpy: np.dtype[Any]
    carrier: DType
    digits: int = 0
    least: int = 0
    largest: float = 0.0
    infinite: bool = False
    nan: bool = True

    @property
    def floating(self) -> bool:
        return self.carrier is fb.float32

    @property
    def range(self) -> tuple[int, int]:
        """The smallest and the largest whole number of an integer kind."""
        info = ml_dtypes.iinfo(self.numpy)  # type: ignore[no-untyped-call]
        return int(info.min), int(info.max)

    @property
    def own(self) -> DType | None:
        """flambeau's dtype of the same bits, if there is one that holds one number in a byte."""
        return cast("DType | None", getattr(fb, self.name)) if self.name.startswith("float8") else None


def _float(name: str, digits: int, least: int, largest: float, *, infinite: bool = False, nan: bool = True) -> Kind:
    return Kind(name, np.dtype(getattr(ml_dtypes, name)), fb.float32, digits, least, largest, infinite, nan)


def _whole(name: str) -> Kind:
    return Kind(name, np.dtype(getattr(ml_dtypes, name)), fb.uint8 if name[0] == "u" else fb.int8)


#: By the number of the element type in ONNX's TensorProto.
KINDS: Final[dict[int, Kind]] = {
    17: _float("float8_e4m3fn", 3, -6, 448.0),
    18: _float("float8_e4m3fnuz", 3, -7, 240.0),
    19: _float("float8_e5m2", 2, -14, 57344.0, infinite=True),
    20: _float("float8_e5m2fnuz", 2, -15, 57344.0),
    21: _whole("uint4"),
    22: _whole("int4"),
    23: _float("float4_e2m1fn", 1, 0, 6.0, nan=False),
    24: _float("float8_e8m0fnu", 0, -127, 2.0**127),
    25: _whole("uint2"),
    26: _whole("int2"),
}
DTYPES: Final[dict[int, DType]] = {
    1: fb.float32, 2: fb.uint8, 3: fb.int8, 4: fb.uint16, 5: fb.int16, 6: fb.int32, 7: fb.int64, 9: bool_,
    10: fb.float16, 11: fb.float64, 12: fb.uint32, 13: fb.uint64, 14: fb.complex64, 15: fb.complex128, 16: fb.bfloat16,
}  # fmt: skip
STRING: Final = 8
ELEMENTS: Final[dict[DType, int]] = {dtype: number for number, dtype in DTYPES.items()}
NUMBERS: Final[dict[Kind, int]] = {kind: number for number, kind in KINDS.items()}
_BY_NUMPY: Final[dict[np.dtype[Any], Kind]] = {kind.numpy: kind for kind in KINDS.values()}
_BY_OWN: Final[dict[DType, Kind]] = {kind.own: kind for kind in KINDS.values() if kind.own is not None}


class Ints:
    """Whole numbers on the host, of type int64 and rank 0 or 1; ``tensor(device)`` makes them a tensor, once a device.

    >>> from flambeau.onnx.values import Ints
    >>> Ints((2, 3)).shape, Ints((2,), scalar=True).shape
    ((2,), ())
    """

    __slots__ = ("_made", "scalar", "values")

    def __init__(self, values: tuple[int, ...], *, scalar: bool = False):
        self.values = values
        self.scalar = scalar
        self._made: dict[fb.device, fb.Tensor] = {}

    @property
    def shape(self) -> tuple[int, ...]:
        return () if self.scalar else (len(self.values),)

    def tensor(self, device: fb.device) -> fb.Tensor:
        made = self._made.get(device)
        if made is None:
            values = self.values[0] if self.scalar else self.values
            made = fb.tensor(values, dtype=fb.int64, device=device)
            if all(type(v) is int for v in self.values):  # sizes that stand for others change from run to run
                self._made[device] = made
        return made

    def __repr__(self) -> str:
        return f"Ints({self.values})"


@dataclass(slots=True)
class Narrow:
    """Numbers of a narrow kind, carried by a tensor of a wider dtype whose every value the kind has."""

    tensor: fb.Tensor
    kind: Kind

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.tensor.shape)


#: None is an optional value that is missing.
Value: TypeAlias = "fb.Tensor | Ints | Narrow | Texts | list[Value] | None"


def element(value: Value) -> int:
    """The number of a value's element type in ONNX."""
    if isinstance(value, fb.Tensor):
        return ELEMENTS[value.dtype]
    if isinstance(value, Ints):
        return 7
    if isinstance(value, Narrow):
        return NUMBERS[value.kind]
    if isinstance(value, np.ndarray):
        return STRING
    raise OnnxError(f"a tensor is wanted, not {described(value)}")


def element_name(number: int) -> str:
    """``float32`` for 1, and so on, as messages say it."""
    if number in DTYPES:
        return DTYPES[number].name
    return KINDS[number].name if number in KINDS else "string" if number == STRING else f"element type {number}"


def shape_of(value: Value) -> tuple[int, ...]:
    """The shape of a value that has one."""
    if value is None or isinstance(value, list):
        raise OnnxError(f"a tensor is wanted, not {described(value)}")
    return tuple(value.shape)


def described(value: Value) -> str:
    """What a value is, in a few words for a message."""
    if value is None:
        return "nothing"
    if isinstance(value, list):
        return f"a sequence of {len(value)}"
    return f"{element_name(element(value))} of shape {shape_of(value)}"


def from_array(array: np.ndarray[Any, Any], device: fb.device) -> Value:
    """A value of an array; TypeError for element types that ONNX does not have."""
    if array.dtype.kind in "OUST":
        return np.array([_text(x) for x in array.ravel().tolist()], dtype=object).reshape(array.shape)
    kind = _BY_NUMPY.get(array.dtype)
    if kind is not None:
        return Narrow(fb.from_numpy(array.astype(kind.carrier.numpy)).to(device), kind)
    order = array.dtype.newbyteorder("=")
    return fb.from_numpy(np.array(array, dtype=order, order="C")).to(device)


def _text(x: object) -> str:
    return x.decode("utf-8") if isinstance(x, bytes) else str(x)


def incoming(value: object, device: fb.device) -> Value:
    """What a caller gave, as a value: tensors, arrays, numbers, texts, None, and lists of these."""
    if value is None:
        return None
    if isinstance(value, fb.Tensor):
        kind = _BY_OWN.get(value.dtype)
        return value if kind is None else Narrow(value.to(kind.carrier), kind)
    if isinstance(value, (list, tuple)):
        return [incoming(v, device) for v in value]
    if isinstance(value, (bool, int, float, str, np.generic, np.ndarray)):
        return from_array(np.asarray(value), device)
    raise TypeError(f"an input is a tensor, an array, a text, a list of these or None, not {type(value).__name__}")


def outgoing(value: Value, device: fb.device) -> object:
    """A value as callers get it: a tensor, or an array of numpy where flambeau has no dtype for it."""
    if isinstance(value, Ints):
        return value.tensor(device)
    if isinstance(value, list):
        return [outgoing(v, device) for v in value]
    if isinstance(value, Narrow):
        own = value.kind.own
        here = value.tensor.cpu()  # no other device holds such numbers
        return here.detach().numpy().astype(value.kind.numpy) if own is None else here.to(own)
    return value


def as_ints(value: Value) -> tuple[int, ...]:
    """The whole numbers in a value of rank 0 or 1."""
    if isinstance(value, Ints):
        return value.values
    if isinstance(value, fb.Tensor) and value.ndim <= 1 and not value.is_floating_point():
        return tuple(int(v) for v in value.reshape(-1).tolist())
    raise OnnxError(f"whole numbers in one row are wanted, not {described(value)}")


#: More numbers than a tensor of any model has: files that ask for more are refused before memory is.
MOST: Final = 1 << 32


def bounded(shape: Sequence[int]) -> tuple[int, ...]:
    """The shape, if a tensor can have it; OnnxError names one that is negative or absurdly large."""
    made = tuple(shape)
    if any(n < 0 for n in made) or math.prod(made) > MOST:
        raise OnnxError(f"no tensor of shape {made} can be made")
    return made
