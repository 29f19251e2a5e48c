"""The default dtype, switches of the program, and functions of sizes, in the torch API."""

from __future__ import annotations

from typing import Any

from tests.recorded import Case, answer, collected

CASES: dict[str, Case] = {
    # -- sizes that might be symbols
    "sym_float": lambda T: [T.sym_float(v) for v in (2, True, 2.5, "1.5", T.tensor(3))],
    "sym_float of a list": lambda T: T.sym_float([]),
    "sym_float of a word": lambda T: T.sym_float("a"),
    "sym_not": lambda T: [T.sym_not(v) for v in (True, False, 0, 2, "")],
    "sym_sqrt": lambda T: [T.sym_sqrt(v) for v in (4, 2.25, True)],
    "sym_sqrt below zero": lambda T: T.sym_sqrt(-1),
    "sym_sqrt of a word": lambda T: T.sym_sqrt("a"),
    "sym_sum": lambda T: [T.sym_sum(v) for v in ([], [1, 2], (1, 2.5), [True, 2])],
    "sym_sum of a word": lambda T: T.sym_sum(["a"]),
    "sym_fresh_size": lambda T: T.sym_fresh_size(3),
    # -- switches
    "set_warn_always of a number": lambda T: T.set_warn_always(1),
    "set_num_interop_threads of none": lambda T: T.set_num_interop_threads(0),
    "get_num_interop_threads": lambda T: [type(n := T.get_num_interop_threads()) is int, n >= 1],
    "set_flush_denormal": lambda T: [type(T.set_flush_denormal(False)) is bool, T.tensor(1e-310, dtype=T.float64) * 1],
}
case = collected(CASES)


@case
def warnings_that_come_every_time(T: Any) -> Any:
    found = [T.is_warn_always_enabled()]
    for on in (True, False):
        T.set_warn_always(on)
        found.append(T.is_warn_always_enabled())
    return found


@case
def default_dtype(T: Any) -> Any:
    found = []
    before = T.get_default_dtype()
    try:
        for name in ("float64", "float16", "bfloat16", "int64", "complex64", "float32"):
            found.append([answer(T, lambda T, n=name: T.set_default_dtype(getattr(T, n))), T.get_default_dtype()])
            found.append([v.dtype for v in (T.tensor(1.5), T.tensor(1), T.ones(1), T.arange(2.5), T.tensor(2) / 3)])
    finally:
        T.set_default_dtype(before)
    return [before, found, T.get_default_dtype()]
