"""The cell of an LSTM: one step from its gates, and the step's gradient.

The matrix products between the steps are those of :mod:`.linalg`. Gates are in blocks of the last axis: input, forget,
candidate, output. Hochreiter and Schmidhuber, "Long short-term memory", Neural Computation 9 (1997).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from flambeau.backends.dialect.functions import Library
from flambeau.backends.dialect.launch import Launch, Machine, each_task, head, over_items
from flambeau.backends.dialect.prelude import Target
from flambeau.core import dtype as dt
from flambeau.core.dtype import DType

#: The dtypes that a step computes in as it stores them.
DTYPES: Final = (dt.float32, dt.float64)
_OPERATIONS: Final = 64  # that an element takes, about

# tanh near 0, where 1 - 2 / (exp(2 x) + 1) would lose its digits: S. Moshier, Cephes mathematical library.
_NEAR_ZERO: Final = {
    dt.float32: "((((-5.70498872745e-3f * z + 2.06390887954e-2f) * z - 5.37397155531e-2f) * z + 1.33314422036e-1f) * z"
    " - 3.33332819422e-1f)",
    dt.float64: "((-9.64399179425052238628e-1 * z - 9.92877231001918586564e1) * z - 1.61468768441708447952e3)"
    " / (((z + 1.12811678491632931402e2) * z + 2.23548839060100448583e3) * z + 4.84406305325125486048e3)",
}
_GATES: Final = """GLOBAL const S *u = gates + a.at_gates + row * 4 * a.hidden + j;
    GLOBAL const S *r = recurrent + a.at_recurrent + row * 4 * a.hidden + j;
    T i = sigmoid_(u[0] + r[0]), f = sigmoid_(u[a.hidden] + r[a.hidden]);
    T g = tanh_(u[2 * a.hidden] + r[2 * a.hidden]), o = sigmoid_(u[3 * a.hidden] + r[3 * a.hidden]);
    i64 at_ = row * a.hidden + j;"""


def cell(machine: Machine, dtype: DType, rows: int, hidden: int, offsets: Sequence[int]) -> Launch:
    """(gates, recurrent part of them, cell before) to (hidden state, cell)."""
    return _launch(machine, "cell", dtype, rows, hidden, offsets, _cell_source)


def cell_grad(machine: Machine, dtype: DType, rows: int, hidden: int, offsets: Sequence[int]) -> Launch:
    """(gates, recurrent part, cell before, cell, their outer gradients of hidden state and cell, that of the hidden
    state from the next step) to (gradient of the gates, that of the cell from the next step, to that for the last).
    """
    return _launch(machine, "cell_grad", dtype, rows, hidden, offsets, _cell_grad_source)


def _launch(
    machine: Machine, name: str, dtype: DType, rows: int, hidden: int, offsets: Sequence[int],
    text: Callable[[DType, Target], str],
) -> Launch:  # fmt: skip
    if machine.target.cpu:
        size, group = over_items(machine, rows, hidden * _OPERATIONS)
    else:
        size, group = over_items(machine, rows * hidden, _OPERATIONS)
    params = struct.pack(f"{2 + len(offsets)}q", rows, hidden, *offsets)
    return Launch(("recurrent", name, dtype), name, partial(text, dtype, machine.target), params, size, group)


def _cell_source(dtype: DType, target: Target) -> str:
    body = """T c = f * before[a.at_before + at_] + i * g;
    cells[a.at_cells + at_] = c;
    out[a.at_out + at_] = o * tanh_(c);"""
    return _source(dtype, target, "cell", ("gates", "recurrent", "before"), ("out", "cells"), body)


def _cell_grad_source(dtype: DType, target: Target) -> str:
    body = """T s = tanh_(cells[a.at_cells + at_]), c = before[a.at_before + at_];
    T dh = of_out[a.at_of_out + at_] + later[a.at_later + at_];
    T dc = of_cells[a.at_of_cells + at_] + carried[a.at_carried + at_] + dh * o * (1 - s * s);
    GLOBAL S *w = of_gates + a.at_of_gates + row * 4 * a.hidden + j;
    w[0] = dc * g * i * (1 - i); w[a.hidden] = dc * c * f * (1 - f);
    w[2 * a.hidden] = dc * i * (1 - g * g); w[3 * a.hidden] = dh * s * o * (1 - o);
    carried[a.at_carried + at_] = dc * f;"""
    ins = ("gates", "recurrent", "before", "cells", "of_out", "of_cells", "later")
    return _source(dtype, target, "cell_grad", ins, ("of_gates", "carried"), body)


def _source(dtype: DType, target: Target, name: str, ins: Sequence[str], outs: Sequence[str], body: str) -> str:
    pointers = "".join(f"GLOBAL const S *{n}, " for n in ins) + "".join(f"GLOBAL S *{n}, " for n in outs)
    if target.cpu:
        loops = f"""{each_task(target, "a.rows")} {{
  i64 row = at;
  INDEPENDENT
  for (i64 j = 0; j < a.hidden; j++) {{"""
    else:
        loops = f"""{{ {each_task(target, "a.rows * a.hidden")} {{
    i64 row = at / a.hidden, j = at % a.hidden;"""
    return f"""{head(target, dtype)}{_functions(dtype, target)}
typedef struct {{ i64 rows, hidden, {", ".join(f"at_{n}" for n in (*ins, *outs))}; }} Params;
KERNEL {name}({pointers}const Params a) {{
  {loops}
    {_GATES}
    {body}
  }} }}
}}
"""


def _functions(dtype: DType, target: Target) -> str:
    """sigmoid_ and tanh_, in a form without branches for processors."""
    library = Library(target)
    exp = library.require("exp", dtype)
    tanh = "return tanh(x);"
    if target.cpu:
        tanh = f"""T a = fabs(x), z = x * x, far = 1 - 2 / ({exp}(2 * a) + 1);
  return a < (T)0.625 ? x + x * z * ({_NEAR_ZERO[dtype]}) : (x < 0 ? -far : far);"""
    return f"""{library.text()}
DEVICE T sigmoid_(T x) {{ return 1 / (1 + {exp}(-x)); }}
DEVICE T tanh_(T x) {{ {tanh} }}
"""
