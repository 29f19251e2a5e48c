"""Reading and writing at indices. A bad index touches nothing, and sets the flag that ``check`` reads."""

from __future__ import annotations

from functools import partial
from math import prod
from typing import TYPE_CHECKING

from flambeau.backends import layout as lay
from flambeau.backends.strided import StridedArray
from flambeau.core import dtype as dt
from flambeau_webgpu.wgsl import REGISTER, wrapped

if TYPE_CHECKING:
    from flambeau_webgpu.backend import WebGPUBackend

_FAILED = """if (atomicExchange(&bad_[0], 1u) == 0u) {
    atomicStore(&bad_[1], a.op); atomicStore(&bad_[2], a.axis); atomicStore(&bad_[3], a.n);
    atomicStore(&bad_[4], u32(at)); atomicStore(&bad_[5], u32(at >> HIGHu));
  }"""
_DIRECT = (dt.float32, dt.int32, dt.uint32)  # added up by atomic words; other dtypes line by line


def bind(backend: WebGPUBackend) -> None:
    """Register them."""
    backend.kernels.register("gather", partial(gather, backend), tuple(REGISTER))
    backend.kernels.register("scatter", partial(scatter, backend), tuple(REGISTER))


def _failed(index: StridedArray) -> str:
    return _FAILED.replace("HIGH", "32" if index.dtype is dt.int64 else "31")


def _lines(shape: tuple[int, ...], axis: int) -> tuple[int, int, int]:
    """The sizes before, at and after an axis."""
    if not shape:
        return 1, 1, 1
    return prod(shape[:axis]), shape[axis], prod(shape[axis + 1 :])


def _walk(backend: WebGPUBackend, index: StridedArray, axis: int) -> tuple[StridedArray, tuple[int, int, int]]:
    """The index, and its strides along the three axes of :func:`_lines`; a copy where they are none."""
    strides = []
    for low, high in ((0, axis), (axis, axis + 1), (axis + 1, index.ndim)):
        shape, steps = lay.coalesce(index.shape[low:high], index.strides[low:high])
        if len(shape) > 1:
            dense = backend.copied(index)
            _, m, inner = _lines(index.shape, axis)
            return dense, (m * inner, inner, 1)
        strides.append(steps[0][0] if shape else 0)
    return index, (strides[0], strides[1], strides[2])


def _within(x: StridedArray, shape: tuple[int, ...], axis: int | None = None) -> StridedArray:
    """``x`` cut down to ``shape``, but for ``axis``."""
    if all(m == n or a == axis for a, (n, m) in enumerate(zip(x.shape, shape, strict=True))):
        return x
    cut = [slice(0, n if a == axis else m) for a, (n, m) in enumerate(zip(x.shape, shape, strict=True))]
    return x.viewed(*lay.basic_index(*x.layout, cut))


def gather(backend: WebGPUBackend, x: StridedArray, index: StridedArray, *, axis: int) -> StridedArray:
    """``out[i, j, k] = x[i, index[i, j, k], k]`` around ``axis``."""
    axis %= max(x.ndim, 1)
    out = backend.empty(index.shape, x.dtype, x.index)
    if not out.size:
        return out
    source = backend.dense(_within(x, index.shape, axis))
    _, n, _ = _lines(source.shape, axis)
    _, m, inner = _lines(index.shape, axis)
    places, (step0, step1, step2) = _walk(backend, index, axis)

    def body() -> str:
        return f"""if (i >= a.count) {{ return; }}
  let k = i % a.inner; let r = i / a.inner; let j = r % a.m; let o = r / a.m;
  let at = $index[o * a.step0 + j * a.step1 + k * a.step2];
  if (at < {REGISTER[index.dtype]}(0) || at >= {REGISTER[index.dtype]}(a.n)) {{ {_failed(index)} return; }}
  $q[i] = $x[(o * a.n + u32(at)) * a.inner + k];"""

    numbers = {"count": out.size, "n": n, "m": m, "inner": inner, "step0": step0, "step1": step1, "step2": step2}
    numbers |= {"op": backend.number_of("gather"), "axis": axis}
    backend.run("gather", body, {"q": out}, {"x": source, "index": places}, numbers, threads=out.size, op="gather")
    return out


def scatter(
    backend: WebGPUBackend, x: StridedArray, index: StridedArray, src: StridedArray, *, axis: int, reduce: str = "set"
) -> StridedArray:
    """A copy of ``x`` with ``src`` written, or added, at the places that :func:`gather` reads."""
    out = backend.copied(x)
    if not index.size:
        return out
    axis %= max(x.ndim, 1)
    part = _within(out, index.shape, axis)
    target = part if part is out else backend.copied(part)
    values = backend.dense(_within(src, index.shape))
    places, steps = _walk(backend, index, axis)
    _scatter(backend, target, places, steps, values, axis, reduce == "add")
    if target is not out:
        backend.copy_into(part, target)
    return out


def _scatter(
    backend: WebGPUBackend, out: StridedArray, index: StridedArray, steps: tuple[int, int, int], src: StridedArray,
    axis: int, add: bool,
) -> None:  # fmt: skip
    dtype, direct = out.dtype, out.dtype in _DIRECT
    by_line = add and not direct
    _, n, _ = _lines(out.shape, axis)
    outer, m, inner = _lines(src.shape, axis)
    place = "(o * a.n + u32(at)) * a.inner + k"

    def body() -> str:
        value = "$s[(o * a.m + j) * a.inner + k]"
        if not add:
            write = f"$q[{place}] = {value};"
        elif dtype is dt.float32:
            write = f"""let v = {value}; let to = a.q_at_ + {place};
    loop {{
      let old = atomicLoad(&q[to]); let new_ = bitcast<u32>(bitcast<f32>(old) + v);
      if (atomicCompareExchangeWeak(&q[to], old, new_).exchanged) {{ break; }}
    }}"""
        elif direct:
            write = f"atomicAdd(&q[a.q_at_ + {place}], bitcast<u32>({value}));"
        else:
            both = f"$q[{place}] + {value}" if dtype is not dt.bool_ else f"$q[{place}] || {value}"
            write = f"let to = {place}; $q[to] = {wrapped(dtype, both)};"
        kind = REGISTER[index.dtype]
        each = f"""let at = $index[o * a.step0 + j * a.step1 + k * a.step2];
    if (at < {kind}(0) || at >= {kind}(a.n)) {{ {_failed(index)} }} else {{ {write} }}"""
        if by_line:
            return f"""if (i >= a.count) {{ return; }}
  let k = i % a.inner; let o = i / a.inner;
  for (var j = 0u; j < a.m; j++) {{ {each} }}"""
        return f"""if (i >= a.count) {{ return; }}
  let k = i % a.inner; let r = i / a.inner; let j = r % a.m; let o = r / a.m;
  {each}"""

    count = outer * inner if by_line else src.size
    numbers = {"count": count, "n": n, "m": m, "inner": inner, "op": backend.number_of("scatter"), "axis": axis}
    numbers |= dict(zip(("step0", "step1", "step2"), steps, strict=True))
    atomic = "q" if add and direct else ""
    ins = {"index": index, "s": src}
    backend.run(("scatter", add), body, {"q": out}, ins, numbers, threads=count, atomic=atomic, op="scatter")
