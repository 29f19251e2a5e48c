"""Convolutions and pools over (N, C, *S). A convolution is a product with columns: an element by place and weight."""

from __future__ import annotations

from functools import partial
from math import prod
from typing import TYPE_CHECKING, Final, NamedTuple

from flambeau.backends.strided import StridedArray
from flambeau.core import dtype as dt
from flambeau_webgpu.kernels.linalg import matmul_into
from flambeau_webgpu.kernels.reduce import reduced
from flambeau_webgpu.wgsl import FLOATS, REGISTER

if TYPE_CHECKING:
    from flambeau_webgpu.backend import WebGPUBackend

Ints = tuple[int, ...]
_ROOM: Final = 1 << 26  # bytes that the columns of some images may take


def bind(backend: WebGPUBackend) -> None:
    """Register them."""
    table = backend.kernels
    for fn in (conv, conv_grad_input, conv_grad_weight, avg_pool, avg_pool_grad):
        table.register(fn.__name__, partial(fn, backend), FLOATS)
    table.register("max_pool", partial(max_pool, backend), tuple(REGISTER))


class Windows(NamedTuple):
    """Element ``k`` of window ``l`` lies at ``l * stride + k * dilation - padding`` along each axis."""

    inside: Ints
    outside: Ints
    kernel: Ints
    stride: Ints
    padding: Ints
    dilation: Ints

    @property
    def numbers(self) -> dict[str, int]:
        sizes = {f"s{d}": n for d, n in enumerate(self.inside)} | {f"l{d}": n for d, n in enumerate(self.outside)}
        return {**sizes, "inside": prod(self.inside), "places": prod(self.outside)}

    @property
    def key(self) -> tuple[Ints, ...]:
        """What is printed into the texts."""
        return self.kernel, self.stride, self.padding, self.dilation

    def split(self, index: str, names: str, sizes: str) -> str:
        """The coordinates of a flat index among ``inside`` (s) or ``outside`` (l), as i32."""
        text = f"var {names}rest = {index};"
        for d in reversed(range(len(self.kernel))):
            text += f" let {names}{d} = i32({names}rest % a.{sizes}{d}); {names}rest = {names}rest / a.{sizes}{d};"
        return text

    def loops(self, inner: str) -> str:
        """``inner`` for each element ``k`` of the windows, ``kk`` its flat number."""
        text = inner.replace("KK", self._flat("k", self.kernel))
        for d, n in reversed(list(enumerate(self.kernel))):
            text = f"for (var k{d} = 0; k{d} < {n}; k{d}++) {{ {text} }}"
        return text

    def _flat(self, name: str, sizes: Ints) -> str:
        found = "0"
        for d, n in enumerate(sizes):
            found = f"({found} * {n} + {name}{d})"
        return f"u32({found})"

    def element(self, then: str) -> str:
        """Where element k of window l is: ``then`` with it as ``at``, unless it lies in the padding."""
        text, tests, at = "", [], "0"
        for d in range(len(self.kernel)):
            text += f"let s{d} = l{d} * {self.stride[d]} + k{d} * {self.dilation[d]} - {self.padding[d]}; "
            tests.append(f"s{d} >= 0 && s{d} < i32(a.s{d})")
            at = f"({at} * i32(a.s{d}) + s{d})"
        return f"{text} if ({' && '.join(tests)}) {{ let at = u32({at}); {then} }}"

    def window(self, then: str) -> str:
        """The window whose element k is s: ``then`` with its flat number as ``at``, if there is one."""
        text, tests, at = "", [], "0"
        for d in range(len(self.kernel)):
            text += f"let e{d} = s{d} + {self.padding[d]} - k{d} * {self.dilation[d]}; "
            text += f"let l{d} = e{d} / {self.stride[d]}; "
            tests.append(f"e{d} >= 0 && l{d} * {self.stride[d]} == e{d} && l{d} < i32(a.l{d})")
            at = f"({at} * i32(a.l{d}) + l{d})"
        return f"{text} if ({' && '.join(tests)}) {{ let at = u32({at}); {then} }}"

    def counted(self, include: bool) -> str:
        """How many elements of window l the mean is of."""
        terms = []
        for d, (k, t, p) in enumerate(zip(self.kernel, self.stride, self.padding, strict=True)):
            low, high = f"(l{d} * {t} - {p})", f"(l{d} * {t} - {p} + {k})"
            if include:
                terms.append(f"(min({high}, i32(a.s{d}) + {p}) - {low})")
            else:
                terms.append(f"(min({high}, i32(a.s{d})) - max({low}, 0))")
        return "f32(" + " * ".join(terms) + ")"


def windows(inside: Ints, kernel: Ints, stride: Ints, padding: Ints, dilation: Ints, ceil: bool = False) -> Windows:
    """The windows that fit; with ``ceil`` a last one may stick out, if it starts inside."""
    outside = []
    for n, k, s, p, d in zip(inside, kernel, stride, padding, dilation, strict=True):
        count = (n + 2 * p - d * (k - 1) - 1 + (s - 1 if ceil else 0)) // s + 1
        outside.append(count - 1 if ceil and (count - 1) * s >= n + p else count)
    return Windows(tuple(inside), tuple(outside), tuple(kernel), tuple(stride), tuple(padding), tuple(dilation))


# -- convolutions ----------------------------------------------------------------------------------------
class _Work:
    """The geometry of a convolution, and its columns: (images, groups, rows of a group, places)."""

    def __init__(self, backend: WebGPUBackend, shape: Ints, weight: Ints, groups: int, w: Windows, like: StridedArray):
        self.backend, self.w, self.like, self.groups = backend, w, like, groups
        self.batch, self.channels, self.filters = shape[0], shape[1], weight[0]
        self.rows, self.places = prod(weight[1:]), prod(w.outside)
        bytes_of_one = 4 * max(1, self.rows * groups * self.places)
        room = min(_ROOM, backend.device(like.index).largest // 2)
        self.step = max(1, min(self.batch, room // bytes_of_one))

    def matrices(self, weight: StridedArray) -> StridedArray:
        """A weight as (groups, filters of a group, rows of a group)."""
        return self.backend.dense(weight).reshaped((self.groups, self.filters // self.groups, self.rows))

    def part(self, x: StridedArray, first: int, count: int, channels: int) -> StridedArray:
        """Some images of a contiguous (N, channels, *L) as (images, groups, channels of a group, places)."""
        each = channels // self.groups
        shape = (count, self.groups, each, self.places)
        strides = (channels * self.places, each * self.places, self.places, 1)
        return x.viewed(shape, strides, x.offset + first * channels * self.places)

    def columns(self, x: StridedArray, first: int, count: int) -> StridedArray:
        """The columns of some images."""
        out = self.backend.empty((count, self.groups, self.rows, self.places), x.dtype, x.index)
        reach, last = prod(self.w.kernel), len(self.w.kernel) - 1
        taps = reversed(list(enumerate(self.w.kernel)))
        text = f"""if (i >= a.count) {{ return; }}
  let line = i % a.lines; let c = i / a.lines; var krest = c % {reach}u; let plane = c / {reach}u;
  {" ".join(f"let k{d} = i32(krest % {n}u); krest = krest / {n}u;" for d, n in taps)}
  let first = line * a.run; {self.w.split("first", "l", "l").replace(f"let l{last} =", "let first_ =")}
  for (var l{last} = first_; l{last} < min(first_ + i32(a.run), i32(a.l{last})); l{last}++) {{
    var v = 0.0;
    {self.w.element("v = $x[plane * a.inside + at];")}
    $q[c * a.places + first + u32(l{last} - first_)] = v;
  }}"""
        run = self.w.outside[last] if self.backend.device(x.index).processor else 1
        lines = self.places // run
        images = x.viewed((count, *x.shape[1:]), x.strides, x.offset + first * self.channels * prod(self.w.inside))
        numbers = {"count": out.size // run, "run": run, "lines": lines, **self.w.numbers}
        threads = out.size // run
        self.backend.run(("columns", self.w.key), lambda: text, {"q": out}, {"x": images}, numbers, threads=threads)
        return out


def conv(
    backend: WebGPUBackend, x: StridedArray, weight: StridedArray, bias: StridedArray | None, *, stride: Ints,
    padding: Ints, dilation: Ints, groups: int,
) -> StridedArray:  # fmt: skip
    """Cross-correlation plus bias: (N, O, *L)."""
    w = windows(x.shape[2:], weight.shape[2:], stride, padding, dilation)
    out = backend.empty((x.shape[0], weight.shape[0], *w.outside), x.dtype, x.index)
    if not out.size:
        return out
    work, x = _Work(backend, x.shape, weight.shape, groups, w, x), backend.dense(x)
    matrices = work.matrices(weight)
    for first in range(0, work.batch, work.step):
        count = min(work.step, work.batch - first)
        target = work.part(out, first, count, work.filters)
        matmul_into(backend, target, matrices, work.columns(x, first, count))
    if bias is not None:
        line = bias.viewed((bias.size, *(1,) * len(w.kernel)), (bias.strides[0], *(0,) * len(w.kernel)), bias.offset)
        backend.expression("x + y", (x.dtype, x.dtype), x.dtype)(out, line, out=out)
    return out


def conv_grad_input(
    backend: WebGPUBackend, grad: StridedArray, weight: StridedArray, *, shape: Ints, stride: Ints, padding: Ints,
    dilation: Ints, groups: int,
) -> StridedArray:  # fmt: skip
    """Each element of the input gathers from the columns' gradients in which it stood."""
    w = windows(tuple(shape[2:]), weight.shape[2:], stride, padding, dilation)
    out = backend.empty(tuple(shape), grad.dtype, grad.index)
    if not out.size:
        return out
    if not grad.size or not weight.size:
        backend.fill(out, bytes(out.dtype.itemsize))
        return out
    work, grad = _Work(backend, tuple(shape), weight.shape, groups, w, grad), backend.dense(grad)
    turned = work.matrices(weight).permuted((0, 2, 1))
    gathered = w.window(f"v += $y[(plane * {prod(w.kernel)}u + KK) * a.places + at];")
    text = f"""if (i >= a.count) {{ return; }}
  let place = i % a.inside; let plane = i / a.inside; {w.split("place", "s", "s")} var v = 0.0;
  {w.loops(gathered)}
  $q[i] = v;"""
    for first in range(0, work.batch, work.step):
        count = min(work.step, work.batch - first)
        columns = backend.empty((count, groups, work.rows, work.places), dt.float32, grad.index)
        matmul_into(backend, columns, turned, work.part(grad, first, count, work.filters))
        size = prod(shape[1:])
        images = out.viewed((count, *out.shape[1:]), out.strides, first * size)
        numbers = {"count": count * size, **w.numbers}
        backend.run(("fold", w.key), lambda: text, {"q": images}, {"y": columns}, numbers, threads=count * size)
    return out


def conv_grad_weight(
    backend: WebGPUBackend, grad: StridedArray, x: StridedArray, *, shape: Ints, stride: Ints, padding: Ints,
    dilation: Ints, groups: int,
) -> StridedArray:  # fmt: skip
    """The products of each image's gradient and columns, added up in float32."""
    w = windows(x.shape[2:], tuple(shape[2:]), stride, padding, dilation)
    if not grad.size or not x.size or not prod(shape):
        out = backend.empty(tuple(shape), grad.dtype, grad.index)
        if out.size:
            backend.fill(out, bytes(out.dtype.itemsize))
        return out
    work = _Work(backend, x.shape, tuple(shape), groups, w, x)
    grad, x = backend.dense(grad), backend.dense(x)
    each = prod(shape)
    products = backend.empty((work.batch, groups, work.filters // groups, work.rows), dt.float32, x.index)
    for first in range(0, work.batch, work.step):
        count = min(work.step, work.batch - first)
        columns = work.columns(x, first, count).permuted((0, 1, 3, 2))
        target = products.viewed((count, *products.shape[1:]), products.strides, first * each)
        matmul_into(backend, target, work.part(grad, first, count, work.filters), columns)
    total = reduced(backend, "sum", products, axis=0).reshaped(tuple(shape))
    return total if total.dtype is grad.dtype else backend.copied(total, grad.dtype)


# -- pools -----------------------------------------------------------------------------------------------
def max_pool(
    backend: WebGPUBackend, x: StridedArray, *, kernel: Ints, stride: Ints, padding: Ints, dilation: Ints, ceil: bool
) -> tuple[StridedArray, StridedArray]:
    """The largest of each window, and its place in the flattened sizes; nan is largest."""
    w = windows(x.shape[2:], kernel, stride, padding, dilation, ceil)
    shape = (*x.shape[:2], *w.outside)
    out, places = backend.empty(shape, x.dtype, x.index), backend.result(shape, dt.int64, x.index)
    if not out.size:
        return out, places
    if x.dtype is dt.bool_:
        better = "(v && !best)"
    else:
        better = "(v > best" + (" || (isnan_(v) && !isnan_(best)))" if x.dtype in FLOATS else ")")
    kind = "i64(u64(where_))" if REGISTER[places.dtype] == "i64" else "i32(where_)"
    inner = f"let v = $x[plane * a.inside + at]; if (!any_ || {better}) {{ best = v; where_ = at; any_ = true; }}"
    text = f"""if (i >= a.count) {{ return; }}
  let place = i % a.places; let plane = i / a.places; {w.split("place", "l", "l")}
  var best: $x:T; var where_ = 0u; var any_ = false;
  {w.loops(w.element(inner))}
  $q[i] = best; $p[i] = {kind};"""
    numbers = {"count": out.size, **w.numbers}
    ins = {"x": backend.dense(x)}
    backend.run(("max_pool", w.key), lambda: text, {"q": out, "p": places}, ins, numbers, threads=out.size)
    return out, places


def avg_pool(
    backend: WebGPUBackend, x: StridedArray, *, kernel: Ints, stride: Ints, padding: Ints, ceil: bool,
    count_include_pad: bool, divisor: int | None,
) -> StridedArray:  # fmt: skip
    """The mean of each window."""
    w = windows(x.shape[2:], kernel, stride, padding, (1,) * len(kernel), ceil)
    out = backend.empty((*x.shape[:2], *w.outside), x.dtype, x.index)
    if out.size:
        by = f"f32({divisor})" if divisor else w.counted(count_include_pad)
        text = f"""if (i >= a.count) {{ return; }}
  let place = i % a.places; let plane = i / a.places; {w.split("place", "l", "l")} var v = 0.0;
  {w.loops(w.element("v += $x[plane * a.inside + at];"))}
  $q[i] = v / {by};"""
        key, numbers = ("avg_pool", w.key, divisor, count_include_pad), {"count": out.size, **w.numbers}
        backend.run(key, lambda: text, {"q": out}, {"x": backend.dense(x)}, numbers, threads=out.size)
    return out


def avg_pool_grad(
    backend: WebGPUBackend, grad: StridedArray, *, shape: Ints, kernel: Ints, stride: Ints, padding: Ints, ceil: bool,
    count_include_pad: bool, divisor: int | None,
) -> StridedArray:  # fmt: skip
    """Each element of ``grad`` spread evenly over its window of ``shape``."""
    w = windows(tuple(shape[2:]), kernel, stride, padding, (1,) * len(kernel), ceil)
    out = backend.empty(tuple(shape), grad.dtype, grad.index)
    if out.size:
        by = f"f32({divisor})" if divisor else w.counted(count_include_pad)
        text = f"""if (i >= a.count) {{ return; }}
  let place = i % a.inside; let plane = i / a.inside; {w.split("place", "s", "s")} var v = 0.0;
  {w.loops(w.window(f"v += $g[plane * a.places + at] / {by};"))}
  $q[i] = v;"""
        key, numbers = ("avg_pool_grad", w.key, divisor, count_include_pad), {"count": out.size, **w.numbers}
        backend.run(key, lambda: text, {"q": out}, {"g": backend.dense(grad)}, numbers, threads=out.size)
    return out
