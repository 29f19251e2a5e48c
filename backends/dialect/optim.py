"""Steps of optimizers on one parameter: a single pass over it, its gradient and its state.

The kernels take (gradient, parameter, state...) of one layout without gaps; what changes from step to step is a number
in ``params``. float16 and bfloat16 are updated in float32 and rounded once.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import partial
from typing import Final

from flambeau.backends.dialect.launch import Launch, Machine, computed, head, over_items
from flambeau.backends.dialect.prelude import Target
from flambeau.core import dtype as dt
from flambeau.core.dtype import DType

_OPERATIONS: Final = 24  # that a step of Adam takes for an element, about


def sgd(
    machine: Machine, dtype: DType, n: int, offsets: Sequence[int], numbers: Sequence[float], *, nesterov: bool,
    maximize: bool,
) -> Launch:  # fmt: skip
    """``numbers`` are (lr, weight decay, momentum, 1 - dampening); the state is the buffer of momentum, or nothing."""
    momentum = len(offsets) == 3
    text = partial(_sgd_source, dtype, machine.target, momentum, nesterov, maximize)
    return _launch(machine, ("sgd", dtype, momentum, nesterov, maximize), text, dtype, n, offsets, numbers)


def adam(
    machine: Machine, dtype: DType, n: int, offsets: Sequence[int], numbers: Sequence[float], *, decoupled: bool,
    maximize: bool,
) -> Launch:  # fmt: skip
    """The state is (first, second) and with amsgrad the largest second.

    ``numbers`` are (step size, 1 - beta1, beta2, 1 - beta2, root, eps, weight decay); decoupled decay comes as the
    factor by which the parameter shrinks. The step is size * first / (sqrt(second) / root + eps).
    """
    amsgrad = len(offsets) == 5
    text = partial(_adam_source, dtype, machine.target, amsgrad, decoupled, maximize)
    return _launch(machine, ("adam", dtype, amsgrad, decoupled, maximize), text, dtype, n, offsets, numbers)


def _launch(
    machine: Machine, key: tuple[object, ...], text: partial[str], dtype: DType, n: int, offsets: Sequence[int],
    numbers: Sequence[float],
) -> Launch:  # fmt: skip
    size, group = over_items(machine, n, _OPERATIONS)
    kind = "d" if computed(dtype) is dt.float64 else "f"
    params = struct.pack(f"{1 + len(offsets)}q{len(numbers)}{kind}", n, *offsets, *numbers)
    return Launch(key, "update", text, params + b"\0" * (-len(params) % 8), size, group)


def _sgd_source(dtype: DType, target: Target, momentum: bool, nesterov: bool, maximize: bool) -> str:
    lines = [f"T w = READ(p, i), d = {'-' if maximize else ''}READ(g, i) + w * a.decay;"]
    if momentum:
        lines.append("T b = READ(m, i) * a.kept + d * a.taken; WRITE(m, i, b);")
        lines.append("d = d + b * a.kept;" if nesterov else "d = b;")
    lines.append("WRITE(p, i, w - d * a.rate);")
    return _source(dtype, target, ("g", "p", "m")[: 2 + momentum], ("rate", "decay", "kept", "taken"), lines)


def _adam_source(dtype: DType, target: Target, amsgrad: bool, decoupled: bool, maximize: bool) -> str:
    lines = [
        f"T w = READ(p, i), d = {'-' if maximize else ''}READ(g, i);",
        "w = w * a.decay;" if decoupled else "d = d + w * a.decay;",
        "T f = READ(m, i); f = f + (d - f) * a.new1; WRITE(m, i, f);",
        "T s = READ(v, i) * a.old2 + d * d * a.new2; WRITE(v, i, s);",
    ]
    if amsgrad:
        lines.append("T l = READ(u, i); s = (l > s || l != l) ? l : s; WRITE(u, i, s);")
    lines.append("WRITE(p, i, w - f / (sqrt(s) / a.root + a.eps) * a.size);")
    names = ("size", "new1", "old2", "new2", "root", "eps", "decay")
    return _source(dtype, target, ("g", "p", "m", "v", "u")[: 4 + amsgrad], names, lines)


def _source(dtype: DType, target: Target, arrays: Sequence[str], numbers: Sequence[str], lines: Sequence[str]) -> str:
    first, rest = arrays[0], arrays[1:]
    pointers = f"GLOBAL const S *{first}, " + "".join(f"GLOBAL S *{name}, " for name in rest)
    loop = "for (i64 i = GID; i < a.n; i += GSIZE)"
    if target.cpu:
        loop = """i64 each = (a.n + GSIZE - 1) / GSIZE, last = (GID + 1) * each < a.n ? (GID + 1) * each : a.n;
  INDEPENDENT
  for (i64 i = GID * each; i < last; i++)"""
    body = "\n    ".join(lines)
    return f"""{head(target, dtype)}
typedef struct {{ i64 n, {", ".join(f"at_{name}" for name in arrays)}; T {", ".join(numbers)}; }} Params;
KERNEL update({pointers}const Params a) {{
  {" ".join(f"{name} += a.at_{name};" for name in arrays)}
  {loop} {{
    {body}
  }}
}}
"""
