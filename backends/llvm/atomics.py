"""Memory that several threads share, in generated code: 64-bit words that are read and changed as a whole.

Orders are C11's: what a thread wrote before a ``release`` is seen by whoever reads that by an ``acquire``.
"""

from __future__ import annotations

from typing import Literal

from flambeau.backends.llvm.ir import Function, Operand, Value
from flambeau.backends.llvm.types import I1, I32, I64, VOID


def load(f: Function, word: Value) -> Value:
    """The word at an address, and with it what was written before it was."""
    return f.emit(I64, f"load atomic i64, ptr {word.text} acquire, align 8")


def store(f: Function, x: Operand, word: Value) -> None:
    """Write the word at an address, and let it show what was written before."""
    f.write(f"store atomic i64 {f.value(I64, x).text}, ptr {word.text} release, align 8")


def update(f: Function, op: Literal["xchg", "sub"], word: Value, x: Operand) -> Value:
    """Exchange a word, or subtract from it, in one step; what it was."""
    return f.emit(I64, f"atomicrmw {op} ptr {word.text}, i64 {f.value(I64, x).text} acq_rel, align 8")


def claim(f: Function, word: Value, old: Operand, new: Operand) -> Value:
    """Change a word from ``old`` to ``new`` in one step, if it is ``old``; whether it was."""
    values = f"i64 {f.value(I64, old).text}, i64 {f.value(I64, new).text}"
    pair = f.emit(I64, f"cmpxchg ptr {word.text}, {values} acq_rel monotonic, align 8")
    return f.emit(I1, f"extractvalue {{ i64, i1 }} {pair.text}, 1")


def pause(f: Function) -> None:
    """Tell the processor that this is a loop that waits: it leaves the core to its other thread for a moment."""
    if f.target.arch == "x86_64":
        f.intrinsic("llvm.x86.sse2.pause", VOID)
    elif f.target.arch.startswith(("aarch64", "arm64")):
        f.intrinsic("llvm.aarch64.isb", VOID, f.constant(I32, 15))  # a hint to yield takes no time there
