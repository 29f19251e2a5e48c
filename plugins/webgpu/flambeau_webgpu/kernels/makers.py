"""Arrays from nothing: a value, a range, random bits."""

from __future__ import annotations

import struct
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from flambeau.backends.base import Shape
from flambeau.backends.strided import StridedArray
from flambeau.core import dtype as dt
from flambeau.core.dtype import DType, host_scalar
from flambeau_webgpu.wgsl import REGISTER

if TYPE_CHECKING:
    from flambeau_webgpu.backend import WebGPUBackend


def bind(backend: WebGPUBackend) -> None:
    """Register them."""
    backend.kernels.register("full", partial(full, backend), tuple(REGISTER))
    backend.kernels.add("arange", partial(arange, backend), tuple(REGISTER))
    backend.kernels.add("random_bits", partial(random_bits, backend))


def full(backend: WebGPUBackend, *, shape: Shape, value: Any, dtype: DType, index: int = 0) -> StridedArray:
    """A new array with every element ``value``."""
    out = backend.empty(tuple(shape), dtype, index)
    if out.size:
        backend.fill(out, host_scalar(value, dtype).tobytes())
    return out


def arange(backend: WebGPUBackend, out: StridedArray, start: float, step: float) -> None:
    """start + i * step; floats are the host's, which computes them in float64."""
    if isinstance(start, int) and isinstance(step, int) and out.dtype in (dt.int64, dt.int32):
        kind = REGISTER[out.dtype]
        words = [w for v in (start, step) for w in struct.unpack("2I", struct.pack("q", _signed(v)))]
        low, high = ("i32(a.start)", "i32(a.step)") if kind == "i32" else (
            "((i64(u64(a.start_high)) << 32u) | i64(u64(a.start)))",
            "((i64(u64(a.step_high)) << 32u) | i64(u64(a.step)))",
        )  # fmt: skip
        place = "i32(i)" if kind == "i32" else "i64(u64(i))"
        numbers = dict(zip(("n", "start", "start_high", "step", "step_high"), (out.size, *words), strict=True))
        body = f"if (i < a.n) {{ $q[i] = {low} + {place} * {high}; }}"
        backend.run("arange", lambda: body, {"q": out}, {}, numbers, threads=out.size)
        return
    with np.errstate(all="ignore"):
        host = (start + np.arange(out.size) * step).astype(out.dtype.numpy)
    backend.write(out.buffer.memory, out.offset * out.dtype.itemsize, host.view(np.uint8).data)


def _signed(value: int) -> int:
    return (value + (1 << 63)) % (1 << 64) - (1 << 63)


_PHILOX = """if (i * 4u >= a.n) { return; }
  let low = a.offset + i;
  var c = vec4u(low, a.offset_high + select(0u, 1u, low < i), 0u, 0u); var k = vec2u(a.seed, a.seed_high);
  for (var r = 0; r < 10; r++) {
    let x = high_(0xCD9E8D57u, c.z) ^ c.y ^ k.x; let z = high_(0xD2511F53u, c.x) ^ c.w ^ k.y;
    c = vec4u(x, 0xCD9E8D57u * c.z, z, 0xD2511F53u * c.x);
    k += vec2u(0x9E3779B9u, 0xBB67AE85u);
  }
  for (var j = 0u; j < min(4u, a.n - i * 4u); j++) { $q[i * 4u + j] = c[j]; }"""
_HIGH = """fn high_(x: u32, y: u32) -> u32 {
  let a = x & 0xffffu; let b = x >> 16u; let c = y & 0xffffu; let d = y >> 16u;
  let t = b * c + ((a * c) >> 16u); let w = a * d + (t & 0xffffu);
  return b * d + (t >> 16u) + (w >> 16u);
}"""


def random_bits(backend: WebGPUBackend, out: StridedArray, seed: int, offset: int) -> None:
    """Philox 4x32-10: four words for each counter."""
    numbers = {"n": out.size, "seed": seed, "seed_high": seed >> 32, "offset": offset, "offset_high": offset >> 32}
    threads = -(-out.size // 4)
    backend.run("philox", lambda: _PHILOX, {"q": out}, {}, numbers, threads=threads, shared=_HIGH)
