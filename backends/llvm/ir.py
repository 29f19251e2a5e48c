"""A builder of LLVM IR: values with operators, variables, loops and branches as Python's own blocks.

    module = Module(host())
    f = Function(module, "scale", [PTR, F32, I64])
    x, factor, count = f.args
    for i in f.range(0, count):
        f.store(f.load(F32, x, i) * factor, x, i)
    f.ret()

What it writes is what runs: nothing is vectorised, unrolled or reordered that was not written so, and constants are
the same text in every process, so that compiled code can be kept on disk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final, TypeAlias

from flambeau.backends.llvm.module import Module
from flambeau.backends.llvm.types import I64, PTR, VOID, Type, literal

#: What a value may be given as: itself, a variable that is read, or a number of the type that is wanted.
Operand: TypeAlias = "Value | Variable | bool | int | float"

_FLOAT_CONDITIONS: Final = {
    "lt": "olt", "le": "ole", "gt": "ogt", "ge": "oge", "eq": "oeq", "ne": "une", "unordered": "uno", "ordered": "ord",
    "not_lt": "uge", "not_le": "ugt", "not_gt": "ule", "not_ge": "ult",
}  # fmt: skip
_INT_CONDITIONS: Final = {
    "lt": "slt", "le": "sle", "gt": "sgt", "ge": "sge", "eq": "eq", "ne": "ne", "ult": "ult", "ule": "ule",
    "ugt": "ugt", "uge": "uge",
}  # fmt: skip


class Value:
    """A value of a function. Operators are lane by lane; numbers beside it take its type.

    ``+ - *`` wrap on integers. ``//``, ``%`` and ``>>`` take integers as unsigned, which sizes and offsets are; signed
    ones are :meth:`sdiv`, :meth:`srem`, :meth:`ashr`. ``<`` and the like compare signed, and are false for nan;
    equal is :meth:`eq`. A pointer plus a number is the address so many bytes on.
    """

    __slots__ = ("function", "text", "type")

    def __init__(self, function: Function, type: Type, text: str):
        self.function, self.type, self.text = function, type, text

    def binary(self, op: str, other: Operand, swapped: bool = False) -> Value:
        """An instruction of two values of this type."""
        right = self.function.value(self.type, other)
        a, b = (right, self) if swapped else (self, right)
        return self.function.emit(self.type, f"{op} {self.type} {a.text}, {b.text}")

    def _arithmetic(self, op: str, other: Operand, swapped: bool = False) -> Value:
        return self.binary(f"f{op}" if self.type.kind == "float" else op, other, swapped)

    def __add__(self, other: Operand) -> Value:
        if self.type.kind == "ptr":
            offset = self.function.value(I64, other)
            return self.function.emit(PTR, f"getelementptr i8, ptr {self.text}, i64 {offset.text}")
        return self._arithmetic("add", other)

    def __radd__(self, other: Operand) -> Value:
        return self._arithmetic("add", other)

    def __sub__(self, other: Operand) -> Value:
        return self._arithmetic("sub", other)

    def __rsub__(self, other: Operand) -> Value:
        return self._arithmetic("sub", other, True)

    def __mul__(self, other: Operand) -> Value:
        return self._arithmetic("mul", other)

    def __rmul__(self, other: Operand) -> Value:
        return self._arithmetic("mul", other)

    def __truediv__(self, other: Operand) -> Value:
        return self.binary("fdiv", other)

    def __rtruediv__(self, other: Operand) -> Value:
        return self.binary("fdiv", other, True)

    def __floordiv__(self, other: Operand) -> Value:
        return self.binary("udiv", other)

    def __mod__(self, other: Operand) -> Value:
        return self.binary("urem", other)

    def __and__(self, other: Operand) -> Value:
        return self.binary("and", other)

    def __or__(self, other: Operand) -> Value:
        return self.binary("or", other)

    def __xor__(self, other: Operand) -> Value:
        return self.binary("xor", other)

    def __lshift__(self, other: Operand) -> Value:
        return self.binary("shl", other)

    def __rshift__(self, other: Operand) -> Value:
        return self.binary("lshr", other)

    def __invert__(self) -> Value:
        return self.binary("xor", True if self.type.bits == 1 else -1)

    def __neg__(self) -> Value:
        if self.type.kind == "float":
            return self.function.emit(self.type, f"fneg {self.type} {self.text}")
        return self._arithmetic("sub", 0, True)

    def sdiv(self, other: Operand) -> Value:
        """The quotient of signed integers, towards zero; by zero, in any lane, it kills the process."""
        return self.binary("sdiv", other)

    def srem(self, other: Operand) -> Value:
        """The rest of :meth:`sdiv`."""
        return self.binary("srem", other)

    def ashr(self, other: Operand) -> Value:
        """Shifted right, the sign kept."""
        return self.binary("ashr", other)

    def compare(self, condition: str, other: Operand) -> Value:
        """A comparison by name: lt, le, gt, ge, eq, ne; ult … of integers; unordered, not_lt … of floats."""
        right = self.function.value(self.type, other)
        kind, names = ("fcmp", _FLOAT_CONDITIONS) if self.type.kind == "float" else ("icmp", _INT_CONDITIONS)
        return self.function.emit(self.type.mask, f"{kind} {names[condition]} {self.type} {self.text}, {right.text}")

    def __lt__(self, other: Operand) -> Value:
        return self.compare("lt", other)

    def __le__(self, other: Operand) -> Value:
        return self.compare("le", other)

    def __gt__(self, other: Operand) -> Value:
        return self.compare("gt", other)

    def __ge__(self, other: Operand) -> Value:
        return self.compare("ge", other)

    def eq(self, other: Operand) -> Value:
        """Equal; ``==`` keeps Python's meaning, so that values can be keys."""
        return self.compare("eq", other)

    def ne(self, other: Operand) -> Value:
        """Not equal; true for nan."""
        return self.compare("ne", other)

    def is_nan(self) -> Value:
        """Whether it is not a number."""
        return self.compare("unordered", self)

    # -- other types ---------------------------------------------------------------------------
    def convert(self, op: str, to: Type) -> Value:
        """A conversion instruction to ``to``, in as many lanes as this has; nothing where the type is the same."""
        wanted = to.like(self.type)
        if wanted == self.type:
            return self
        return self.function.emit(wanted, f"{op} {self.type} {self.text} to {wanted}")

    def trunc(self, to: Type) -> Value:
        """The low bits of an integer."""
        return self.convert("trunc", to)

    def zext(self, to: Type) -> Value:
        """An integer widened with zeros."""
        return self.convert("zext", to)

    def sext(self, to: Type) -> Value:
        """An integer widened with its sign."""
        return self.convert("sext", to)

    def bitcast(self, to: Type) -> Value:
        """The same bits as another type of the same width, lane by lane."""
        return self.convert("bitcast", to)

    def address(self) -> Value:
        """A pointer as an integer."""
        return self.convert("ptrtoint", I64)

    def pointer(self) -> Value:
        """An address as a pointer."""
        return self.convert("inttoptr", PTR)

    def lane(self, number: int) -> Value:
        """One lane of a vector."""
        return self.function.emit(self.type.scalar, f"extractelement {self.type} {self.text}, i32 {number}")


class Variable:
    """A variable of a function; the optimiser keeps it in a register."""

    __slots__ = ("function", "text", "type")

    def __init__(self, function: Function, type: Type, start: Operand | None = None):
        self.function, self.type, self.text = function, type, function.name("v")
        function.entry.append(f"{self.text} = alloca {type}")
        if start is not None:
            self.set(start)

    @property
    def now(self) -> Value:
        """Its value at this place of the program."""
        return self.function.emit(self.type, f"load {self.type}, ptr {self.text}")

    def set(self, value: Operand) -> None:
        """Change it."""
        self.function.write(f"store {self.type} {self.function.value(self.type, value).text}, ptr {self.text}")


class Function:
    """A function that is being written; ``args`` are its arguments.

    ``ret`` must end each way through it. An ``internal`` one is called by others of its module alone.
    """

    def __init__(
        self, module: Module, name: str, params: Sequence[Type], result: Type = VOID, *, internal: bool = False
    ):
        self.module, self.symbol, self.result, self.internal = module, name, result, internal
        self.target = module.target
        self.lines: list[str] = []
        self.entry: list[str] = []
        self._names = 0
        self.args = [Value(self, type, f"%a{i}") for i, type in enumerate(params)]
        module.add(name, self)

    # -- text ----------------------------------------------------------------------------------
    def name(self, prefix: str = "t") -> str:
        """A name that nothing else has."""
        self._names += 1
        return f"%{prefix}{self._names}"

    def write(self, line: str) -> None:
        """An instruction without a result."""
        self.lines.append(f"  {line}")

    def emit(self, type: Type, text: str) -> Value:
        """The result of an instruction."""
        name = self.name()
        self.write(f"{name} = {text}")
        return Value(self, type, name)

    def label(self, name: str) -> None:
        """Where a block begins."""
        self.lines.append(f"{name[1:]}:")

    def text(self) -> str:
        """The definition."""
        params = ", ".join(f"{v.type} noundef {v.text}" for v in self.args)
        kind = "internal " if self.internal else ""
        head = f"define {kind}{self.result} @{self.symbol}({params}) nounwind {{"
        return "\n".join([head, "entry:", *(f"  {line}" for line in self.entry), *self.lines, "  unreachable", "}"])

    # -- values --------------------------------------------------------------------------------
    def outside(self, name: str, address: int) -> Value:
        """The address of something of this process, by a name that stands for it in the text."""
        return Value(self, PTR, self.module.external(name, address))

    def table(self, type: Type, values: Sequence[bool | int | float]) -> Value:
        """The address of constants."""
        return Value(self, PTR, self.module.table(type, values))

    def constant(self, type: Type, value: bool | int | float) -> Value:
        """A number of a type, in every lane."""
        return Value(self, type, literal(type, value))

    def value(self, type: Type, operand: Operand) -> Value:
        """An operand as a value of ``type``: numbers become constants, scalars fill the lanes of a vector."""
        if isinstance(operand, Variable):
            operand = operand.now
        if not isinstance(operand, Value):
            return self.constant(type, operand)
        if operand.function is not self:
            raise ValueError(f"a value of {operand.function.symbol} was used in {self.symbol}")
        if operand.type == type:
            return operand
        if operand.type == type.scalar:
            return self.splat(operand, type.lanes)
        raise TypeError(f"{self.symbol}: expected {type}, got {operand.type}")

    def splat(self, x: Value, lanes: int) -> Value:
        """A scalar in every lane of a vector."""
        if lanes == 1:
            return x
        t = x.type.vector(lanes)
        first = self.emit(t, f"insertelement {t} poison, {x.type} {x.text}, i32 0")
        return self.emit(t, f"shufflevector {t} {first.text}, {t} poison, <{lanes} x i32> zeroinitializer")

    def lanes(self, type: Type) -> Value:
        """The numbers 0, 1, 2, … of the lanes."""
        if type.lanes == 1:
            return self.constant(type, 0)
        return Value(self, type, "<" + ", ".join(f"{type.name} {i}" for i in range(type.lanes)) + ">")

    def shuffle(self, a: Value, b: Value | None, order: Sequence[int]) -> Value:
        """The lanes of ``a`` followed by those of ``b``, in an order; -1 is any value."""
        other = "poison" if b is None else b.text
        picks = ", ".join("i32 poison" if i < 0 else f"i32 {i}" for i in order)
        t = a.type.vector(len(order))
        if t.lanes == 1:
            return a.lane(order[0]) if order[0] < a.type.lanes or b is None else b.lane(order[0] - a.type.lanes)
        text = f"shufflevector {a.type} {a.text}, {a.type} {other}, <{len(order)} x i32> <{picks}>"
        return self.emit(t, text)

    def variable(self, type: Type, start: Operand | None = None) -> Variable:
        """A variable, with a value to start with."""
        return Variable(self, type, start)

    def buffer(self, bytes: int, align: int = 64) -> Value:
        """Memory that lasts until the function returns."""
        name = self.name("m")
        self.entry.append(f"{name} = alloca [{bytes} x i8], align {align}")
        return Value(self, PTR, name)

    # -- memory: an address is a pointer and an index in elements ---------------------------------
    def at(self, pointer: Value, index: Operand, type: Type) -> Value:
        """The address of an element of lanes of ``type``."""
        if isinstance(index, int) and index == 0:
            return pointer
        lane = "i8" if type.bits == 1 else type.name
        return self.emit(PTR, f"getelementptr {lane}, ptr {pointer.text}, i64 {self.value(I64, index).text}")

    def load(self, type: Type, pointer: Value, index: Operand = 0, align: int = 0) -> Value:
        """The value at an address, aligned as its lanes are unless ``align`` says more."""
        where = self.at(pointer, index, type)
        return self.emit(type, f"load {type}, ptr {where.text}, align {align or type.scalar.bytes}")

    def store(self, x: Value, pointer: Value, index: Operand = 0, align: int = 0, streaming: bool = False) -> None:
        """Write a value; ``streaming`` past the caches, which :meth:`fence` must follow."""
        where = self.at(pointer, index, x.type)
        hint = ", !nontemporal !0" if streaming else ""
        self.write(f"store {x.type} {x.text}, ptr {where.text}, align {align or x.type.scalar.bytes}{hint}")

    def load_masked(self, type: Type, pointer: Value, index: Operand, mask: Value, other: Operand = 0) -> Value:
        """The lanes of a vector that ``mask`` names, ``other`` elsewhere; memory of the others is not touched."""
        where = self.at(pointer, index, type)
        if type.lanes == 1:
            found = self.variable(type, other)
            with self.when(mask):
                found.set(self.load(type, where))
            return found.now
        name = f"llvm.masked.load.{type.suffix}.p0"
        self.module.declare(f"declare {type} @{name}(ptr, {type.mask}, {type})")
        passed = self.value(type, other)
        args = f"ptr align {type.scalar.bytes} {where.text}, {mask.type} {mask.text}, {type} {passed.text}"
        return self.emit(type, f"call {type} @{name}({args})")

    def store_masked(self, x: Value, pointer: Value, index: Operand, mask: Value) -> None:
        """Write the lanes that ``mask`` names."""
        where = self.at(pointer, index, x.type)
        if x.type.lanes == 1:
            with self.when(mask):
                self.store(x, where)
            return
        name = f"llvm.masked.store.{x.type.suffix}.p0"
        self.module.declare(f"declare void @{name}({x.type}, ptr, {mask.type})")
        args = f"{x.type} {x.text}, ptr align {x.type.scalar.bytes} {where.text}, {mask.type} {mask.text}"
        self.write(f"call void @{name}({args})")

    def below(self, count: Operand, lanes: int) -> Value:
        """The mask of the lanes whose number is below ``count``, which is not negative."""
        t = I64.vector(lanes)
        return self.lanes(t).compare("ult", self.value(t, count))

    def fence(self) -> None:
        """What was written before is seen before what is written after."""
        self.write("fence seq_cst")

    # -- calls ---------------------------------------------------------------------------------
    def call(self, callee: Function | Value, *args: Operand, result: Type = VOID) -> Value:
        """Call a function of this module, or one whose address a value is; that one's ``result`` must be told."""
        if isinstance(callee, Function):
            result = callee.result
            values = [self.value(p.type, a) for p, a in zip(callee.args, args, strict=True)]
            target = f"@{callee.symbol}"
        else:
            values = [a for a in args if isinstance(a, Value)]
            if len(values) < len(args):
                raise TypeError("a call of an address takes values alone: a number has no type")
            target = callee.text
        text = f"call {result} {target}({', '.join(f'{v.type} {v.text}' for v in values)})"
        if result == VOID:
            self.write(text)
            return Value(self, VOID, "")
        return self.emit(result, text)

    def intrinsic(self, name: str, result: Type, *args: Value) -> Value:
        """Call one of LLVM's own functions by its full name."""
        self.module.declare(f"declare {result} @{name}({', '.join(str(a.type) for a in args)})")
        text = f"call {result} @{name}({', '.join(f'{a.type} {a.text}' for a in args)})"
        if result == VOID:
            self.write(text)
            return Value(self, VOID, "")
        return self.emit(result, text)

    def apply(self, name: str, x: Value, *others: Operand) -> Value:
        """An overloaded intrinsic of values of one type: ``f.apply("sqrt", x)``, ``f.apply("copysign", x, y)``."""
        values = [x, *(self.value(x.type, o) for o in others)]
        return self.intrinsic(f"llvm.{name}.{x.type.suffix}", x.type, *values)

    def fma(self, a: Value, b: Operand, c: Operand) -> Value:
        """a * b + c, rounded once; without an instruction for it a call of the C library."""
        return self.apply("fma", a, b, c)

    def muladd(self, a: Value, b: Operand, c: Operand) -> Value:
        """a * b + c, rounded once where the target can, else twice."""
        return self.apply("fmuladd", a, b, c)

    def select(self, condition: Value, yes: Operand, no: Operand) -> Value:
        """``yes`` where the condition is true, lane by lane, else ``no``; one of them is a value."""
        model = yes if isinstance(yes, (Value, Variable)) else no
        assert isinstance(model, (Value, Variable))
        t = model.type
        if condition.type.lanes > 1:
            t = t.like(condition.type)
        a, b = self.value(t, yes), self.value(t, no)
        return self.emit(t, f"select {condition.type} {condition.text}, {t} {a.text}, {t} {b.text}")

    def minimum(self, a: Value, b: Operand) -> Value:
        """The smaller one; ``b`` where one is nan. One instruction."""
        b = self.value(a.type, b)
        return self.select(a < b, a, b)

    def maximum(self, a: Value, b: Operand) -> Value:
        """The larger one; ``b`` where one is nan. One instruction."""
        b = self.value(a.type, b)
        return self.select(a > b, a, b)

    def reduce(self, x: Value, join: Callable[[Value, Value], Value]) -> Value:
        """The lanes joined by halves: lane 0 with lane n/2 and so on, in the same order at every width."""
        while x.type.lanes > 1:
            half = x.type.lanes // 2
            lower = self.shuffle(x, None, range(half))
            upper = self.shuffle(x, None, range(half, 2 * half))
            x = join(lower, upper)
        return x

    # -- control -------------------------------------------------------------------------------
    def range(self, start: Operand, stop: Operand, step: Operand = 1) -> Iterator[Value]:
        """``for i in f.range(0, n):`` the body is written once and runs as a loop of I64; ``break`` is not for it."""
        i = self.variable(I64, start)
        end, by = self.value(I64, stop), self.value(I64, step)
        head, body, after = self.name("head"), self.name("body"), self.name("end")
        self.write(f"br label {head}")
        self.label(head)
        now = i.now
        self.write(f"br i1 {(now < end).text}, label {body}, label {after}")
        self.label(body)
        yield now
        i.set(now + by)
        self.write(f"br label {head}")
        self.label(after)

    @contextmanager
    def loop(self) -> Iterator[Callable[[Value], None]]:
        """``with f.loop() as leave:`` repeats the block until a ``leave(condition)`` in it is true."""
        head, after = self.name("head"), self.name("end")
        self.write(f"br label {head}")
        self.label(head)

        def leave(condition: Value) -> None:
            on = self.name("on")
            self.write(f"br i1 {condition.text}, label {after}, label {on}")
            self.label(on)

        yield leave
        self.write(f"br label {head}")
        self.label(after)

    @contextmanager
    def when(self, condition: Value, likely: bool | None = None) -> Iterator[None]:
        """The block runs if a condition is true; ``likely`` tells which way the processor should guess."""
        yes, after = self.name("yes"), self.name("end")
        hint = "" if likely is None else f", !prof {'!1' if likely else '!2'}"
        self.write(f"br i1 {condition.text}, label {yes}, label {after}{hint}")
        self.label(yes)
        yield
        self.write(f"br label {after}")
        self.label(after)

    @contextmanager
    def unless(self, condition: Value, likely: bool | None = None) -> Iterator[None]:
        """The block runs if a condition is false."""
        with self.when(~condition, likely):
            yield

    def ret(self, value: Operand | None = None) -> None:
        """Leave the function."""
        if self.result == VOID:
            self.write("ret void")
        else:
            assert value is not None, f"{self.symbol} returns {self.result}"
            self.write(f"ret {self.result} {self.value(self.result, value).text}")
        self.label(self.name("dead"))
