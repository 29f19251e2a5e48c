"""Kernels of several elementwise steps: what one step gives stays in a register for the next.

The steps are the programs of the kernels that they stand for, so that results have the bits of these one after
another. Numbers are parameters, as they are for kernels that read them from memory: what a compiler made of literals
could be other bits. As in :mod:`.elementwise` a ``flat`` kernel takes arrays in order, or single elements, and a
``rows`` kernel any strides.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from flambeau.backends.dialect.elementwise import columns, elements, place, rows
from flambeau.backends.dialect.functions import Library
from flambeau.backends.dialect.prelude import REGISTER, STORED, Target, load, prelude, rounded, store
from flambeau.backends.dialect.printer import print_steps
from flambeau.core import dtype as dt
from flambeau.core.dtype import DType
from flambeau.core.expr import Program

#: The text of a number by the bits that stand for it.
_OF_BITS: Final = dict.fromkeys((dt.float32, dt.float16, dt.bfloat16), "AS_f32((u32){})") | {
    dt.float64: "AS_f64((i64){})"
}


class Stage(NamedTuple):
    """One step: a program, or the next number among the parameters, or where there is neither, its operand.

    ``operands`` are places among the arrays, and from there on among the stages.
    """

    program: Program | None
    operands: tuple[int, ...]
    dtype: DType


class Body(NamedTuple):
    """What a group computes, whatever the layouts: ``arrays`` are the dtypes in memory, first those that are read.

    Args:
        arrays: of every array.
        reads: how many of them are read.
        stages: in order.
        stores: (place among the arrays, value) of every result.
    """

    arrays: tuple[DType, ...]
    reads: tuple[int, ...]
    stages: tuple[Stage, ...]
    stores: tuple[tuple[int, int], ...]

    @property
    def numbers(self) -> int:
        """How many parameters are numbers."""
        return sum(s.program is None and not s.operands for s in self.stages)


def flat_source(body: Body, target: Target, pattern: str) -> str:
    """``flat``: parameters after the pointers are (n, chunk, offset of each array, numbers)."""
    functions, numbers, work = _printed(body, target)
    places = {"v": "i", "s": "0"}
    loads = {k: _load(body, k, places[pattern[k]]) for k in body.reads}
    singles = [loads[k] for k in body.reads if pattern[k] == "s" and not _is_written(body, k)]
    inner = [loads[k] for k in body.reads if pattern[k] == "v" or _is_written(body, k)]
    stores = [_store(body, k, value, places[pattern[k]]) for k, value in body.stores]
    return f"""{prelude(target)}{functions}
typedef struct {{ i64 n, chunk, offset[{len(body.arrays)}]; u64 number[{max(1, body.numbers)}]; }} Flat;
KERNEL flat({_pointers(body)}, const Flat a) {{
  {_lines([*_bases(body, "a.offset[{}]"), *numbers, *singles], 2)}
{elements(target)}{{
    {_lines([*inner, *work, *stores], 4)}
  }}
}}
"""


def rows_source(body: Body, target: Target, pattern: str, axes: int) -> str:
    """``rows``, over ``axes`` outer axes: parameters are (rows, row chunk, columns, column chunk, sizes, strides, inner
    strides, offsets, numbers)."""
    functions, numbers, work = _printed(body, target)
    count, every = len(body.arrays), range(len(body.arrays))
    places = [place(pattern[k], k) for k in every]
    loads = [_load(body, k, places[k]) for k in body.reads]
    stores = [_store(body, k, value, places[k]) for k, value in body.stores]
    walk = [f"i64 o{k} = a.offset[{k}];" for k in every]
    for d in reversed(range(axes)):
        walk.append(f"{{ i64 c = rest % a.size[{d}]; rest /= a.size[{d}];")
        walk.append(" ".join(f"o{k} += c * a.stride[{k}][{d}];" for k in every) + " }")
    room = max(1, axes)
    return f"""{prelude(target)}{functions}
typedef struct {{ i64 rows, height, columns, width, size[{room}], stride[{count}][{room}], inner[{count}],
                 offset[{count}]; u64 number[{max(1, body.numbers)}]; }} Rows;
KERNEL rows({_pointers(body)}, const Rows a) {{
  {_lines(numbers, 2)}
{rows(target)}
    i64 rest = row;
    {_lines([*walk, *_bases(body, "o{}")], 4)}
    {columns(target)}{{
      {_lines([*loads, *work, *stores], 6)}
    }}
  }}
}}
"""


def _printed(body: Body, target: Target) -> tuple[str, list[str], list[str]]:
    """The functions, the numbers, and the statements of all stages."""
    library = Library(target)
    numbers: list[str] = []
    work: list[str] = []
    names = [f"x{k}" for k in range(len(body.arrays))]
    for i, stage in enumerate(body.stages):
        name, register = f"v{i}", REGISTER[stage.dtype]
        names.append(name)
        if stage.program is not None:
            operands = [names[k] for k in stage.operands]
            statements, result = print_steps(stage.program, library, operands, f"s{i}_")
            work += [*statements, f"const {register} {name} = {rounded(stage.dtype, result)};"]
        elif stage.operands:
            work.append(f"const {register} {name} = {names[stage.operands[0]]};")
        else:
            number = _OF_BITS.get(stage.dtype, f"({register}){{}}").format(f"a.number[{len(numbers)}]")
            numbers.append(f"const {register} {name} = {number};")
    return library.text(), numbers, work


def _value(body: Body, number: int) -> str:
    return f"x{number}" if number < len(body.arrays) else f"v{number - len(body.arrays)}"


def _is_written(body: Body, k: int) -> bool:
    return any(k == at for at, _ in body.stores)


def _pointers(body: Body) -> str:
    written = {k for k, _ in body.stores}
    return ", ".join(
        f"GLOBAL {'' if k in written else 'const '}{STORED[d]} *b{k}" for k, d in enumerate(body.arrays)
    )  # fmt: skip


def _bases(body: Body, offset: str) -> list[str]:
    written = {k for k, _ in body.stores}
    return [
        f"GLOBAL {'' if k in written else 'const '}{STORED[d]} *p{k} = b{k} + {offset.format(k)};"
        for k, d in enumerate(body.arrays)
    ]


def _load(body: Body, k: int, index: str) -> str:
    return f"const {REGISTER[body.arrays[k]]} x{k} = {load(body.arrays[k], f'p{k}', index)};"


def _store(body: Body, k: int, value: int, index: str) -> str:
    return store(body.arrays[k], f"p{k}", index, _value(body, value)) + ";"


def _lines(statements: list[str], indent: int) -> str:
    return ("\n" + " " * indent).join(statements)
