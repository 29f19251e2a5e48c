"""Matrix products, batched, for operands of any strides."""

from __future__ import annotations

from functools import partial
from math import prod
from typing import TYPE_CHECKING, Final

from flambeau.backends import layout as lay
from flambeau.backends.strided import StridedArray
from flambeau.core import dtype as dt
from flambeau_webgpu.wgsl import FLOATS, REGISTER, literal, wrapped

if TYPE_CHECKING:
    from flambeau_webgpu.backend import WebGPUBackend

_TILE: Final = 32  # rows and columns of the result that a workgroup makes, 4 by 4 an invocation
_DEPTH: Final = 16
_SIDES: Final = (16, 8)  # rows and columns of an invocation on processors, the larger where there are
_MANY: Final = 128  # invocations then


def bind(backend: WebGPUBackend) -> None:
    """Register the product."""
    backend.kernels.register("matmul", partial(matmul, backend), tuple(REGISTER))


def matmul(backend: WebGPUBackend, x: StridedArray, y: StridedArray) -> StridedArray:
    """``x @ y`` for arrays of at least two axes; the axes before the last two broadcast."""
    batch = lay.broadcast_shapes(x.shape[:-2], y.shape[:-2])
    out = backend.empty((*batch, x.shape[-2], y.shape[-1]), x.dtype, x.index)
    matmul_into(backend, out, x, y)
    return out


def matmul_into(backend: WebGPUBackend, out: StridedArray, x: StridedArray, y: StridedArray) -> None:
    """Write ``x @ y`` to ``out``: contiguous matrices, in memory of its own."""
    batch, (m, k), (k2, n) = out.shape[:-2], x.shape[-2:], y.shape[-2:]
    if k != k2:
        raise lay.LayoutError(f"matmul: shapes {x.shape} and {y.shape} cannot be multiplied")
    if not out.size:
        return
    if not k:
        backend.fill(out, bytes(out.dtype.itemsize))
        return
    x, y = x.expanded((*batch, m, k)), y.expanded((*batch, k, n))
    folded = _folded(x, y)
    if folded is not None:  # one right operand for all: a single tall product
        x, y, m, batch = folded, y.viewed((k, n), y.strides[-2:], y.offset), folded.shape[0], ()
    shape, strides = lay.coalesce(batch, x.strides[:-2], y.strides[:-2])
    if len(shape) > 2:
        x, y = backend.dense(x), backend.dense(y)
        shape, strides = lay.coalesce(batch, x.strides[:-2], y.strides[:-2])
    fill = (1,) * (2 - len(shape))
    sizes = (*fill, *shape)
    (xb, xc), (yb, yc) = ((*(0,) * len(fill), *s) for s in (strides or ((), ())))
    numbers = {
        "b": prod(sizes), "c": sizes[1], "m": m, "n": n, "k": k, "xb": xb, "xc": xc, "yb": yb, "yc": yc,
        "xm": x.strides[-2], "xk": x.strides[-1], "yk": y.strides[-2], "yn": y.strides[-1],
    }  # fmt: skip
    _launch(backend, out, x, y, numbers)


def _folded(x: StridedArray, y: StridedArray) -> StridedArray | None:
    """``x`` with its batch axes as rows, if ``y`` is the same for all of them."""
    if x.ndim == 2 or any(s for s, n in zip(y.strides[:-2], y.shape[:-2], strict=True) if n > 1):
        return None
    shape = (prod(x.shape[:-1]), x.shape[-1])
    strides = lay.view_strides(x.shape, x.strides, shape)
    return None if strides is None else x.viewed(shape, strides, x.offset)


def _launch(
    backend: WebGPUBackend, out: StridedArray, x: StridedArray, y: StridedArray, numbers: dict[str, int]
) -> None:
    b, m, n, k = (numbers[v] for v in "bmnk")
    dtype, arrays = x.dtype, {"x": x, "y": y}
    if dtype in FLOATS and m * n * k >= 4096:
        if backend.device(out.index).processor:
            wide = _in_pairs(x, numbers, "x"), _in_pairs(y, numbers, "y")
            deep = numbers["xk"] == 1, numbers["yk"] == 1
            if dtype is dt.float32 and _in_waves(backend, out, arrays, numbers, wide, deep):
                return
            side = next((s for s in _SIDES if b * -(-m // s) * -(-n // s) >= _MANY and min(m, n) >= s), _SIDES[-1])
            threads = b * -(-m // side) * -(-n // side)
            text = partial(_blocked, side, wide, deep)
            pairs = "".join(name for name, w in zip("xy", wide, strict=True) if w)
            backend.run(("blocked", side, wide, deep), text, {"q": out}, arrays, numbers, threads=threads, pairs=pairs)
            return
        if min(m, n) >= 8:
            groups = b * -(-m // _TILE) * -(-n // _TILE)
            backend.run("tiled", lambda: _TILED, {"q": out}, arrays, numbers, groups=groups, shared=_SHARED)
            return

    def body() -> str:
        term = "$x[px + k * a.xk] {} $y[py + k * a.yk]"
        step = wrapped(dtype, f"s + {term.format('*')}") if dtype is not dt.bool_ else f"s || ({term.format('&&')})"
        return f"""if (i >= a.b * a.m * a.n) {{ return; }}
  let c = i % a.n; let r = (i / a.n) % a.m; let t = i / (a.n * a.m);
  let px = t / a.c * a.xb + t % a.c * a.xc + r * a.xm;
  let py = t / a.c * a.yb + t % a.c * a.yc + c * a.yn; var s = {literal(0, dtype)};
  for (var k = 0u; k < a.k; k++) {{ s = {step}; }}
  $q[i] = s;"""

    backend.run("product", body, {"q": out}, arrays, numbers, threads=b * m * n)


# -- processors ------------------------------------------------------------------------------------------
def _in_pairs(x: StridedArray, numbers: dict[str, int], name: str) -> bool:
    """Whether elements can be read two at a time, along the axis on which they are neighbours."""
    if x.dtype is not dt.float32 or not x.buffer.memory.device.pairs:
        return False
    down, across = ("k", "m") if name == "x" else ("k", "n")
    steps = [numbers[f"{name}b"], numbers[f"{name}c"], x.offset]
    for near, far in ((down, across), (across, down)):
        if numbers[f"{name}{near}"] == 1:
            return not any(v % 2 for v in (*steps, numbers[f"{name}{far}"], numbers[near], numbers["k"]))
    return False


def _blocked(side: int, wide: tuple[bool, bool], deep: tuple[bool, bool]) -> str:
    """``side`` by ``side`` results in the registers of each invocation, two terms at a time.

    A driver that runs on the processor takes a memory access for each invocation on its own, whatever their places, and
    one of eight bytes takes no longer than one of four: what counts is products for each access.
    """
    starts, loads = [], []
    for name, size, first, pairs, down in zip("xy", "mn", ("row", "column"), wide, deep, strict=True):
        step = 1 if down or not pairs else 2  # lines that are read together
        for j in range(0, side, step):
            starts.append(f"let {name}_{j} = b{name} + min({first} + {j}u, a.{size} - {step}u) * a.{name}{size};")
            loads += _two_terms(name, j, pairs, down)
    sums, terms, ends = [], [], []
    for h in range(0, side, 4):
        for t in range(2):
            terms.append(f"let v{t}_{h} = vec4f({', '.join(f'y{h + c}_{t}' for c in range(4))});")
        for r in range(side):
            sums.append(f"var s{r}_{h} = vec4f();")
            terms.append(f"s{r}_{h} += x{r}_0 * v0_{h}; s{r}_{h} += x{r}_1 * v1_{h};")
            for c in range(4):
                inside = f"row + {r}u < a.m && column + {h + c}u < a.n"
                ends.append(f"if ({inside}) {{ $q[at + {r}u * a.n + {h + c}u] = s{r}_{h}[{c}]; }}")
    return "\n  ".join([
        f"let across = (a.n + {side - 1}u) / {side}u; let high = (a.m + {side - 1}u) / {side}u;",
        "let t = i / (across * high); if (t >= a.b) { return; }",
        f"let row = i / across % high * {side}u; let column = i % across * {side}u;",
        "let bx = t / a.c * a.xb + t % a.c * a.xc; let by = t / a.c * a.yb + t % a.c * a.yc;",
        *starts, *sums, "for (var k = 0u; k < a.k; k += 2u) {", *loads, *terms, "}",
        "let at = (t * a.m + row) * a.n + column;", *ends,
    ])  # fmt: skip


def _two_terms(name: str, j: int, pairs: bool, down: bool) -> list[str]:
    """Statements that read terms k and k + 1 of line ``j``, or where lines are neighbours, of that and the next."""
    place = f"{name}_{j} + k * a.{name}k"
    if not pairs:
        later = f"select(0.0, ${name}[{place} + a.{name}k], k + 1u < a.k)"
        return [f"let {name}{j}_0 = ${name}[{place}];", f"let {name}{j}_1 = {later};"]
    lines = []
    for t in (0,) if down else (0, 1):
        word = f"{name}w{j}_{t}"
        lines.append(f"let {word} = {name}[(a.{name}_at_ + {place} + {t}u * a.{name}k) / 2u];")
        low, high = (f"{name}{j}_0", f"{name}{j}_1") if down else (f"{name}{j}_{t}", f"{name}{j + 1}_{t}")
        lines += [f"let {low} = bitcast<f32>(u32({word}));", f"let {high} = bitcast<f32>(u32({word} >> 32u));"]
    return lines


#: Rows and columns that an invocation makes where eight run in lockstep, and what they need to be worth their text.
_ROWS: Final = (32, 16)
_COLUMNS: Final = 8
_WORTH: Final = 1 << 18


def _in_waves(
    backend: WebGPUBackend, out: StridedArray, arrays: dict[str, StridedArray], numbers: dict[str, int],
    wide: tuple[bool, bool], deep: tuple[bool, bool],
) -> bool:  # fmt: skip
    """Launch the product for invocations in lockstep, if it is large; else False."""
    b, m, n, k = (numbers[v] for v in "bmnk")
    if backend.device(out.index).lanes != 8 or m * n * k < _WORTH or m < 16 or n < 32:
        return False
    across, whole = -(-n // (8 * _COLUMNS)), k % 8 == 0
    rows = next((r for r in _ROWS if b * -(-m // r) * across >= 32), _ROWS[-1])
    wide = wide[0] and (whole or not deep[0]), wide[1]
    text, threads = partial(_waves, rows, wide, deep, whole), 8 * b * -(-m // rows) * across
    pairs = "".join(name for name, w in zip("xy", wide, strict=True) if w)
    backend.run(("waves", rows, wide, deep, whole), text, {"q": out}, arrays, numbers, threads=threads, pairs=pairs)
    return True


def _shared_terms(rows: int, pairs: bool, deep: bool, whole: bool) -> tuple[list[str], list[list[str]]]:
    """Statements by which eight invocations read eight terms of ``rows`` rows; row by row, the terms' texts."""
    place = "(a.x_at_ + bx + {})"
    if pairs and deep:  # half of them for the second half of the rows
        lines = [f"let half = lane / 4u * {rows // 2}u; let near = low + lane % 4u * 2u;"]
        lines += [
            f"let xw{r} = x[{place.format(f'min(row + {r}u + half, a.m - 1u) * a.xm + near')} / 2u];"
            for r in range(rows // 2)
        ]
        words = [(f"xw{r % (rows // 2)}", r // (rows // 2) * 4) for r in range(rows)]
        return lines + _halves(rows // 2), [
            [f"subgroupBroadcast({w}_{kk % 2}, {first + kk // 2}u)" for kk in range(8)] for w, first in words
        ]
    if pairs:  # two rows at once
        lines = []
        for r in range(rows // 2):
            word = f"x[{place.format(f'min(row + {2 * r}u, a.m - 2u) + mine * a.xk')} / 2u]"
            lines.append(f"let xw{r} = {word if whole else f'select(0lu, {word}, mine < a.k)'};")
        return lines + _halves(rows // 2), [
            [f"subgroupBroadcast(xw{r // 2}_{r % 2}, {kk}u)" for kk in range(8)] for r in range(rows)
        ]
    lines = []
    for r in range(rows):
        term = f"$x[bx + min(row + {r}u, a.m - 1u) * a.xm + mine * a.xk]"
        lines.append(f"let x{r} = {term if whole else f'select(0.0, {term}, mine < a.k)'};")
    return lines, [[f"subgroupBroadcast(x{r}, {kk}u)" for kk in range(8)] for r in range(rows)]


def _halves(count: int) -> list[str]:
    return [
        f"let xw{r}_{t} = bitcast<f32>(u32(xw{r}{' >> 32u' if t else ''}));" for r in range(count) for t in range(2)
    ]


def _waves(rows: int, wide: tuple[bool, bool], deep: tuple[bool, bool], whole: bool) -> str:
    """``rows`` by eight results in each of eight invocations in lockstep, eight terms at a time.

    They have columns of their own and the rows in common: each reads some terms of these and tells the others.
    """
    pairs, down = wide[1], deep[1]
    reads, terms = _shared_terms(rows, wide[0], deep[0], whole)
    step = 1 if down or not pairs else 2
    lines = [f"let y_{c} = by + min(column + {c}u, a.n - {step}u) * a.yn;" for c in range(0, _COLUMNS, step)]
    lines += [f"var s{r}_{h} = vec4f();" for r in range(rows) for h in (0, 4)]
    lines.append("for (var low = 0u; low < a.k; low += 8u) { let mine = low + lane;")
    lines += reads
    for kk in range(0, 8, 2):
        lines.append(f"{{ let k = low + {kk}u;")
        for c in range(0, _COLUMNS, step):
            lines += _two_terms("y", c, pairs, down)
        for t in range(2):
            values = [f"y{c}_{t}" for c in range(_COLUMNS)]
            values = values if whole else [f"select(0.0, {v}, k + {t}u < a.k)" for v in values]
            lines += [f"let v{t}_{h} = vec4f({', '.join(values[h : h + 4])});" for h in (0, 4)]
            for r in range(rows):
                lines.append(f"let b{r}_{t} = {terms[r][kk + t]};")
                lines += [f"s{r}_{h} += b{r}_{t} * v{t}_{h};" for h in (0, 4)]
        lines.append("}")
    lines.append("}")
    for r in range(rows):
        for c in range(_COLUMNS):
            inside = f"row + {r}u < a.m && column + {c}u < a.n"
            lines.append(f"if ({inside}) {{ $q[at + {r}u * a.n + {c}u] = s{r}_{c // 4 * 4}[{c % 4}]; }}")
    return "\n  ".join([
        f"let across = (a.n + {8 * _COLUMNS - 1}u) / {8 * _COLUMNS}u; let high = (a.m + {rows - 1}u) / {rows}u;",
        "let wave = i / 8u; let lane = i % 8u; let t = wave / (across * high); if (t >= a.b) { return; }",
        f"let row = wave / across % high * {rows}u; let column = (wave % across * 8u + lane) * {_COLUMNS}u;",
        "let bx = t / a.c * a.xb + t % a.c * a.xc; let by = t / a.c * a.yb + t % a.c * a.yc;",
        "let at = (t * a.m + row) * a.n + column;", *lines,
    ])  # fmt: skip


# -- GPUs ------------------------------------------------------------------------------------------------


def _tiled() -> str:
    """A tile by a workgroup: depth after depth of both operands through shared memory, 4 by 4 results in registers."""
    rows = "\n  ".join(
        f"if (r + {j}u < a.m) {{ for (var d = 0u; d < width; d++) {{ $q[at + {j}u * a.n + d] = s{j}[d]; }} }}"
        for j in range(4)
    )
    products = " ".join(f"s{j} += tx[k * {_TILE}u + down * 4u + {j}u] * v;" for j in range(4))
    return f"""let across = (a.n + {_TILE - 1}u) / {_TILE}u; let high = (a.m + {_TILE - 1}u) / {_TILE}u;
  let t = group / (across * high); if (t >= a.b) {{ return; }}
  let row = (group / across) % high * {_TILE}u; let column = group % across * {_TILE}u;
  let bx = t / a.c * a.xb + t % a.c * a.xc; let by = t / a.c * a.yb + t % a.c * a.yc;
  let down = lid / 8u; let right = lid % 8u;
  var s0 = vec4f(); var s1 = vec4f(); var s2 = vec4f(); var s3 = vec4f();
  for (var low = 0u; low < a.k; low += {_DEPTH}u) {{
    for (var e = lid; e < {_TILE * _DEPTH}u; e += 64u) {{
      let k = e % {_DEPTH}u; let j = e / {_DEPTH}u; var v = 0.0;
      if (row + j < a.m && low + k < a.k) {{ v = $x[bx + (row + j) * a.xm + (low + k) * a.xk]; }}
      tx[k * {_TILE}u + j] = v;
      let k2 = e / {_TILE}u; let j2 = e % {_TILE}u; var w = 0.0;
      if (column + j2 < a.n && low + k2 < a.k) {{ w = $y[by + (low + k2) * a.yk + (column + j2) * a.yn]; }}
      ty[k2 * {_TILE // 4}u + j2 / 4u][j2 % 4u] = w;
    }}
    workgroupBarrier();
    for (var k = 0u; k < {_DEPTH}u; k++) {{
      let v = ty[k * {_TILE // 4}u + right];
      {products}
    }}
    workgroupBarrier();
  }}
  let r = row + down * 4u; let c = column + right * 4u; let at = (t * a.m + r) * a.n + c;
  if (c < a.n) {{ let width = min(4u, a.n - c); {rows} }}"""


_TILED: Final = _tiled()
_SHARED: Final = (
    f"var<workgroup> tx: array<f32, {_TILE * _DEPTH}>; var<workgroup> ty: array<vec4f, {_TILE * _DEPTH // 4}>;"
)
