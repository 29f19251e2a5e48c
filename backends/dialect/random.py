"""Kernels that make their values from nothing: Philox4x32-10 words, and arithmetic sequences."""

from __future__ import annotations

from typing import Final

from flambeau.backends.dialect.prelude import REGISTER, STORED, Target, prelude, store
from flambeau.core import dtype as dt
from flambeau.core.dtype import DType

# Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
_PHILOX: Final = """
DEVICE void philox(u64 counter, u64 key, u32 *w) {
  u32 a = (u32)counter, b = (u32)(counter >> 32), c = 0, d = 0, k0 = (u32)key, k1 = (u32)(key >> 32);
  for (int round = 0; round < 10; round++) {
    u32 high0 = MULHI(0xD2511F53u, a), low0 = 0xD2511F53u * a;
    u32 high1 = MULHI(0xCD9E8D57u, c), low1 = 0xCD9E8D57u * c;
    a = high1 ^ b ^ k0; b = low1; c = high0 ^ d ^ k1; d = low0;
    k0 += 0x9E3779B9u; k1 += 0xBB67AE85u;
  }
  w[0] = a; w[1] = b; w[2] = c; w[3] = d;
}
"""


def _over(target: Target, name: str) -> str:
    """The loop over the elements (or blocks of them) of this item; parameters begin with (n, chunk)."""
    if target.cpu:
        return f"""  i64 first = GID * a.chunk, last = first + a.chunk < a.n ? first + a.chunk : a.n;
  for (i64 {name} = first; {name} < last; {name}++) """
    return f"  for (i64 {name} = GID; {name} < a.n; {name} += GSIZE) "


def bits_source(target: Target) -> str:
    """``bits``: parameters are (blocks of four words, chunk, words, seed, offset)."""
    return f"""{prelude(target)}{_PHILOX}
typedef struct {{ i64 n, chunk, words; u64 seed, offset; }} Bits;
KERNEL bits(GLOBAL u32 *q, const Bits a) {{
{_over(target, "i")}{{
    u32 w[4];
    philox(a.offset + (u64)i, a.seed, w);
    i64 at = 4 * i, left = a.words - at;
    for (int k = 0; k < 4 && k < left; k++) q[at + k] = w[k];
  }}
}}
"""


def arange_source(dtype: DType, target: Target) -> str:
    """``arange``: parameters are (n, chunk, start, step) as integers, and again as bits of floats."""
    kind = REGISTER[dtype]
    if dtype.category < dt.FLOATING:
        value = f"({kind})(a.start + i * a.step)"
    elif target.fp64:
        value = f"({kind})(AS_f64(a.real_start) + (f64)i * AS_f64(a.real_step))"
    else:
        value = "AS_f32((u32)a.real_start) + (f32)i * AS_f32((u32)a.real_step)"
    return f"""{prelude(target)}
typedef struct {{ i64 n, chunk, start, step, real_start, real_step; }} Sequence;
KERNEL arange(GLOBAL {STORED[dtype]} *q, const Sequence a) {{
{_over(target, "i")}{{
    const {kind} v = {value};
    {store(dtype, "q", "i", "v")};
  }}
}}
"""
