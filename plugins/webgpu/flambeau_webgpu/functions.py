"""The functions that kernels call, as WGSL, each included where it is used.

WGSL's own exp, log, sin, cos and tanh may be wrong in the third digit, its comparisons need not know nan, and drivers
reassociate: ``keep_`` hides a value from them, by bits that the compiler cannot know to be zero.
"""

from __future__ import annotations

import re
from typing import Final

from flambeau.core import dtype as dt

_ALWAYS: Final = """var<private> zero_: u32;
fn keep_(x: f32) -> f32 { return bitcast<f32>(bitcast<u32>(x) ^ zero_); }
fn bits_(u: u32) -> f32 { return bitcast<f32>(u ^ zero_); }"""

#: By name, which ends in the type; each may call the others.
_FLOAT: Final = {
    "isnan_": "fn isnan_(x: f32) -> bool { return (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u; }",
    "half_": """fn half_(h: u32) -> f32 {
  if ((h & 0x7c00u) == 0x7c00u) { return bits_(((h & 0x8000u) << 16u) | 0x7f800000u | ((h & 0x3ffu) << 13u)); }
  return unpack2x16float(h & 0xffffu).x;
}""",
    "to_half_": """fn to_half_(x: f32) -> u32 {
  let b = bitcast<u32>(x); let s = (b >> 16u) & 0x8000u; let m = b & 0x7fffffffu;
  if (m > 0x7f800000u) { return s | 0x7e00u; }
  if (m >= 0x477ff000u) { return s | 0x7c00u; }
  if (m < 0x38800000u) { return s | (bitcast<u32>(bitcast<f32>(m) + 0.5) - 0x3f000000u); }
  return s | ((m - 0x38000000u + 0xfffu + ((m >> 13u) & 1u)) >> 13u);
}""",
    "to_bfloat_": """fn to_bfloat_(x: f32) -> u32 {
  let b = bitcast<u32>(x);
  return select((b + 0x7fffu + ((b >> 16u) & 1u)) >> 16u, (b >> 16u) | 64u, isnan_(x)) & 0xffffu;
}""",
    "trunc_i32": "fn trunc_i32(x: f32) -> i32 { return select(wrap_(x), i32(x), abs(x) < 2147483520.0); }",
    # integers of 32 bits from floats beyond: the low bits of the whole number, as C's 64-bit conversion gives
    "wrap_": """fn wrap_(x: f32) -> i32 {
  let b = bitcast<u32>(x); let e = i32((b >> 23u) & 255u) - 150;
  if (e > 39) { return 0; }
  let m = select(0u, ((b & 0x7fffffu) | 0x800000u) << u32(e & 31), e < 32);
  return select(bitcast<i32>(m), -bitcast<i32>(m), x < 0.0);
}""",
    "maximum_f32": "fn maximum_f32(a: f32, b: f32) -> f32 { return select(b, a, a > b || isnan_(a)); }",
    "minimum_f32": "fn minimum_f32(a: f32, b: f32) -> f32 { return select(b, a, a < b || isnan_(a)); }",
    # exp(x) = 2^n exp(r), ln 2 in two parts; where the result is subnormal, 2^64 too large at first
    "exp_f32": """fn exp_f32(x: f32) -> f32 {
  let c = select(-104.0, x, x > -104.0);
  let n = round(c * 1.44269504); let k = i32(n);
  let r = fma(n, 2.12194440e-4, keep_(fma(n, -0.693359375, c)));
  var p = fma(fma(fma(r, 1.3814539e-3, 8.368745e-3), r, 4.166839e-2), r, 0.16666521);
  p = fma(fma(fma(p, r, 0.49999994), r, 1.0), r, 1.0);
  let tiny = x < -86.0;
  let y = bitcast<f32>(bitcast<i32>(p) + (select(k, k + 64, tiny) << 23u));
  return select(x * bits_(0x7f800000u), select(y, y * 5.42101086e-20, tiny), x <= 88.7228317);
}""",
    # log by the exponent's bits and the series of atanh
    "log_f32": """fn log_f32(x: f32) -> f32 {
  let small = x < 1.17549435e-38;
  let b = bitcast<i32>(select(x, x * 33554432.0, small));
  let k = (b - 0x3f3504f3) >> 23u;
  let m = bitcast<f32>(b - (k << 23u)); let e = f32(k - select(0, 25, small));
  let s = (m - 1.0) / (m + 1.0); let z = s * s;
  let t = s * z * (0.666666667 + z * (0.4 + z * (0.285714286 + z * (0.222222222 + z * 0.181818182))));
  var y = e * 0.693359375 + (keep_((m - 1.0) - keep_(s * (m - 1.0) - t)) + e * -2.12194440e-4);
  y = select(select(y, -bits_(0x7f800000u), x == 0.0), bits_(0x7fc00000u), x < 0.0);
  return select(x, y, x < bits_(0x7f800000u));
}""",
    # the quadrant, and what is left of the angle, with pi/2 in three parts, the first two short (S. Moshier, Cephes)
    "turned_": """fn turned_(x: f32, shift: i32) -> f32 {
  let n = round(x * 0.636619772);
  let r = fma(n, -7.54978995e-8, keep_(fma(n, -4.837512969970703e-4, keep_(fma(n, -1.5703125, x)))));
  let q = select(i32(n), 0, abs(n) > 1e9) + shift; let z = r * r;
  let s = fma(fma(fma(fma(z, 2.718311e-6, -1.9839334e-4), z, 8.3333293e-3), z, -0.16666667), z * r, r);
  let c = fma(fma(fma(fma(z, 2.4433157e-5, -1.3887316e-3), z, 4.1666646e-2), z, -0.5), z, 1.0);
  let y = select(s, c, (q & 1) == 1);
  let wild = (bitcast<u32>(x) & 0x7fffffffu) >= 0x7f800000u;
  return select(select(y, -y, (q & 2) == 2), bits_(0x7fc00000u), wild);
}""",
    "sin_f32": "fn sin_f32(x: f32) -> f32 { return select(turned_(x, 0), x, x == 0.0); }",
    "cos_f32": "fn cos_f32(x: f32) -> f32 { return turned_(x, 1); }",
    "fmod_f32": """fn fmod_f32(a: f32, b: f32) -> f32 {
  let ua = bitcast<u32>(a); let ub = bitcast<u32>(b) & 0x7fffffffu; let m = ua & 0x7fffffffu; let s = ua & 0x80000000u;
  if (ub == 0u || m >= 0x7f800000u || ub > 0x7f800000u) { return bits_(0x7fc00000u); }
  if (m < ub) { return a; }
  var ea = i32(m >> 23u); var eb = i32(ub >> 23u);
  var x = m & 0x7fffffu; var y = ub & 0x7fffffu;
  if (ea == 0) { ea = 1; } else { x |= 0x800000u; }
  if (eb == 0) { eb = 1; } else { y |= 0x800000u; }
  while (ea > eb) { if (x >= y) { x -= y; } x <<= 1u; ea--; if (x == 0u) { return bits_(s); } }
  if (x >= y) { x -= y; }
  if (x == 0u) { return bits_(s); }
  let up = min(i32(countLeadingZeros(x)) - 8, ea - 1); x <<= u32(up); ea -= up;
  return bits_(s | select(x, (x & 0x7fffffu) | (u32(ea) << 23u), x >= 0x800000u));
}""",
    "idiv_f32": """fn idiv_f32(a: f32, b: f32) -> f32 {
  let r = fmod_f32(a, b); let q = a / b; var d = (a - r) / b;
  if (r != 0.0 && (b < 0.0) != (r < 0.0)) { d = d - 1.0; }
  var f = floor(d); if (d - f > 0.5) { f = f + 1.0; }
  if (b == 0.0) { return q; }
  return select(f, bits_(bitcast<u32>(q) & 0x80000000u), d == 0.0);
}""",
    # |x|^y = exp(y log|x|), with what the logarithm missed as a factor
    "pow_f32": """fn pow_f32(x: f32, y: f32) -> f32 {
  if (y == 0.0 || x == 1.0) { return 1.0; }
  if (isnan_(x) || isnan_(y)) { return bits_(0x7fc00000u); }
  let whole = floor(y) == y; let odd = whole && abs(y) < 16777216.0 && (i32(y) & 1) != 0;
  if (x == -1.0 && abs(y) > 3e38) { return 1.0; }
  if (x < 0.0 && !whole && bitcast<u32>(x) != 0xff800000u) { return bits_(0x7fc00000u); }
  let s = abs(x); var v = 0.0;
  if (s == 0.0) { v = select(bits_(0x7f800000u), 0.0, y > 0.0); }
  else if (bitcast<u32>(s) == 0x7f800000u) { v = select(0.0, s, y > 0.0); }
  else {
    let l = log_f32(s); let e = exp_f32(l); let c = keep_(s - e) / e;
    let h = y * l; let low = fma(y, l, -keep_(h)) + y * c;
    v = exp_f32(h); if (v > 0.0 && v < 3e38) { v = fma(v, low, v); }
  }
  return select(v, -v, odd && bitcast<i32>(x) < 0);
}""",
}

#: Of integers. $N is the dtype, $T the type of the register, $Z its 0, $B the bits; $W(...) cuts to the width.
_INTEGER: Final = {
    "abs": "fn abs_$N(a: $T) -> $T { return select(a, $W($Z - a), a < $Z); }",
    "maximum": "fn maximum_$N(a: $T, b: $T) -> $T { return select(b, a, a > b); }",
    "minimum": "fn minimum_$N(a: $T, b: $T) -> $T { return select(b, a, a < b); }",
    "idiv": """fn idiv_$N(a: $T, b: $T) -> $T {
  if (b == $Z) { return $Z; }
  let q = a / b; let r = a - q * b;
  return $W(select(q, q - $T(1), r != $Z && ((r < $Z) != (b < $Z))));
}""",
    "fmod": "fn fmod_$N(a: $T, b: $T) -> $T { if (b == $Z) { return $Z; } return a - (a / b) * b; }",
    "pow": """fn pow_$N(a: $T, b: $T) -> $T {
  if (b < $Z) {
    if (a == $T(1)) { return a; }
    return select($Z, select($T(1), a, (b & $T(1)) != $Z), a == $Z - $T(1));
  }
  var r = $T(1); var x = a; var n = b;
  while (n != $Z) { if ((n & $T(1)) != $Z) { r = $W(r * x); } x = $W(x * x); n = n >> 1u; }
  return r;
}""",
    "shl": "fn shl_$N(a: $T, b: $T) -> $T { if (b < $Z || b >= $T($B)) { return $Z; } return $W(a << u32(b)); }",
    "shr": """fn shr_$N(a: $T, b: $T) -> $T {
  if (b < $Z || b >= $T($B)) { return select($Z, $Z - $T(1), a < $Z); }
  return a >> u32(b);
}""",
}
_CALL: Final = re.compile(r"\b([a-z]\w*)\(")
_OF_INTEGERS: Final = re.compile(rf"({'|'.join(_INTEGER)})_(u?int\d+)")


def has_float(op: str) -> bool:
    """Whether there is a function ``op`` of floats here."""
    return f"{op}_f32" in _FLOAT


def functions_in(text: str) -> str:
    """The texts of the functions that a text calls, and those that these call, the called before the callers."""
    found: dict[str, str] = {}

    def visit(part: str) -> None:
        for name in _CALL.findall(part):
            body = _FLOAT.get(name) or _of_integers(name)
            if body is not None and name not in found:
                found[name] = ""  # its place is behind what it calls
                visit(body)
                del found[name]
                found[name] = body

    visit(text)
    return "\n".join([_ALWAYS, *found.values()])


def _of_integers(name: str) -> str | None:
    match = _OF_INTEGERS.fullmatch(name)
    if match is None:
        return None
    dtype = getattr(dt, match.group(2))
    bits, signed = dtype.bits, dtype.is_signed
    kind = f"{'i' if signed else 'u'}{64 if bits == 64 else 32}"
    text = _INTEGER[match.group(1)].replace("$N", dtype.name)
    if not signed:
        text = re.sub(r"\b[abr] < \$Z", "false", text)
    while (start := text.find("$W(")) >= 0:
        end = _balanced(text, start + 2)
        inner = text[start + 3 : end]
        if bits >= 32:
            cut = f"({inner})"
        elif signed:
            cut = f"((({inner}) << {32 - bits}u) >> {32 - bits}u)"
        else:
            cut = f"(({inner}) & {(1 << bits) - 1:#x}u)"
        text = text[:start] + cut + text[end + 1 :]
    return text.replace("$Z", f"{kind}(0)").replace("$T", kind).replace("$B", str(bits))


def _balanced(text: str, start: int) -> int:
    depth = 0
    for i in range(start, len(text)):
        depth += {"(": 1, ")": -1}.get(text[i], 0)
        if not depth:
            return i
    raise ValueError(text)
