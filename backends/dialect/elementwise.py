"""Kernels of scalar expressions: one for operands in order, one for any strides.

``source`` is the text of one program. Its ``flat`` kernels take contiguous operands, or single elements
(pattern "v" or "s" for each operand); its ``rows`` kernel walks rows of any strides, whose inner strides are
1, 0 or given ("1", "0" or "n" for each operand, the output's last).
"""

from __future__ import annotations

from typing import Final

from flambeau.backends.dialect.prelude import REGISTER, STORED, Target, load, prelude, store
from flambeau.backends.dialect.printer import Body, print_program
from flambeau.core.dtype import DType
from flambeau.core.expr import Program

#: How many axes the ``rows`` kernels walk, the inner one aside.
MAX_AXES: Final = 11


def flat_source(program: Program, target: Target, pattern: str) -> str:
    """``flat``: parameters after the pointers are (n, chunk, offset of each operand and of the output)."""
    body = _body(program, target)
    count = len(program.inputs)
    loads, singles = [], []
    for k, dtype in enumerate(program.inputs):
        if pattern[k] == "s":
            singles.append(f"  const {_register(dtype)} x{k} = {load(dtype, f'p{k}', '0')};")
        else:
            loads.append(f"const {_register(dtype)} x{k} = {load(dtype, f'p{k}', 'i')};")
    return f"""{prelude(target)}{body.functions}
typedef struct {{ i64 n, chunk, offset[{count + 1}]; }} Flat;
KERNEL flat({_pointers(program.inputs, program.out)}, const Flat a) {{
{_bases(program)}
{chr(10).join(singles)}
{elements(target)}{{
    {_lines([*loads, *body.statements, store(program.out, "q", "i", body.result) + ";"], 4)}
  }}
}}
"""


def rows_source(program: Program, target: Target, pattern: str) -> str:
    """``rows``: parameters are (rows, row chunk, columns, column chunk, axes, sizes, strides, inner strides, offsets).

    Of each array, the output's last, come the strides of the outer axes, the inner stride and the offset.
    """
    body = _body(program, target)
    count = len(program.inputs)
    every = range(count + 1)
    loads = [
        f"const {_register(dtype)} x{k} = {load(dtype, f'p{k}', place(pattern[k], k))};"
        for k, dtype in enumerate(program.inputs)
    ]
    result = store(program.out, "q", place(pattern[count], count), body.result) + ";"
    work = _lines([*loads, *body.statements, result], 6)
    steps = " ".join(f"o{k} += c * a.stride[{k}][d];" for k in every)
    pointers = " ".join(f"GLOBAL const {STORED[d]} *p{k} = b{k} + o{k};" for k, d in enumerate(program.inputs))
    return f"""{prelude(target)}{body.functions}
typedef struct {{ i64 rows, height, columns, width, axes, size[{MAX_AXES}], stride[{count + 1}][{MAX_AXES}],
                 inner[{count + 1}], offset[{count + 1}]; }} Rows;
KERNEL rows({_pointers(program.inputs, program.out)}, const Rows a) {{
{rows(target)}
    {" ".join(f"i64 o{k} = a.offset[{k}];" for k in every)}
    i64 rest = row;
    for (int d = (int)a.axes - 1; d >= 0; d--) {{
      i64 c = rest % a.size[d]; rest /= a.size[d];
      {steps}
    }}
    {pointers} GLOBAL {STORED[program.out]} *q = bq + o{count};
    {columns(target)}{{
      {work}
    }}
  }}
}}
"""


def _lines(statements: list[str], indent: int) -> str:
    return ("\n" + " " * indent).join(statements)


def _body(program: Program, target: Target) -> Body:
    return print_program(program, target, tuple(f"x{k}" for k in range(len(program.inputs))))


def _register(dtype: DType) -> str:
    return REGISTER[dtype]


def _pointers(inputs: tuple[DType, ...], out: DType) -> str:
    ins = "".join(f"GLOBAL const {STORED[d]} *b{k}, " for k, d in enumerate(inputs))
    return f"{ins}GLOBAL {STORED[out]} *bq"


def _bases(program: Program) -> str:
    lines = [f"  GLOBAL const {STORED[d]} *p{k} = b{k} + a.offset[{k}];" for k, d in enumerate(program.inputs)]
    return "\n".join([*lines, f"  GLOBAL {STORED[program.out]} *q = bq + a.offset[{len(program.inputs)}];"])


def elements(target: Target) -> str:
    """The head of the loop of a ``flat`` kernel over an item's elements ``i``."""
    if target.cpu:
        return """  i64 first = GID * a.chunk, last = first + a.chunk < a.n ? first + a.chunk : a.n;
  INDEPENDENT
  for (i64 i = first; i < last; i++) """
    return "  for (i64 i = GID; i < a.n; i += GSIZE) "


def rows(target: Target) -> str:
    """The head of the loop of a ``rows`` kernel over an item's rows."""
    if target.cpu:
        return """  i64 across = (a.columns + a.width - 1) / a.width;
  i64 top = GID / across * a.height, left = GID % across * a.width;
  i64 bottom = top + a.height < a.rows ? top + a.height : a.rows;
  i64 right = left + a.width < a.columns ? left + a.width : a.columns;
  for (i64 row = top; row < bottom; row++) {"""
    return """  i64 total = a.rows * a.columns;
  for (i64 at = GID; at < total; at += GSIZE) {
    i64 row = at / a.columns, i = at % a.columns;"""


def columns(target: Target) -> str:
    """The head of the loop over the elements ``i`` of a row, where items take more than one."""
    return "INDEPENDENT\n    for (i64 i = left; i < right; i++) " if target.cpu else ""


def place(inner: str, k: int) -> str:
    """Where in a row element ``i`` of array ``k`` is, for an inner stride of pattern ``inner``."""
    return {"1": "i", "0": "0"}.get(inner, f"i * a.inner[{k}]")


def fill_source(target: Target, size: int) -> str:
    """``fill``: every element of ``size`` bytes gets the value; parameters: (n, chunk, offset, value in 16 bytes)."""
    name = {1: "u8", 2: "u16", 4: "u32", 8: "u64"}.get(size)
    pointer = f"GLOBAL {name or 'u64'} *q"
    if name:
        value, write = f"const {name} v = ({name})a.low;", "q[a.offset + i] = v;"
    else:
        value, write = "", "q[2 * (a.offset + i)] = a.low; q[2 * (a.offset + i) + 1] = a.high;"
    return f"""{prelude(target)}
typedef struct {{ i64 n, chunk, offset; u64 low, high; }} Fill;
KERNEL fill({pointer}, const Fill a) {{
  {value}
{elements(target)}{{ {write} }}
}}
"""
