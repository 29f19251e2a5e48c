"""Blocks of memory for large arrays, which are kept when they are freed, and given to the next array of their class.

The pages of a block that is used again are there: the system need not clear them anew, which takes longer than most
elementwise kernels. This is a memory handler of numpy's (`NEP 49 <https://numpy.org/neps/nep-0049.html>`_) in
generated code: numpy calls it for the data of every array that is made in a context where it is set. What is smaller
than :data:`LEAST` goes to the handler that was there before.

A block has a size class, of which there are eight between a power of two and the next, and a line in front of its
data: where its memory begins, a word by which it is told from other memory, its bytes, its class and the next free
block of that. The data begins one line behind the start of a page, so that the line may be read before it is known
whether there is one.

What is kept and what is in use are together never more than what was in use at once before, and :data:`SLACK`: a
program takes no more memory than without.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from typing import Final, NamedTuple

from flambeau.backends.llvm import atomics
from flambeau.backends.llvm.compiler import load
from flambeau.backends.llvm.ir import Function, Value
from flambeau.backends.llvm.module import Module
from flambeau.backends.llvm.target import Target
from flambeau.backends.llvm.threads import forever
from flambeau.backends.llvm.types import I1, I8, I32, I64, PTR, VOID, Type

#: Bytes of the smallest block: less is quickly had, and the C library keeps it as well.
LEAST: Final = 1 << 14
#: Bytes that may be kept beyond what was in use at once.
SLACK: Final = 1 << 23
#: Bytes from which Linux is asked for large pages, as numpy does.
_LARGE_PAGES: Final = 1 << 22
_MADV_HUGEPAGE: Final = 14
#: Bytes from which blocks are mapped where the system can: the C library would keep holes of what is given back.
_MAPPED: Final = 1 << 20
_READ_WRITE: Final = 3
_PAGE, _LINE = 4096, 64
#: Classes in a power of two, and how many there are in all.
_STEPS: Final = 3
_CLASSES: Final = 48 << _STEPS
#: More than any machine has: what is asked beyond is a mistake.
_MOST: Final = 1 << 46
#: The line in front of the data, and what the word in it is before the address is mixed in.
_RAW, _MARK, _BYTES, _CLASS, _NEXT = (-_LINE + 8 * i for i in range(5))
_SECRET: Final = 0x6C61_6D62_6561_7521
#: The state, of words: the lock; the most that is kept, and that may be held in all, negative for no bound; bytes in
#: use, kept, at most in use since the start, and since the peak was reset; arrays made and those that got a kept block;
#: then the other handler's context, and the first free block of each
#: class.
_LOCK, KEEP, LIMIT, USED, KEPT, HIGH, PEAK, MADE, HITS = range(9)
_CONTEXT, _HEADS = 15, 16


class Handler(NamedTuple):
    """A memory handler in memory.

    Args:
        functions: the addresses of malloc, calloc, realloc and free in the form that numpy wants.
        trim: gives kept blocks back until at most so many bytes are kept.
        state: the address of the state.
    """

    functions: tuple[int, int, int, int]
    trim: Callable[[int], None]
    state: int

    def read(self, word: int) -> int:
        """A word of the state."""
        return ctypes.c_int64.from_address(self.state + 8 * word).value

    def write(self, word: int, value: int) -> None:
        """Change a word of the state."""
        ctypes.c_int64.from_address(self.state + 8 * word).value = value


#: The functions that numpy's handlers have, each with the handler's context first.
Others = tuple[int, int, int, int, int]


def library(name: str) -> int | None:
    """The address of a function of the C library."""
    found = ctypes.CDLL("msvcrt") if sys.platform == "win32" else ctypes.CDLL(None)
    function = getattr(found, name, None)
    return None if function is None else ctypes.cast(function, ctypes.c_void_p).value


def handler(target: Target, before: Others) -> Handler:
    """Compile the handler that stands over another one, given as its context, malloc, calloc, realloc and free."""
    state = forever(8 * (_HEADS + _CLASSES))
    module = Module(target)
    define(module, state, before, library)
    names = ("blocks_malloc", "blocks_calloc", "blocks_realloc", "blocks_free")
    found = load(module, [*names, "blocks_trim"])
    malloc, calloc, realloc, free = (found[name] for name in names)
    trim = ctypes.PYFUNCTYPE(None, ctypes.c_int64)(found["blocks_trim"])
    made = Handler((malloc, calloc, realloc, free), trim, state)
    made.write(LIMIT, -1)
    made.write(_CONTEXT, before[0])
    return made


def define(module: Module, state: int, before: Others, find: Callable[[str], int | None]) -> None:
    """Write the handler's functions for a state at an address."""
    writer = _Writer(module, state, before, find)
    give_back = writer.give_back()
    new = writer.new(give_back, writer.make())
    ours = writer.ours()
    free = writer.free(ours)
    writer.malloc(new)
    writer.calloc(new)
    writer.realloc(new, ours, free)
    writer.trim(give_back)


class _Writer:
    """Writes the functions one by one."""

    def __init__(self, module: Module, state: int, before: Others, find: Callable[[str], int | None]):
        self.module, self.address, self.before, self.find = module, state, before, find
        self.linux = "linux" in module.target.triple
        self.maps = "windows" not in module.target.triple and find("mmap") is not None

    # -- pieces --------------------------------------------------------------------------------
    def state(self, f: Function, word: int) -> Value:
        """The address of a word of the state."""
        return f.outside("blocks_state", self.address) + 8 * word

    def read(self, f: Function, word: int) -> Value:
        return f.load(I64, self.state(f, word))

    def add(self, f: Function, word: int, change: Value | int) -> Value:
        """Add to a word of the state; what it is then."""
        changed = self.read(f, word) + change
        f.store(changed, self.state(f, word))
        return changed

    def raise_to(self, f: Function, word: int, value: Value) -> None:
        f.store(f.maximum(self.read(f, word), value), self.state(f, word))

    def lock(self, f: Function) -> None:
        """Nobody holds it for long, and nearly always Python's lock keeps the others away."""
        with f.loop() as leave:
            leave(atomics.claim(f, self.state(f, _LOCK), 0, 1))
            atomics.pause(f)

    def unlock(self, f: Function) -> None:
        atomics.store(f, 0, self.state(f, _LOCK))

    def head(self, f: Function, number: Value) -> Value:
        """The address of the word that points to the first free block of a class."""
        return self.state(f, _HEADS) + number * 8

    def system(self, f: Function, name: str, *args: Value, result: Type = PTR) -> Value:
        """Call a function of the C library."""
        address = self.find(name)
        assert address is not None, f"the C library has no {name}"
        return f.call(f.outside(f"c_{name}", address), *args, result=result)

    def earlier(self, f: Function, which: int, *args: Value) -> Value:
        """Call a function of the handler that was there before."""
        context = f.load(PTR, self.state(f, _CONTEXT))
        name = ("", "malloc", "calloc", "realloc", "free")[which]
        address = f.outside(f"before_{name}", self.before[which])
        return f.call(address, context, *args, result=VOID if name == "free" else PTR)

    def class_of(self, f: Function, size: Value) -> tuple[Value, Value]:
        """The class of a size, and the bytes of its blocks."""
        last = size - 1
        zeros = f.intrinsic("llvm.ctlz.i64", I64, last, f.constant(I1, False))
        top = f.constant(I64, 63) - zeros
        shift = top - _STEPS
        part = last >> shift
        return (top << _STEPS) + (part & ((1 << _STEPS) - 1)), (part + 1) << shift

    # -- functions -----------------------------------------------------------------------------
    def give_back(self) -> Function:
        """Give kept blocks back, the largest first, until at most so many bytes are kept; the lock is held."""
        f = Function(self.module, "give_back", [I64], internal=True)
        (most,) = f.args
        number = f.variable(I64, _CLASSES - 1)
        with f.loop() as leave:
            leave((self.read(f, KEPT) <= most) | (number.now < 0))
            head = self.head(f, number.now)
            block = f.load(PTR, head)
            with f.when(block.eq(0)):
                number.set(number.now - 1)
            with f.when(block.ne(0)):
                f.store(f.load(PTR, block + _NEXT), head)
                self.add(f, KEPT, -f.load(I64, block + _BYTES))
                self._drop(f, block)
        f.ret()
        return f

    def _drop(self, f: Function, block: Value) -> None:
        """Give a block's memory to the system; the word that names it must not be found there later."""
        f.store(f.constant(I64, 0), block + _MARK)
        raw = f.load(PTR, block + _RAW)
        if self.maps:
            with f.when(raw.eq(0)):
                self.system(f, "munmap", block + -_LINE, f.load(I64, block + _BYTES) + _PAGE, result=I32)
        with f.when(raw.ne(0)):
            self.system(f, "free", raw, result=VOID)

    def new(self, give_back: Function, make: Function) -> Function:
        """A block of at least so many bytes, of zeros where that is asked for, or null."""
        f = Function(self.module, "new_block", [I64, I64], PTR, internal=True)
        size, zero = f.args
        with f.when(size.compare("ugt", _MOST)):
            f.ret(0)
        number, full = self.class_of(f, size)
        self.lock(f)
        head = self.head(f, number)
        block = f.load(PTR, head)
        limit = self.read(f, LIMIT)
        with f.when((limit >= 0) & (self.read(f, USED) + full > limit)):
            self.unlock(f)
            f.ret(0)
        self._count(f, full)
        with f.when(block.ne(0)):
            f.store(f.load(PTR, block + _NEXT), head)
            self.add(f, KEPT, -full)
            self.add(f, HITS, 1)
            self.unlock(f)
            with f.when(zero.ne(0)):
                self._clear(f, block, size)
            f.ret(block)
        bound = self.read(f, HIGH) + SLACK
        bound = f.select(limit >= 0, f.minimum(bound, limit), bound)
        f.call(give_back, f.maximum(bound - self.read(f, USED), 0))
        self.unlock(f)
        made = f.variable(PTR, f.call(make, full, number, zero))
        with f.when(made.now.eq(0), likely=False):  # the system has no more: it gets what is kept
            self.lock(f)
            f.call(give_back, 0)
            self.unlock(f)
            made.set(f.call(make, full, number, zero))
            with f.when(made.now.eq(0)):
                self.lock(f)
                self.add(f, USED, -full)
                self.unlock(f)
        f.ret(made)
        return f

    def _count(self, f: Function, full: Value) -> None:
        used = self.add(f, USED, full)
        self.add(f, MADE, 1)
        self.raise_to(f, HIGH, used)
        self.raise_to(f, PEAK, used)

    def make(self) -> Function:
        """A block in new memory, of zeros where that is asked for; or null."""
        f = Function(self.module, "make_block", [I64, I64, I64], PTR, internal=True)
        full, number, zero = f.args
        found = f.variable(PTR, 0)
        if self.maps:
            with f.when(full >= _MAPPED):
                private = f.constant(I32, 0x22 if self.linux else 0x1002)  # MAP_PRIVATE | MAP_ANONYMOUS
                null, protection, none = f.constant(PTR, 0), f.constant(I32, _READ_WRITE), f.constant(I32, -1)
                given = (null, full + _PAGE, protection, private, none, f.constant(I64, 0))
                start = self.system(f, "mmap", *given).address()
                with f.when(start.ne(-1)):
                    found.set(self._headed(f, start, f.constant(I64, 0), full, number))
                f.ret(found)
        size = full + (_PAGE + _LINE)
        raw = f.variable(PTR)
        with f.when(zero.ne(0)):
            raw.set(self.system(f, "calloc", f.constant(I64, 1), size))
        with f.unless(zero.ne(0)):
            raw.set(self.system(f, "malloc", size))
        address = raw.now.address()
        with f.when(address.ne(0)):
            found.set(self._headed(f, (address + (_PAGE - 1)) & -_PAGE, address, full, number))
        f.ret(found)
        return f

    def _headed(self, f: Function, start: Value, raw: Value, full: Value, number: Value) -> Value:
        """The data of a block at the start of a page, whose line is written."""
        data = (start + _LINE).pointer()
        for value, place in ((raw, _RAW), (data.address() ^ _SECRET, _MARK), (full, _BYTES), (number, _CLASS)):
            f.store(value, data + place)
        if self.linux and self.find("madvise") is not None:
            with f.when(full >= _LARGE_PAGES):
                self.system(f, "madvise", start.pointer(), full, f.constant(I32, _MADV_HUGEPAGE), result=I32)
        return data

    def _clear(self, f: Function, block: Value, size: Value) -> None:
        f.intrinsic("llvm.memset.p0.i64", VOID, block, f.constant(I8, 0), size, f.constant(I1, False))

    def ours(self) -> Function:
        """Whether an address is that of a block's data."""
        f = Function(self.module, "is_block", [PTR], I1, internal=True)
        (pointer,) = f.args
        address = pointer.address()
        with f.when((address & (_PAGE - 1)).ne(_LINE)):
            f.ret(False)
        f.ret(f.load(I64, pointer + _MARK).eq(address ^ _SECRET))
        return f

    def malloc(self, new: Function) -> None:
        f = Function(self.module, "blocks_malloc", [PTR, I64], PTR)
        _, size = f.args
        with f.when(size.compare("ult", LEAST)):
            f.ret(self.earlier(f, 1, size))
        f.ret(f.call(new, size, 0))

    def calloc(self, new: Function) -> None:
        """Of a block that was kept the data is cleared; the system's own memory may be zeros without that."""
        f = Function(self.module, "blocks_calloc", [PTR, I64, I64], PTR)
        _, count, size = f.args
        most = f.constant(I64, _MOST) // f.select(size.eq(0), f.constant(I64, 1), size)
        with f.when(count.compare("ugt", most) | (count * size).compare("ult", LEAST)):
            f.ret(self.earlier(f, 2, count, size))
        f.ret(f.call(new, count * size, 1))

    def free(self, ours: Function) -> Function:
        f = Function(self.module, "blocks_free", [PTR, PTR, I64])
        _, block, size = f.args
        with f.unless(f.call(ours, block)):
            self.earlier(f, 4, block, size)
            f.ret()
        self.lock(f)
        full = f.load(I64, block + _BYTES)
        self.add(f, USED, -full)
        keep = self.read(f, KEEP)
        kept = self.read(f, KEPT) + full
        with f.when((keep < 0) | (kept <= keep)):
            f.store(kept, self.state(f, KEPT))
            head = self.head(f, f.load(I64, block + _CLASS))
            f.store(f.load(PTR, head), block + _NEXT)
            f.store(block, head)
            self.unlock(f)
            f.ret()
        self.unlock(f)
        self._drop(f, block)
        f.ret()
        return f

    def realloc(self, new: Function, ours: Function, free: Function) -> None:
        """What is no block stays none, however large it grows; a block becomes one of another class, or stays."""
        f = Function(self.module, "blocks_realloc", [PTR, PTR, I64], PTR)
        context, old, size = f.args
        with f.unless(f.call(ours, old)):
            f.ret(self.earlier(f, 3, old, size))
        have = f.load(I64, old + _BYTES)
        with f.when((size <= have) & (size * 2 > have)):
            f.ret(old)
        made = f.call(new, f.maximum(size, LEAST), 0)
        with f.when(made.ne(0)):
            copied = f.minimum(size, have)
            f.intrinsic("llvm.memcpy.p0.p0.i64", VOID, made, old, copied, f.constant(I1, False))
            f.call(free, context, old, have)
        f.ret(made)

    def trim(self, give_back: Function) -> None:
        f = Function(self.module, "blocks_trim", [I64])
        self.lock(f)
        f.call(give_back, f.args[0])
        self.unlock(f)
        f.ret()
