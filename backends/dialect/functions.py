"""The functions that generated kernels call, as C text, each included where it is used.

``float`` versions of exp and log for processors are polynomials with bit casts, without branches, so that a
compiler vectorises the loop around them; a driver's own are scalar calls, ten times slower.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from flambeau.backends.dialect.prelude import REGISTER, Target
from flambeau.core import dtype as dt
from flambeau.core.dtype import DType
from flambeau.core.expr import Expr, Program, lower

_COMPARES: Final = frozenset({"gt", "ge", "le", "ne", "minimum"})
_BUILTIN: Final = {
    "abs": "fabs", "exp": "exp", "log": "log", "sqrt": "sqrt", "sin": "sin", "cos": "cos", "floor": "floor",
    "fmod": "fmod", "pow": "pow", "exp2": "exp2", "expm1": "expm1", "log2": "log2", "log10": "log10", "log1p": "log1p",
    "tan": "tan", "asin": "asin", "acos": "acos", "atan": "atan", "sinh": "sinh", "cosh": "cosh", "tanh": "tanh",
    "asinh": "asinh", "acosh": "acosh", "atanh": "atanh", "ceil": "ceil", "trunc": "trunc", "round": "rint",
    "erf": "erf", "erfc": "erfc", "copysign": "copysign", "atan2": "atan2", "hypot": "hypot",
}  # fmt: skip
_ON_CPU: Final = frozenset({"ceil", "trunc", "round", "copysign", "exp2"})


def native_on_cpu(name: str, dtype: DType) -> bool:
    """Whether a function is called rather than inlined: on processors few, since inlined ones vectorise."""
    if dtype.category == dt.COMPLEX:
        return name in _COMPLEX_NATIVE
    return name in _COMPARES or (dtype.is_floating_point and name in _ON_CPU)


def native_elsewhere(name: str, dtype: DType) -> bool:
    """Whether a function is called rather than inlined: elsewhere all that the language has."""
    if dtype.category == dt.COMPLEX:
        return name in _COMPLEX_NATIVE
    return name in _COMPARES or (dtype.is_floating_point and name in _BUILTIN)


def program_for(expr: Expr, dtypes: tuple[DType, ...], out: DType, target: Target) -> Program:
    """The expression in the steps that a target has."""
    return lower(expr, dtypes, out, native_on_cpu if target.cpu else native_elsewhere)


class Library:
    """Collects the texts of the functions that a kernel calls."""

    def __init__(self, target: Target):
        self.target = target
        self._texts: dict[str, str] = {}

    def text(self) -> str:
        return "\n".join(self._texts.values())

    def call(self, op: str, dtype: DType, args: Sequence[str]) -> str:
        """The text of a call of ``op`` on values of ``dtype``."""
        name = self.require(op, dtype)
        return f"{name}({', '.join(args)})"

    def require(self, op: str, dtype: DType) -> str:
        """Include what ``op`` needs; the name to call it by."""
        t = REGISTER[dtype]
        if dtype.category == dt.COMPLEX:
            return self._complex(op, dtype)
        if dtype.is_floating_point:
            if self.target.cpu and op in _POLYNOMIAL.get(t, {}):
                return self._add(f"{op}_{t}", _POLYNOMIAL[t][op])
            if op in _FLOAT:
                return self._add(f"{op}_{t}", _FLOAT[op])
            return _BUILTIN[op]
        if op not in _INTEGER and op in _BUILTIN:
            raise KeyError(f"{op} has no meaning for {dtype}")
        return self._add(f"{op}_{t}", _INTEGER[op])

    def _add(self, name: str, text: str) -> str:
        if name not in self._texts:
            t = name.rpartition("_")[2]
            unsigned = t.replace("i", "u") if t[0] == "i" else t
            bits = t[1:]
            filled = text.replace("$N", name).replace("$T", t).replace("$U", unsigned).replace("$B", bits)
            self._texts[name] = filled.replace("$S", "1" if t[0] == "i" else "0")
        return name

    def _complex(self, op: str, dtype: DType) -> str:
        t, real = REGISTER[dtype], REGISTER[dtype.to_real()]
        name = f"{op}_{t}"
        if name not in self._texts:
            text = _COMPLEX[op]
            for needed in _COMPLEX_NEEDS.get(op, ()):
                self._complex(needed, dtype)
            self._texts[name] = text.replace("$N", name).replace("$T", t).replace("$R", real).replace("$M", f"MAKE_{t}")
        return name


_FLOAT: Final = {
    "maximum": "DEVICE $T $N($T a, $T b) { return (a > b || a != a) ? a : b; }",
    "minimum": "DEVICE $T $N($T a, $T b) { return (a < b || a != a) ? a : b; }",
    "idiv": """DEVICE $T $N($T a, $T b) {
  $T r = fmod(a, b), d = (a - r) / b, q = a / b;
  d = (r != 0 && (b < 0) != (r < 0)) ? d - 1 : d;
  $T f = floor(d);
  f = d - f > ($T)0.5 ? f + 1 : f;
  return b == 0 ? q : (d == 0 ? copysign(($T)0, q) : f);
}""",
}
_INTEGER: Final = {
    "abs": "DEVICE $T $N($T a) { return ($T)(a < 0 ? -a : a); }",
    "maximum": "DEVICE $T $N($T a, $T b) { return a > b ? a : b; }",
    "minimum": "DEVICE $T $N($T a, $T b) { return a < b ? a : b; }",
    "idiv": """DEVICE $T $N($T a, $T b) {
  if (b == 0) return 0;
  if ($S && b == ($T)-1) return ($T)(-($U)a);
  $T q = ($T)(a / b);
  return ($T)(q - ((a % b != 0 && (a < 0) != (b < 0)) ? 1 : 0));
}""",
    "fmod": "DEVICE $T $N($T a, $T b) { return (b == 0 || ($S && b == ($T)-1)) ? 0 : ($T)(a % b); }",
    "pow": """DEVICE $T $N($T a, $T b) {
  if ($S && b < 0) return a == 1 ? 1 : (a == ($T)-1 ? ((b & 1) ? ($T)-1 : 1) : 0);
  $U r = 1, x = ($U)a;
  while (b) { if (b & 1) r = ($U)(r * x); x = ($U)(x * x); b = ($T)(b >> 1); }
  return ($T)r;
}""",
    "shl": "DEVICE $T $N($T a, $T b) { return (b < 0 || b >= $B) ? 0 : ($T)(($U)a << b); }",
    "shr": "DEVICE $T $N($T a, $T b) { return (b < 0 || b >= $B) ? (a < 0 ? ($T)-1 : 0) : ($T)(a >> b); }",
}

# exp(x) = 2**n * exp(r): n by adding 1.5 * 2**23 (2**52), r by ln(2) in two parts, then a polynomial: in float the one
# whose largest relative error (3e-9) is least, added to the exponent's bits and, where the result may be subnormal,
# 2**64 too large; in double Taylor's, scaled in two factors. log by the exponent's bits and the series of atanh.
_POLYNOMIAL: Final = {
    "f32": {
        "exp": """DEVICE f32 $N(f32 x) {
  f32 c = x > -104.0f ? x : -104.0f;
  f32 t = fma(c, 1.44269504f, 12582912.0f), n = t - 12582912.0f;
  f32 r = fma(n, 2.12194440e-4f, fma(n, -0.693359375f, c));
  f32 p = fma(fma(fma(r, 1.3814539e-3f, 8.368745e-3f), r, 4.166839e-2f), r, 0.16666521f);
  p = fma(fma(fma(p, r, 0.49999994f), r, 1.0f), r, 1.0f);
  i32 tiny = x < -86.0f;
  f32 y = AS_f32(AS_i32(p) + (AS_i32(tiny ? t + 64.0f : t) << 23));
  y = tiny ? y * 5.42101086e-20f : y;
  return x <= 88.7228317f ? y : x * AS_f32(0x7f800000);
}""",
        "log": """DEVICE f32 $N(f32 x) {
  i32 small = x < 1.17549435e-38f;
  i32 b = AS_i32(small ? x * 33554432.0f : x);
  i32 k = (b - 0x3f3504f3) >> 23;
  f32 m = AS_f32(b - (k << 23)), e = (f32)(k - (small ? 25 : 0));
  f32 s = (m - 1.0f) / (m + 1.0f), z = s * s;
  f32 t = s * z * (0.666666667f + z * (0.4f + z * (0.285714286f + z * (0.222222222f + z * 0.181818182f))));
  f32 y = e * 0.693359375f + ((m - 1.0f) - (s * (m - 1.0f) - t) + e * -2.12194440e-4f);
  y = x < 0.0f ? AS_f32(0x7fc00000) : (x == 0.0f ? -AS_f32(0x7f800000) : y);
  return x < AS_f32(0x7f800000) ? y : x;
}""",
    },
    "f64": {
        "exp": """DEVICE f64 $N(f64 x) {
  f64 c = x < -746.0 ? -746.0 : (x > 710.0 ? 710.0 : x);
  f64 n = (c * 1.4426950408889634 + 6755399441055744.0) - 6755399441055744.0;
  f64 r = (c - n * 0.693147180369123816490) - n * 1.90821492927058770002e-10;
  f64 p = 2.505210838544172e-8 + r * (2.08767569878681e-9 + r * 1.6059043836821613e-10);
  p = 2.4801587301587302e-5 + r * (2.7557319223985893e-6 + r * (2.7557319223985888e-7 + r * p));
  p = 8.3333333333333332e-3 + r * (1.3888888888888889e-3 + r * (1.9841269841269841e-4 + r * p));
  p = 1.0 + r * (1.0 + r * (0.5 + r * (1.6666666666666666e-1 + r * (4.1666666666666664e-2 + r * p))));
  i64 k = (i64)n, h = k >> 1;
  f64 y = p * AS_f64((h + 1023) << 52) * AS_f64((k - h + 1023) << 52);
  return x != x ? x : y;
}""",
    },
}

_COMPLEX: Final = {
    "add": "DEVICE $T $N($T a, $T b) { return $M(a.x + b.x, a.y + b.y); }",
    "sub": "DEVICE $T $N($T a, $T b) { return $M(a.x - b.x, a.y - b.y); }",
    "mul": "DEVICE $T $N($T a, $T b) { return $M(a.x * b.x - a.y * b.y, a.x * b.y + a.y * b.x); }",
    "div": """DEVICE $T $N($T a, $T b) {
  if (fabs(b.x) >= fabs(b.y)) {
    if (b.x == 0 && b.y == 0) return $M(a.x / fabs(b.x), a.y / fabs(b.x));
    $R t = b.y / b.x, d = 1 / (b.x + b.y * t);
    return $M((a.x + a.y * t) * d, (a.y - a.x * t) * d);
  }
  $R t = b.x / b.y, d = 1 / (b.y + b.x * t);
  return $M((a.x * t + a.y) * d, (a.y * t - a.x) * d);
}""",
    "neg": "DEVICE $T $N($T a) { return $M(-a.x, -a.y); }",
    "conj": "DEVICE $T $N($T a) { return $M(a.x, -a.y); }",
    "real": "DEVICE $R $N($T a) { return a.x; }",
    "imag": "DEVICE $R $N($T a) { return a.y; }",
    "abs": "DEVICE $R $N($T a) { return hypot(a.x, a.y); }",
    "angle": "DEVICE $R $N($T a) { return atan2(a.y, a.x); }",
    "eq": "DEVICE i32 $N($T a, $T b) { return a.x == b.x && a.y == b.y; }",
    "ne": "DEVICE i32 $N($T a, $T b) { return a.x != b.x || a.y != b.y; }",
    "exp": """DEVICE $T $N($T a) {
  $R r = exp(a.x);
  return a.y == 0 ? $M(r, a.y) : $M(r * cos(a.y), r * sin(a.y));
}""",
    "log": "DEVICE $T $N($T a) { return $M(log(hypot(a.x, a.y)), atan2(a.y, a.x)); }",
    "sqrt": """DEVICE $T $N($T a) {
  if (a.x == 0 && a.y == 0) return $M(0, a.y);
  $R m = sqrt((fabs(a.x) + hypot(a.x, a.y)) * ($R)0.5), n = fabs(a.y) / (2 * m);
  return a.x >= 0 ? $M(m, copysign(n, a.y)) : $M(n, copysign(m, a.y));
}""",
    "sin": "DEVICE $T $N($T a) { return $M(sin(a.x) * cosh(a.y), cos(a.x) * sinh(a.y)); }",
    "cos": "DEVICE $T $N($T a) { return $M(cos(a.x) * cosh(a.y), -sin(a.x) * sinh(a.y)); }",
    "sinh": "DEVICE $T $N($T a) { return $M(sinh(a.x) * cos(a.y), cosh(a.x) * sin(a.y)); }",
    "cosh": "DEVICE $T $N($T a) { return $M(cosh(a.x) * cos(a.y), sinh(a.x) * sin(a.y)); }",
    "tanh": """DEVICE $T $N($T a) {
  if (fabs(a.x) > 20) return $M(copysign(($R)1, a.x), copysign(($R)0, sin(2 * a.y)));
  $R d = cosh(2 * a.x) + cos(2 * a.y);
  return $M(sinh(2 * a.x) / d, sin(2 * a.y) / d);
}""",
    "tan": """DEVICE $T $N($T a) {
  if (fabs(a.y) > 20) return $M(copysign(($R)0, sin(2 * a.x)), copysign(($R)1, a.y));
  $R d = cos(2 * a.x) + cosh(2 * a.y);
  return $M(sin(2 * a.x) / d, sinh(2 * a.y) / d);
}""",
    "pow": """DEVICE $T $N($T a, $T b) {
  if (b.x == 0 && b.y == 0) return $M(1, 0);
  if (a.x == 0 && a.y == 0) return b.x > 0 ? $M(0, 0) : $M(AS_f32(0x7fc00000), AS_f32(0x7fc00000));
  $R l = log(hypot(a.x, a.y)), t = atan2(a.y, a.x);
  $R r = exp(b.x * l - b.y * t), s = b.y * l + b.x * t;
  return $M(r * cos(s), r * sin(s));
}""",
}
_COMPLEX_NEEDS: Final[dict[str, tuple[str, ...]]] = {}
_COMPLEX_NATIVE: Final = frozenset({"ne", "conj", "real", "imag", "angle", "sinh", "cosh", "tanh", "tan"})
