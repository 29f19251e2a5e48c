"""Factors of matrices, and triangular systems: Cholesky, LU with row exchanges, QR by reflections.

A group works on one matrix of the batch, on processors an item. Its items share what a step does, element by element,
and meet at MEET. All is done in place, row by row, so that neighbouring items touch neighbouring elements and a
compiler can vectorise. Source of the algorithms: G. Golub and C. Van Loan, "Matrix Computations", 3.1, 3.4, 4.2, 5.2;
the signs of reflections are LAPACK's, so that the factors are too.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import partial
from typing import Final

from flambeau.backends.dialect.launch import Launch, Machine, each_row, each_task, over_groups, over_items
from flambeau.backends.dialect.prelude import REGISTER, Target, prelude
from flambeau.core.dtype import DType

#: Columns of a triangular system that an item of a processor solves together.
STRIP: Final = 64

_REAL: Final = """
#define OF(r) ((E)(r))
#define RE(a) (a)
#define ADD(a, b) ((a) + (b))
#define SUB(a, b) ((a) - (b))
#define MUL(a, b) ((a) * (b))
#define DIV(a, b) ((a) / (b))
#define SCALE(a, r) ((a) * (r))
#define CONJ(a) (a)
#define NORM(a) ((a) * (a))
#define SIZE(a) fabs(a)
"""
_COMPLEX: Final = """
#define OF(r) MAKE((T)(r), (T)0)
#define RE(a) ((a).x)
DEVICE E ADD(E a, E b) { return MAKE(a.x + b.x, a.y + b.y); }
DEVICE E SUB(E a, E b) { return MAKE(a.x - b.x, a.y - b.y); }
DEVICE E MUL(E a, E b) { return MAKE(a.x * b.x - a.y * b.y, a.x * b.y + a.y * b.x); }
DEVICE E SCALE(E a, T r) { return MAKE(a.x * r, a.y * r); }
DEVICE E CONJ(E a) { return MAKE(a.x, -a.y); }
DEVICE T NORM(E a) { return a.x * a.x + a.y * a.y; }
DEVICE T SIZE(E a) { return fabs(a.x) + fabs(a.y); }
DEVICE E DIV(E a, E b) {
  T big = fmax(fabs(b.x), fabs(b.y));
  if (big == 0) return MAKE(a.x / big, a.y / big);
  T x = b.x / big, y = b.y / big, over = (x * x + y * y) * big;
  return MAKE((a.x * x + a.y * y) / over, (a.y * x - a.x * y) / over);
}
"""


def head(dtype: DType, target: Target) -> str:
    """The prelude; E, the type of an element, and T, the real one; arithmetic of both; and how items share work."""
    real = REGISTER[dtype.to_real()]
    text = f"{prelude(target)}\ntypedef {REGISTER[dtype]} E;\ntypedef {real} T;\n"
    if dtype.is_complex:
        text += f"#define MAKE(a, b) MAKE_{REGISTER[dtype]}((a), (b))\n{_COMPLEX}"
    else:
        text += _REAL
    text += f"#define EPS ((T){2.0**-52 if dtype.to_real().itemsize == 8 else 2.0**-23!r})\n"
    if target.cpu:
        return (
            text
            + """
#define ONE
#define MEET
#define EACH(i, from, to) INDEPENDENT for (i64 i = (from); i < (to); i++)
#define OVER(i, from, to) for (i64 i = (from); i < (to); i++)
"""
        )
    return (
        text
        + """
#define ONE if (LID == 0)
#define MEET BARRIER_ALL
#define EACH(i, from, to) for (i64 i = (from) + LID; i < (to); i += LSIZE)
#define OVER EACH
"""
    )


def block(target: Target, rows: str, columns: str, body: str) -> str:
    """``body`` for each r < ``rows``, c < ``columns``, in any order."""
    if target.cpu:
        return f"for (i64 r = 0; r < {rows}; r++) INDEPENDENT for (i64 c = 0; c < {columns}; c++) {{ {body} }}"
    return (
        f"for (i64 o = LID; o < {rows} * {columns}; o += LSIZE) {{ i64 r = o / {columns}, c = o % {columns}; {body} }}"
    )


def launched(
    machine: Machine, name: str, dtype: DType, batches: int, cost: int, numbers: tuple[int, ...],
    text: Callable[[DType, Target], str],
) -> Launch:  # fmt: skip
    """A launch with a group for each of ``batches`` matrices."""
    size, group = over_groups(machine, batches, cost)
    params = struct.pack(f"{1 + len(numbers)}q", batches, *numbers)
    return Launch(("matrices", name, dtype), name, partial(text, dtype, machine.target), params, size, group)


# -- Cholesky ----------------------------------------------------------------------------------------
def cholesky(machine: Machine, dtype: DType, batches: int, n: int, upper: bool, offset: int) -> Launch:
    """``cholesky(w, info)``: w (batches, n, n) to its factor, info (batches,) to the row where that failed, or 0."""
    return launched(machine, "cholesky", dtype, batches, n**3 // 3, (n, upper, offset), _cholesky)


def _cholesky(dtype: DType, target: Target) -> str:
    trailing = block(target, "left", "left", "if (c >= r) t[r * n + c] = SUB(t[r * n + c], MUL(CONJ(u[r]), u[c]));")
    return f"""{head(dtype, target)}
typedef struct {{ i64 batches, n, upper, offset; }} Params;
KERNEL cholesky(GLOBAL E *x, GLOBAL i64 *info, const Params a) {{
  i64 n = a.n;
  {each_row(target, "a.batches")} {{
    GLOBAL E *w = x + a.offset + at * n * n;
    i64 failed = 0;
    if (!a.upper) {{  // the upper factor is made, whichever triangle was given
      OVER(r, 0, n) for (i64 c = 0; c < r; c++) w[c * n + r] = CONJ(w[r * n + c]);
    }}
    MEET;
    for (i64 j = 0; j < n && !failed; j++) {{
      T d = RE(w[j * n + j]);
      MEET;
      if (!(d > 0)) {{ failed = j + 1; continue; }}
      d = sqrt(d);
      ONE w[j * n + j] = OF(d);
      GLOBAL E *u = w + j * n + j + 1, *t = w + (j + 1) * n + j + 1;
      i64 left = n - j - 1;
      EACH(c, 0, left) u[c] = SCALE(u[c], 1 / d);
      MEET;
      {trailing}
      MEET;
    }}
    OVER(r, 0, n) for (i64 c = 0; c < r; c++) {{
      if (!a.upper) w[r * n + c] = CONJ(w[c * n + r]);
      w[a.upper ? r * n + c : c * n + r] = OF(0);
    }}
    ONE info[at] = failed;
    MEET;
  }}
}}
"""


# -- LU ----------------------------------------------------------------------------------------------
def lu(machine: Machine, dtype: DType, batches: int, m: int, n: int, offset: int) -> Launch:
    """``lu(w, pivots, info)``: w (batches, m, n) to both factors, pivots (batches, min(m, n)) to the exchanges, from 0.

    info (batches,) is the first row, counted from 1, without a pivot, or 0.
    """
    return launched(machine, "lu", dtype, batches, m * n * min(m, n), (m, n, offset), _lu)


def _lu(dtype: DType, target: Target) -> str:
    trailing = block(target, "down", "along", "t[r * n + c] = SUB(t[r * n + c], MUL(t[r * n - 1], u[c]));")
    return f"""{head(dtype, target)}
typedef struct {{ i64 batches, m, n, offset; }} Params;
KERNEL lu(GLOBAL E *x, GLOBAL i64 *pivots, GLOBAL i64 *info, const Params a) {{
  i64 m = a.m, n = a.n, k = m < n ? m : n;
  {each_row(target, "a.batches")} {{
    GLOBAL E *w = x + a.offset + at * m * n;
    i64 singular = 0;
    for (i64 i = 0; i < k; i++) {{
      i64 p = i;
      T most = SIZE(w[i * n + i]);
      for (i64 r = i + 1; r < m; r++) {{
        T size = SIZE(w[r * n + i]);
        if (size > most) {{ most = size; p = r; }}
      }}
      MEET;
      ONE pivots[at * k + i] = p;
      if (p != i) EACH(c, 0, n) {{ E kept = w[i * n + c]; w[i * n + c] = w[p * n + c]; w[p * n + c] = kept; }}
      MEET;
      E d = w[i * n + i];
      if (most == 0 && !singular) singular = i + 1;
      if (most != 0) EACH(r, i + 1, m) w[r * n + i] = DIV(w[r * n + i], d);
      MEET;
      GLOBAL E *t = w + (i + 1) * n + i + 1, *u = t - n;
      i64 down = m - i - 1, along = n - i - 1;
      {trailing}
      MEET;
    }}
    ONE info[at] = singular;
  }}
}}
"""


def exchange(machine: Machine, dtype: DType, batches: int, n: int, columns: int, shared: bool) -> Launch:
    """``exchange(pivots, x)``: the rows of x (batches, n, columns) as :func:`lu` exchanged those of its matrices."""
    size, group = over_items(machine, batches * columns, 2 * n)
    params = struct.pack("4q", batches * columns, n, columns, 0 if shared else n)
    return Launch(
        ("matrices", "exchange", dtype), "exchange", partial(_exchange, dtype, machine.target), params, size, group
    )


def _exchange(dtype: DType, target: Target) -> str:
    return f"""{head(dtype, target)}
typedef struct {{ i64 total, n, columns, step; }} Params;
KERNEL exchange(GLOBAL const i64 *pivots, GLOBAL E *x, const Params a) {{
  {each_task(target, "a.total")} {{
    i64 batch = at / a.columns;
    GLOBAL E *b = x + batch * a.n * a.columns + at % a.columns;
    GLOBAL const i64 *p = pivots + batch * a.step;
    for (i64 i = 0; i < a.n; i++) {{
      E kept = b[i * a.columns];
      b[i * a.columns] = b[p[i] * a.columns];
      b[p[i] * a.columns] = kept;
    }}
  }}
}}
"""


def determinant(machine: Machine, dtype: DType, batches: int, n: int) -> Launch:
    """``determinant(w, pivots, whole, signs, sizes)``: of factors by :func:`lu` the determinants, their signs (complex:
    directions), and the logarithms of their sizes."""
    size, group = over_items(machine, batches, 8 * n)
    text = partial(_determinant, dtype, machine.target)
    return Launch(("matrices", "determinant", dtype), "determinant", text, struct.pack("2q", batches, n), size, group)


def _determinant(dtype: DType, target: Target) -> str:
    size = "hypot(d.x, d.y)" if dtype.is_complex else "fabs(d)"
    return f"""{head(dtype, target)}
typedef struct {{ i64 batches, n; }} Params;
KERNEL determinant(GLOBAL const E *x, GLOBAL const i64 *pivots, GLOBAL E *whole, GLOBAL E *signs, GLOBAL T *sizes,
                   const Params a) {{
  {each_task(target, "a.batches")} {{
    E product = OF(1), sign = OF(1);
    T sum = 0;
    for (i64 i = 0; i < a.n; i++) {{
      E d = x[(at * a.n + i) * a.n + i];
      T size = {size};
      if (pivots[at * a.n + i] != i) d = SCALE(d, -1);
      product = MUL(product, d);
      sign = size > 0 ? MUL(sign, SCALE(d, 1 / size)) : OF(size == size ? 0 : size);
      sum += log(size);
    }}
    whole[at] = product; signs[at] = sign; sizes[at] = sum;
  }}
}}
"""


# -- QR ----------------------------------------------------------------------------------------------
def qr(machine: Machine, dtype: DType, batches: int, m: int, n: int, wide: int, offset: int) -> Launch:
    """``qr(w, tau, sums, q)``: w (batches, m, n) to r, tau (batches, min(m, n)), q (batches, m, wide) orthonormal.

    ``sums`` has room for (batches, max(n, wide)) elements. What is below the diagonal of w is left zero.
    """
    cost = 2 * m * max(n, wide) * min(m, n)
    return launched(machine, "qr", dtype, batches, cost, (m, n, wide, offset), _qr)


#: Of the rows from k on of ``target``, columns ``first`` to ``last``, the reflection by v (column k of w, from k on).
REFLECT: Final = """
#define REFLECT(target, width, first, last, factor) \\
  EACH(c, first, last) sums[c] = target[k * (width) + c]; \\
  MEET; \\
  for (i64 r = k + 1; r < m; r++) { \\
    E v = CONJ(w[r * n + k]); \\
    EACH(c, first, last) sums[c] = ADD(sums[c], MUL(v, target[r * (width) + c])); \\
  } \\
  EACH(c, first, last) target[k * (width) + c] = SUB(target[k * (width) + c], MUL(factor, sums[c])); \\
  for (i64 r = k + 1; r < m; r++) { \\
    E v = MUL(factor, w[r * n + k]); \\
    EACH(c, first, last) target[r * (width) + c] = SUB(target[r * (width) + c], MUL(v, sums[c])); \\
  } \\
  MEET;
"""
#: The reflection that leaves ``beta``, a real number, of ``alpha`` and what has the squared norm ``below`` beneath it.
REFLECTION: Final = """
DEVICE T beta_of(E alpha, T below) {
  T all = NORM(alpha) + below;
  if (all - RE(alpha) * RE(alpha) == 0 && below == 0) return RE(alpha);
  return RE(alpha) > 0 || (RE(alpha) == 0 && !(1 / RE(alpha) < 0)) ? -sqrt(all) : sqrt(all);
}
"""


def _qr(dtype: DType, target: Target) -> str:
    start = block(target, "m", "wide", "q[r * wide + c] = OF(r == c ? 1 : 0);")
    return f"""{head(dtype, target)}{REFLECTION}{REFLECT}
typedef struct {{ i64 batches, m, n, wide, offset; }} Params;
KERNEL qr(GLOBAL E *x, GLOBAL E *taus, GLOBAL E *work, GLOBAL E *qs, const Params a) {{
  i64 m = a.m, n = a.n, wide = a.wide, steps = m < n ? m : n, room = n > wide ? n : wide;
  {each_row(target, "a.batches")} {{
    GLOBAL E *w = x + a.offset + at * m * n, *q = qs + at * m * wide;
    GLOBAL E *sums = work + at * room, *tau = taus + at * steps;
    for (i64 k = 0; k < steps; k++) {{
      E alpha = w[k * n + k];
      T big = 0, below = 0;
      for (i64 r = k + 1; r < m; r++) big = fmax(big, SIZE(w[r * n + k]));
      T scale = big > 0 ? big : 1;
      for (i64 r = k + 1; r < m; r++) below += NORM(SCALE(w[r * n + k], 1 / scale));
      T whole = fmax(scale, SIZE(alpha));
      if (below != 0) {{ below *= (scale / whole) * (scale / whole); scale = whole; }}
      else scale = SIZE(alpha) > 0 ? SIZE(alpha) : 1;
      T beta = scale * beta_of(SCALE(alpha, 1 / scale), below);
      E left = SUB(alpha, OF(beta)), factor = OF(0);
      int trivial = NORM(SCALE(left, 1 / scale)) == 0;
      if (!trivial) factor = SCALE(SUB(OF(beta), alpha), 1 / beta);
      MEET;
      ONE {{ tau[k] = factor; w[k * n + k] = OF(beta); }}
      if (!trivial) EACH(r, k + 1, m) w[r * n + k] = DIV(w[r * n + k], left);
      MEET;
      if (!trivial) {{ E turned = CONJ(factor); REFLECT(w, n, k + 1, n, turned) }}
    }}
    {start}
    MEET;
    for (i64 k = steps - 1; k >= 0; k--) {{
      E factor = tau[k];
      REFLECT(q, wide, k, wide, factor)
    }}
    OVER(r, 1, m) for (i64 c = 0; c < r && c < n; c++) w[r * n + c] = OF(0);
    MEET;
  }}
}}
"""


# -- triangular systems ------------------------------------------------------------------------------
def triangular(
    machine: Machine, dtype: DType, batches: int, n: int, columns: int, offset: int,
    shared: bool, upper: bool, unit: bool,
) -> Launch:  # fmt: skip
    """``triangular(s, x)``: x (batches, n, columns), the right-hand sides, to the solutions of s (batches, n, n).

    With ``shared`` all systems have one matrix.
    """
    strip = STRIP if machine.target.cpu else 1
    tasks = batches * -(-columns // strip)
    size, group = over_items(machine, tasks, n * n * min(strip, columns) // 2)
    params = struct.pack("8q", batches, n, columns, offset, 0 if shared else n * n, upper, unit, strip)
    text = partial(_triangular, dtype, machine.target)
    return Launch(("matrices", "triangular", dtype), "triangular", text, params, size, group)


def _triangular(dtype: DType, target: Target) -> str:
    loop = "INDEPENDENT for (i64 c = 0; c < wide; c++)" if target.cpu else "for (i64 c = 0; c < wide; c++)"
    return f"""{head(dtype, target)}
typedef struct {{ i64 batches, n, columns, offset, step, upper, unit, strip; }} Params;
KERNEL triangular(GLOBAL const E *s, GLOBAL E *x, const Params a) {{
  i64 n = a.n, across = (a.columns + a.strip - 1) / a.strip, total = a.batches * across;
  {each_task(target, "total")} {{
    GLOBAL const E *w = s + a.offset + at / across * a.step;
    i64 first = at % across * a.strip, wide = a.columns - first < a.strip ? a.columns - first : a.strip;
    GLOBAL E *b = x + at / across * n * a.columns + first;
    for (i64 i = 0; i < n; i++) {{
      i64 r = a.upper ? n - 1 - i : i;
      GLOBAL E *y = b + r * a.columns;
      for (i64 j = 0; j < i; j++) {{
        i64 known = a.upper ? n - 1 - j : j;
        E f = w[r * n + known];
        GLOBAL E *z = b + known * a.columns;
        {loop} y[c] = SUB(y[c], MUL(f, z[c]));
      }}
      if (!a.unit) {{
        E d = w[r * n + r];
        {loop} y[c] = DIV(y[c], d);
      }}
    }}
  }}
}}
"""
