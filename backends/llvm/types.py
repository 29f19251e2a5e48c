"""The types of LLVM's values: numbers of some width, pointers, and vectors of them."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass, replace
from typing import Final, Literal

Kind = Literal["void", "int", "float", "ptr", "struct"]


@dataclass(frozen=True, slots=True)
class Type:
    """A scalar, or a vector of ``lanes`` of them.

    >>> str(F32), str(F32.vector(8)), F32.vector(8).bytes
    ('float', '<8 x float>', 32)
    """

    name: str  # of one lane, as LLVM writes it
    kind: Kind
    bits: int  # of one lane
    lanes: int = 1

    def vector(self, lanes: int) -> Type:
        """The vector of ``lanes`` of these; of one it is the scalar itself."""
        return replace(self, lanes=lanes)

    @property
    def scalar(self) -> Type:
        """The type of a lane."""
        return self if self.lanes == 1 else replace(self, lanes=1)

    def like(self, other: Type) -> Type:
        """This scalar in as many lanes as ``other`` has."""
        return replace(self, lanes=other.lanes)

    @property
    def mask(self) -> Type:
        """The type of a comparison of two of these."""
        return Type("i1", "int", 1, self.lanes)

    @property
    def integer(self) -> Type:
        """The integers of the same width, lane by lane."""
        return Type(f"i{self.bits}", "int", self.bits, self.lanes)

    @property
    def bytes(self) -> int:
        """The size in memory; a truth value takes a byte a lane there."""
        return self.lanes * max(self.bits // 8, 1)

    @property
    def suffix(self) -> str:
        """What an overloaded intrinsic adds to its name."""
        lane = {"float": "f32", "double": "f64", "half": "f16", "bfloat": "bf16", "ptr": "p0"}.get(self.name, self.name)
        return lane if self.lanes == 1 else f"v{self.lanes}{lane}"

    def __str__(self) -> str:
        return self.name if self.lanes == 1 else f"<{self.lanes} x {self.name}>"


VOID: Final = Type("void", "void", 0)
I1, I8, I16, I32, I64 = (Type(f"i{bits}", "int", bits) for bits in (1, 8, 16, 32, 64))
F16, BF16 = Type("half", "float", 16), Type("bfloat", "float", 16)
F32, F64 = Type("float", "float", 32), Type("double", "float", 64)
PTR: Final = Type("ptr", "ptr", 64)  # every target here has addresses of 64 bits


def literal(type: Type, value: bool | int | float) -> str:
    """A constant as LLVM writes it, the same in every lane; a number that the type rounds is rounded.

    >>> literal(F32, 0.1), literal(I64.vector(2), -1)
    ('0x3FB99999A0000000', 'splat (i64 -1)')
    """
    if type.lanes > 1:
        return f"splat ({type.name} {literal(type.scalar, value)})"
    if type.kind == "ptr":
        if value:
            raise ValueError("a constant address makes the text another one in each process; use Module.external")
        return "null"
    if type.kind == "float":
        return _float(type, float(value))
    if isinstance(value, float) and not value.is_integer():
        raise ValueError(f"{value!r} is no constant of {type}")
    whole = int(value)
    if type.bits == 1:
        return "true" if whole else "false"
    if not -(1 << type.bits - 1) <= whole < 1 << type.bits:
        raise ValueError(f"{whole} is out of range for {type}")
    return str(whole)


def _float(type: Type, value: float) -> str:
    """The bits of the nearest number: of float32 in the form of a double, as LLVM wants it."""
    if type is F16 or type.name == "half":
        return f"0xH{_bits('<e', '<H', value):04X}"
    if type.name == "bfloat":
        return f"0xR{_bfloat(value):04X}"
    if type.name == "float":
        value = _single(value)
    return f"0x{_bits('<d', '<Q', value):016X}"


def _bits(real: str, whole: str, value: float) -> int:
    try:
        packed = struct.pack(real, value)
    except OverflowError:
        packed = struct.pack(real, math.copysign(math.inf, value))
    found: int = struct.unpack(whole, packed)[0]
    return found


def _single(value: float) -> float:
    found: float = struct.unpack("<f", _bits("<f", "<I", value).to_bytes(4, "little"))[0]
    return found


def _bfloat(value: float) -> int:
    """The upper half of a float32, rounded to nearest even; nan keeps a bit that says so."""
    bits = _bits("<f", "<I", value)
    if math.isnan(value):
        return bits >> 16 | 0x40
    return bits + 0x7FFF + (bits >> 16 & 1) >> 16
