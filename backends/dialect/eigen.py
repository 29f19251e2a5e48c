"""Eigenvalues of Hermitian matrices and singular values, a group (on processors an item) to a matrix.

Hermitian ones are made tridiagonal by reflections, and that diagonal by QL steps with implicit shifts (G. Golub and
C. Van Loan, "Matrix Computations", 8.3; the shift is J. Wilkinson's): one item computes the rotations of a step, all
apply them. Singular values come of Jacobi rotations that make the rows orthogonal (M. Hestenes 1958; Golub and Van
Loan, 8.6.3), which find small ones to their last digits; of a triangular factor, for which few rounds are enough.
"""

from __future__ import annotations

from typing import Final

from flambeau.backends.dialect.launch import Launch, Machine, each_row
from flambeau.backends.dialect.matrices import REFLECTION, block, head, launched
from flambeau.backends.dialect.prelude import Target
from flambeau.backends.dialect.rows import lanes, row_sums
from flambeau.core.dtype import DType

#: Steps for one eigenvalue, and rounds over all pairs of rows, after which a matrix does not converge.
_STEPS: Final = 60
_ROUNDS: Final = 40


def eigh(machine: Machine, dtype: DType, batches: int, n: int, upper: bool, offset: int) -> Launch:
    """``eigh(w, work, real, values, vectors, info)``, all of (batches, ...).

    w (n, n), of which one triangle is read, is used up; work has 2 n elements, real 4 n + 4 real numbers; values (n,)
    ascend, vectors (n, n) are the columns, info (1,) is not 0 where it did not converge.
    """
    return launched(machine, "eigh", dtype, batches, 9 * n**3, (n, upper, offset), _eigh)


def _eigh(dtype: DType, target: Target) -> str:
    update = "t[r * n + c] = SUB(t[r * n + c], ADD(MUL(v[r], CONJ(p[c])), MUL(p[r], CONJ(v[c]))));"
    shared = "" if target.cpu else "LOCAL int reach[2];"
    return f"""{head(dtype, target)}{REFLECTION}
typedef struct {{ i64 batches, n, upper, offset; }} Params;

// The rotations of one QL step on the block from l to m: their cosines and sines; the first that was made.
DEVICE i64 ql_step(GLOBAL T *d, GLOBAL T *e, GLOBAL T *cosines, GLOBAL T *sines, i64 l, i64 m) {{
  T g = (d[l + 1] - d[l]) / (2 * e[l]), r = hypot(g, (T)1);
  g = d[m] - d[l] + e[l] / (g + copysign(r, g));
  T s = 1, c = 1, p = 0;
  for (i64 i = m - 1; i >= l; i--) {{
    T f = s * e[i], b = c * e[i];
    r = hypot(f, g);
    e[i + 1] = r;
    if (r == 0) {{ d[i + 1] -= p; e[m] = 0; return i + 1; }}
    s = f / r; c = g / r;
    g = d[i + 1] - p;
    r = (d[i] - g) * s + 2 * c * b;
    p = s * r;
    d[i + 1] = g + p;
    g = c * r - b;
    cosines[i] = c; sines[i] = s;
  }}
  d[l] -= p; e[l] = g; e[m] = 0;
  return l;
}}

KERNEL eigh(GLOBAL E *x, GLOBAL E *work, GLOBAL T *numbers, GLOBAL T *values, GLOBAL E *vectors, GLOBAL i64 *info,
            const Params a) {{
  {shared}
  i64 n = a.n;
  {each_row(target, "a.batches")} {{
    GLOBAL E *w = x + a.offset + at * n * n, *v = work + at * 2 * n, *p = v + n, *z = vectors + at * n * n;
    GLOBAL T *d = numbers + at * (4 * n + 4), *e = d + n + 1, *cosines = e + n + 1, *sines = cosines + n + 1;
    OVER(r, 0, n) {{
      for (i64 c = 0; c < r; c++) {{
        if (a.upper) w[r * n + c] = CONJ(w[c * n + r]); else w[c * n + r] = CONJ(w[r * n + c]);
      }}
      w[r * n + r] = OF(RE(w[r * n + r]));
    }}
    MEET;
    // to tridiagonal form: column k is left with its first two numbers below the diagonal; vectors in rows of z
    for (i64 k = 0; k < n - 1; k++) {{
      i64 left = n - k - 1;
      GLOBAL E *t = w + (k + 1) * n + k + 1;
      E alpha = w[(k + 1) * n + k];
      T scale = SIZE(alpha), below = 0;
      for (i64 r = k + 2; r < n; r++) scale = fmax(scale, SIZE(w[r * n + k]));
      scale = scale > 0 ? scale : 1;
      for (i64 r = k + 2; r < n; r++) below += NORM(SCALE(w[r * n + k], 1 / scale));
      T beta = scale * beta_of(SCALE(alpha, 1 / scale), below);
      E off = SUB(alpha, OF(beta)), factor = OF(0);
      int trivial = NORM(SCALE(off, 1 / scale)) == 0;
      if (!trivial) factor = SCALE(SUB(OF(beta), alpha), 1 / beta);
      MEET;
      ONE {{ e[k] = beta; v[0] = OF(1); }}
      EACH(r, 1, left) v[r] = trivial ? OF(0) : DIV(w[(k + 1 + r) * n + k], off);
      MEET;
      EACH(r, 1, left) w[k * n + k + 1 + r] = v[r];
      ONE w[k * n + k + 1] = factor;
      EACH(c, 0, left) p[c] = OF(0);
      if (!trivial) {{
        for (i64 r = 0; r < left; r++) {{  // (t v) by the rows of t: column c of t is the conjugate of its row
          E f = v[r];
          EACH(c, 0, left) p[c] = ADD(p[c], MUL(CONJ(t[r * n + c]), f));
        }}
        MEET;
        E inner = OF(0);
        for (i64 r = 0; r < left; r++) inner = ADD(inner, MUL(CONJ(p[r]), v[r]));
        E half_ = SCALE(MUL(MUL(factor, CONJ(factor)), inner), (T)0.5);
        MEET;
        EACH(c, 0, left) p[c] = SUB(MUL(factor, p[c]), MUL(half_, v[c]));
        MEET;
        {block(target, "left", "left", update)}
      }}
      MEET;
    }}
    EACH(r, 0, n) d[r] = RE(w[r * n + r]);
    ONE e[n - 1] = 0;
    // the rows of z are to be the columns of the product of all reflections
    {block(target, "n", "n", "z[r * n + c] = OF(r == c ? 1 : 0);")}
    MEET;
    for (i64 k = n - 2; k >= 0; k--) {{
      GLOBAL E *u = w + k * n + k + 1;
      E factor = u[0];
      i64 left = n - k - 1;
      OVER(r, k + 1, n) {{  // a row of z is a column of the product
        GLOBAL E *row = z + r * n + k + 1;
        E sum = row[0];
        for (i64 c = 1; c < left; c++) sum = ADD(sum, MUL(CONJ(u[c]), row[c]));
        sum = MUL(factor, sum);
        row[0] = SUB(row[0], sum);
        for (i64 c = 1; c < left; c++) row[c] = SUB(row[c], MUL(u[c], sum));
      }}
      MEET;
    }}
    // to diagonal form
    T least = 0;
    for (i64 i = 0; i < n; i++) least = fmax(least, fabs(d[i]) + fabs(e[i]));
    least *= EPS * (T)0.25;
    i64 failed = 0;
    for (i64 l = 0; l < n && !failed; l++) {{
      for (int step = 0; ; step++) {{
        i64 m = l;
        while (m < n - 1 && !(fabs(e[m]) <= fmax(least, EPS * (T)0.5 * (fabs(d[m]) + fabs(d[m + 1]))))) m++;
        MEET;
        if (m == l) break;
        if (step == {_STEPS}) {{ failed = l + 1; break; }}
        i64 first;
        {
        "first = ql_step(d, e, cosines, sines, l, m);"
        if target.cpu
        else "ONE reach[0] = (int)ql_step(d, e, cosines, sines, l, m); MEET; first = reach[0];"
    }
        for (i64 i = m - 1; i >= first; i--) {{
          T cosine = cosines[i], sine = sines[i];
          GLOBAL E *above = z + i * n, *under = above + n;
          EACH(c, 0, n) {{
            E f = under[c], g = above[c];
            under[c] = ADD(SCALE(g, sine), SCALE(f, cosine));
            above[c] = SUB(SCALE(g, cosine), SCALE(f, sine));
          }}
        }}
        MEET;
      }}
    }}
    // in order: w is free by now
    OVER(i, 0, n) {{
      i64 place = 0;
      for (i64 j = 0; j < n; j++) place += d[j] < d[i] || (d[j] == d[i] && j < i);
      if (failed) place = i;
      values[at * n + place] = d[i];
      for (i64 c = 0; c < n; c++) w[c * n + place] = z[i * n + c];
    }}
    MEET;
    {block(target, "n", "n", "z[r * n + c] = w[r * n + c];")}
    ONE info[at] = failed;
    MEET;
  }}
}}
"""


def svd(machine: Machine, dtype: DType, batches: int, n: int, offset: int) -> Launch:
    """``svd(w, work, sizes, u, s, vh, info)``, all of (batches, ...), for square matrices w (n, n), which are used up.

    work has (n, n) elements, sizes n real numbers; u (n, n), descending s (n,) and vh (n, n) are the result.
    """
    return launched(machine, "svd", dtype, batches, 50 * n**3, (n, offset), _svd)


def _svd(dtype: DType, target: Target) -> str:
    if dtype.is_complex:
        terms = {"pp": "NORM(f)", "qq": "NORM(g)", "pq": "(f.x * g.x + f.y * g.y)", "im": "(f.y * g.x - f.x * g.y)"}
        phase = "T size = hypot(pq, im); E turn = size > 0 ? MAKE(pq / size, im / size) : OF(1);"
    else:
        terms = {"pp": "f * f", "qq": "g * g", "pq": "f * g"}
        phase = "T size = fabs(pq); E turn = OF(pq < 0 ? -1 : 1);"
    rotate = """E f = {0}[i], g = MUL(turn, {1}[i]);
          {0}[i] = SUB(SCALE(f, c), SCALE(g, s));
          {1}[i] = MUL(CONJ(turn), ADD(SCALE(f, s), SCALE(g, c)));"""
    return f"""{head(dtype, target)}
typedef struct {{ i64 batches, n, offset; }} Params;
KERNEL svd(GLOBAL E *x, GLOBAL E *work, GLOBAL T *sizes, GLOBAL E *us, GLOBAL T *values, GLOBAL E *vhs,
           GLOBAL i64 *info, const Params a) {{
  {lanes(target)}
  i64 n = a.n;
  {each_row(target, "a.batches")} {{
    GLOBAL E *w = x + a.offset + at * n * n, *turns = work + at * n * n, *u = us + at * n * n, *vh = vhs + at * n * n;
    GLOBAL T *norms = sizes + at * n, *s_ = values + at * n;
    {block(target, "n", "n", "turns[r * n + c] = OF(r == c ? 1 : 0);")}
    // a power of two for which squares neither overflow nor vanish
    T big = 0;
    for (i64 i = 0; i < n * n; i++) big = fmax(big, SIZE(w[i]));
    int power = 0;
    if (big > 0 && big * 0 == 0) frexp(big, &power);
    T up = ldexp((T)1, -power / 2), up2 = ldexp((T)1, -power - (-power / 2));
    MEET;
    EACH(i, 0, n * n) w[i] = SCALE(SCALE(w[i], up), up2);
    MEET;
    T close = EPS * sqrt((T)n);
    int busy = 1, round = 0;
    for (; busy && round < {_ROUNDS}; round++) {{
      busy = 0;
      for (i64 low = 0; low < n - 1; low++) for (i64 high = low + 1; high < n; high++) {{
        GLOBAL E *p = w + low * n, *q = w + high * n;
        {row_sums(target, terms, "n", "E f = p[i], g = q[i];")}
        {phase}
        if (size <= close * sqrt(pp) * sqrt(qq)) continue;
        busy = 1;
        T zeta = (qq - pp) / (2 * size), t = (zeta < 0 ? -1 : 1) / (fabs(zeta) + sqrt(1 + zeta * zeta));
        T c = 1 / sqrt(1 + t * t), s = c * t;
        EACH(i, 0, n) {{ {rotate.format("p", "q")} }}
        GLOBAL E *tp = turns + low * n, *tq = turns + high * n;
        EACH(i, 0, n) {{ {rotate.format("tp", "tq")} }}
        MEET;
      }}
    }}
    for (i64 r = 0; r < n; r++) {{
      GLOBAL E *p = w + r * n;
      {row_sums(target, {"pp": "NORM(f)"}, "n", "E f = p[i];")}
      ONE norms[r] = sqrt(pp);
    }}
    MEET;
    OVER(r, 0, n) {{
      i64 place = 0;
      T own = norms[r];
      for (i64 j = 0; j < n; j++) place += norms[j] > own || (norms[j] == own && j < r);
      if (busy) place = r;
      s_[place] = ldexp(own, power);
      for (i64 c = 0; c < n; c++) {{
        u[c * n + place] = CONJ(turns[r * n + c]);
        vh[place * n + c] = own > 0 ? SCALE(w[r * n + c], 1 / own) : OF(0);
      }}
    }}
    MEET;
    // rows of no size come last: any that are orthogonal to those before
    for (i64 r = 0; r < n; r++) {{
      if (s_[r] > 0 || busy) continue;
      GLOBAL E *row = vh + r * n;
      T length = 0;
      for (i64 axis = 0; axis < n && length * length * n < (T)0.25; axis++) {{
        MEET;
        EACH(c, 0, n) row[c] = OF(c == axis ? 1 : 0);
        for (int twice = 0; twice < 2; twice++)
          for (i64 j = 0; j < r; j++) {{
            MEET;
            E inner = OF(0);
            for (i64 c = 0; c < n; c++) inner = ADD(inner, MUL(row[c], CONJ(vh[j * n + c])));
            MEET;
            EACH(c, 0, n) row[c] = SUB(row[c], MUL(inner, vh[j * n + c]));
          }}
        MEET;
        length = 0;
        for (i64 c = 0; c < n; c++) length += NORM(row[c]);
        length = sqrt(length);
      }}
      MEET;
      EACH(c, 0, n) row[c] = SCALE(row[c], 1 / length);
      MEET;
    }}
    ONE info[at] = busy;
    MEET;
  }}
}}
"""
