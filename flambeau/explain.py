"""What an op is and who runs it, and what a program compiled: the texts behind ``python -m flambeau explain``."""

from __future__ import annotations

import difflib
import os
import runpy
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from flambeau.core import dtype as dt
from flambeau.core import registry
from flambeau.core.device import device, located
from flambeau.core.keys import Key, key_for, native_kernel
from flambeau.core.record import ELEMENTWISE, OPS, SPECIAL, Op
from flambeau.core.sources import source
from flambeau.core.stored import name_of
from flambeau.core.tape.compile import sources
from flambeau.core.transforms import batching, forward


def serves(key: Key, op: Op) -> tuple[str, str]:
    """Who serves ``op`` for a key: ("native" | "composite" | "fallback" | "missing", why)."""
    if not op.accepts(key.dtype):
        compute = op.dtype.compute(key.dtype)
        if compute in op.dtype.accepts and compute is not key.dtype:
            return serves(key.sibling(compute), op)[0], f"after a cast to {compute.name}"
        return "missing", f"the op does not take {key.dtype.name}"
    kernel = _kernel(key, op)
    if kernel is not None:
        return "native", kernel
    if op.decomposes:
        stands_in = "body" if op.body is not None else "expression"
        return "composite", f"no kernel registered; its {stands_in} runs as other ops"
    kind = "missing" if key.backend.has("shares_host") else "fallback"
    return kind, "no kernel and no body: the fallback policy decides"


def _kernel(key: Key, op: Op) -> str | None:
    """Where the kernel of an op comes from, in the order of :func:`flambeau.core.keys.find_kernel`."""
    stack = [o for o in registry.overlays.get((key.device.type, op.name), ()) if o.serves(key.stored)]
    if stack:
        return f"overlay of {stack[-1].source}, priority {stack[-1].priority}"
    table = key.backend.kernels
    name = name_of(op, key) or op.name
    own = table.own(name, key.stored)
    if own is not None and native_kernel(key, op) is own.fn:
        return f"kernel `{_name(own.fn)}` registered by {own.source}"
    if native_kernel(key, op) is None:
        return None
    parent = table.parent.lookup(name, key.stored) if table.parent is not None else None
    if op.expr is not None and op.family is ELEMENTWISE and (parent is None or native_kernel(key, op) is not parent.fn):
        return "generated from the expression"
    if op.name == "empty":
        return "the backend's storage call"
    if parent is not None:
        return f"kernel `{_name(parent.fn)}` of the parent table {parent.source}"
    return "shapes by the op's rule"


def _name(fn: Any) -> str:
    fn = fn.func if isinstance(fn, partial) else fn
    name: str = getattr(fn, "__name__", type(fn).__name__)
    code = getattr(fn, "__code__", None)
    if name != "<lambda>" or code is None:
        return name
    return f"{Path(code.co_filename).name}:{code.co_firstlineno}"  # a function without a name has a place


def explain(name: str, device_name: str | None = None) -> str:
    """The record of an op, its generated code, its rules, and who serves it on each device.

    KeyError names close matches for an unknown op.
    """
    if name not in OPS:
        close = ", ".join(difflib.get_close_matches(name, OPS)) or "none"
        raise KeyError(f"there is no op {name!r}; close names: {close}")
    op = OPS[name]
    lines = [op.text, *(f"  {line}" for line in op.doc.splitlines()), f"  family: {op.family}; dtypes: {op.dtype.name}"]
    if op.expr:
        lines.append(f"  expression: {op.expr if not op.expr.startswith(SPECIAL) else 'in core.special'}")
    lines.append(f"  gradient: {_gradient(op)}")
    lines.append(f"  under vmap: {batching.explain(op)}; in forward mode: {forward.explain(op)}")
    lines += ["", "devices:"]
    if device_name:
        registry.resolve(device(device_name))  # an error here, rather than one for each dtype
    for d in [device_name] if device_name else sorted(registry.backends) or ["cpu"]:
        lines += _device_lines(located(d), op)
    lines += ["", "public function:", _indent(source(op))]
    if op.gradients:
        lines += ["recording and backward:", _indent(sources(op))]
    return "\n".join(lines)


def _gradient(op: Op) -> str:
    if not op.differentiable:
        return "declared not differentiable"
    if op.gradients:
        return "; ".join(f"{', '.join(g.inputs)} reads {', '.join(g.reads)}" for g in op.gradients)
    return "through its body" if op.decomposes else "none: an error when asked for"


def _device_lines(d: device, op: Op) -> list[str]:
    lines = []
    for dtype in dt.ALL:
        try:
            held = registry.resolve(d).stored(dtype, d.number)
            key = key_for(d, held if held is not None and held.is_floating_point else dtype)
        except Exception as error:
            lines.append(f"  {d} {dtype.name:10} unavailable: {error}")
            continue
        kind, why = serves(key, op)
        also = f"; held as {held.name}" if held is not None and held is not dtype else ""
        lines.append(f"  {d!s} {dtype.name:10} {kind}: {why}{also}")
    return lines


def _indent(text: str) -> str:
    return "".join(f"    {line}\n" for line in text.splitlines())


# -- programs ----------------------------------------------------------------------------------------
def explain_compiled(program: Sequence[str], *, full: bool = False) -> int:
    """Run a script as ``python`` does, and print what each compiled function did; the exit status of the script.

    ``program`` is its file and its arguments; ``full`` lists all nodes. What the script raises comes after the text.
    """
    from flambeau.core.capture import asked  # lazy for start-up

    made = asked.kept = []
    arguments, path = sys.argv, sys.path[:]
    sys.argv = list(program)
    sys.path[0] = os.path.dirname(os.path.abspath(program[0]))
    try:
        runpy.run_path(program[0], run_name="__main__")
    except SystemExit as ended:
        return _status(ended.code)
    finally:
        sys.argv, sys.path[:], asked.kept = arguments, path, None
        print(_told(made, full), flush=True)
    return 0


def _status(code: object) -> int:
    if code is None or isinstance(code, int):
        return code or 0
    print(code, file=sys.stderr)
    return 1


def _told(made: Sequence[Any], full: bool) -> str:
    from flambeau.core.capture.telling import Explanation  # lazy for start-up

    texts = [Explanation.of(captured).text(full=full) for captured in made]
    return "\n".join(["", *texts] if texts else ["", "The program compiled nothing."])
