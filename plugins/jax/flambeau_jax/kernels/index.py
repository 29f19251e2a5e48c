"""Reading and writing by integer arrays. No index leads out of an array; a bad one raises at the host's next read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax.numpy as jnp

from flambeau.backends.strided import StridedArray
from flambeau_jax.cells import Value
from flambeau_jax.kernels.reduce import wide

if TYPE_CHECKING:
    from flambeau_jax.backend import JaxBackend


def bind(backend: JaxBackend) -> None:
    load, do = backend.load, backend.do

    def checked(name: str, index: StridedArray, axis: int, size: int) -> Value:
        """The indices; whether they are sound is looked at when the host next reads."""
        value = load(index)
        if index.size:
            backend.check_later(name, do(extent, value), axis, size)
        return value

    def along(x: StridedArray, axis: int) -> int:
        return x.shape[axis] if x.ndim else 1

    def gather(x: StridedArray, index: StridedArray, *, axis: int) -> StridedArray:
        places = checked("gather", index, axis, along(x, axis))
        return backend.new(do(gathered, load(x), places, axis=axis), x.index)

    def scatter(
        x: StridedArray, index: StridedArray, src: StridedArray, *, axis: int, reduce: str = "set"
    ) -> StridedArray:
        places = checked("scatter", index, axis, along(x, axis))
        return backend.new(do(scattered, load(x), places, load(src), axis=axis, reduce=reduce), x.index)

    def index_select(x: StridedArray, index: StridedArray, *, axis: int) -> StridedArray:
        places = checked("index_select", index, axis, along(x, axis))
        return backend.new(do(selected, load(x), places, axis=axis), x.index)

    def embedding(weight: StridedArray, index: StridedArray, *, padding_idx: int) -> StridedArray:
        places = checked("embedding", index, 0, weight.shape[0])
        return backend.new(do(selected, load(weight), places, axis=0), weight.index)

    def embedding_grad(grad: StridedArray, index: StridedArray, *, rows: int, padding_idx: int) -> StridedArray:
        places = checked("embedding_grad", index, 0, rows)
        found = do(added_rows, load(grad), places, rows=rows, padding_idx=padding_idx)
        return backend.new(found, grad.index)

    for fn in (gather, scatter, index_select, embedding, embedding_grad):
        backend.kernels.register(fn.__name__, fn)


def extent(index: Value) -> Value:
    """The smallest and the largest."""
    return jnp.stack([index.min(), index.max()])


def _inside(index: Value, size: int) -> Value:
    """``index`` with bad ones behind the end, where nothing is written."""
    return jnp.where((index < 0) | (index >= size), size, index)


def _cut(x: Value, shape: tuple[int, ...], axis: int | None = None) -> Value:
    return x[tuple([slice(None if a == axis else n) for a, n in enumerate(shape)])]


def gathered(x: Value, index: Value, *, axis: int) -> Value:
    if not x.ndim:
        return x
    return jnp.take_along_axis(_cut(x, index.shape, axis), index, axis, mode="clip")


def selected(x: Value, index: Value, *, axis: int) -> Value:
    if not x.ndim:
        return x
    return jnp.take(x, index, axis, mode="clip")


def scattered(x: Value, index: Value, src: Value, *, axis: int, reduce: str) -> Value:
    """A copy of ``x`` with ``src`` set, or combined with what stands there; low precision in float32."""
    if not x.ndim:
        flat = scattered(x.reshape(1), index.reshape(1), src.reshape(1), axis=0, reduce=reduce)
        return flat.reshape(())
    if not index.size:
        return x
    grid: list[Any] = list(jnp.meshgrid(*map(jnp.arange, index.shape), indexing="ij", sparse=True))
    grid[axis] = _inside(index, x.shape[axis])
    src = _cut(src, index.shape)
    if reduce == "set":
        return x.at[tuple(grid)].set(src, mode="drop")
    if x.dtype.kind == "b":
        reduce = {"add": "amax", "prod": "amin"}.get(reduce, reduce)
    method = {"add": "add", "prod": "multiply", "amax": "max", "amin": "min"}[reduce]
    return getattr(wide(x).at[tuple(grid)], method)(wide(src), mode="drop").astype(x.dtype)


def added_rows(grad: Value, index: Value, *, rows: int, padding_idx: int) -> Value:
    """The rows of a gradient added up by index, but for one of them."""
    flat, places = wide(grad).reshape(-1, grad.shape[-1]), _inside(index.reshape(-1), rows)
    if padding_idx >= 0:
        places = jnp.where(places == padding_idx, rows, places)
    return jnp.zeros((rows, grad.shape[-1]), flat.dtype).at[places].add(flat, mode="drop").astype(grad.dtype)
