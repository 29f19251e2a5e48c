"""Memory made of immutable arrays: a cell holds an array, a write puts another one in.

The functions below are pure and know nothing of cells: they read a layout from the array in a cell, and make the
array that a cell holds after a write to a layout. Offsets are operands and not part of what is compiled, so that
a loop over slices compiles one program.
"""

from __future__ import annotations

from functools import lru_cache
from math import prod
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from flambeau.backends import layout as lay
from flambeau.backends.base import Layout, Shape

#: An array of JAX, or of the lazy device a node that will become one: both have ``shape``, ``dtype`` and ``size``.
Value = Any


def aval(shape: Shape, dtype: Any) -> Any:
    """An array to come, as JAX describes it."""
    return jax.ShapeDtypeStruct(shape, dtype)  # type: ignore[no-untyped-call]


class Cell:
    """Memory of ``nbytes`` on a device: ``value`` is an array of any shape and dtype whose bytes these are.

    None stands for values that nobody has set. The array may be a little longer than the memory.
    """

    __slots__ = ("index", "nbytes", "value")

    def __init__(self, nbytes: int, index: int):
        self.nbytes, self.index = nbytes, index
        self.value: Value = None


class Plan(NamedTuple):
    """How a layout stands in a flat array, if it is a box: ``sizes`` from ``starts`` on in an array of shape ``dims``.

    ``dims`` are the strides' own: each axis of the layout that has a stride, the largest first, and what lies between
    two elements of the innermost. ``axes`` are these axes of the layout, ``flips`` those that run backwards.
    """

    dims: Shape
    sizes: Shape
    starts: tuple[int, ...]
    axes: tuple[int, ...]
    flips: tuple[int, ...]


@lru_cache(4096)
def plan_of(place: Layout, total: int) -> Plan | None:
    """The box of a layout in ``total`` elements; None where it is none (overlapping windows, crooked strides)."""
    shape, strides, offset = place
    axes = sorted((a for a, n in enumerate(shape) if n != 1 and strides[a]), key=lambda a: -abs(strides[a]))
    offset += sum((shape[a] - 1) * strides[a] for a in axes if strides[a] < 0)
    dims, sizes, starts, outer = [], [], [], total
    for a in axes:
        step = abs(strides[a])
        if outer % step or offset % outer // step + shape[a] > outer // step:
            return None
        dims.append(outer // step)
        sizes.append(shape[a])
        starts.append(offset % outer // step)
        outer = step
    flips = tuple(i for i, a in enumerate(axes) if strides[a] < 0)
    return Plan((*dims, outer), (*sizes, 1), (*starts, offset % outer), tuple(axes), flips)


def is_whole(place: Layout, total: int) -> bool:
    """Whether a layout is all of ``total`` elements, in their order."""
    return place.offset == 0 and prod(place.shape) == total and lay.is_contiguous(place.shape, place.strides)


class Form(NamedTuple):
    """What of a plan is compiled: all but where it starts."""

    shape: Shape
    plan: Plan


def read_box(flat: Value, *starts: Value, form: Form) -> Value:
    """The elements of a box, as the layout's shape."""
    shape, plan = form
    part = lax.dynamic_slice(flat.reshape(plan.dims), starts, plan.sizes).reshape(plan.sizes[:-1])
    part = lax.rev(part, plan.flips).transpose(tuple(np.argsort(plan.axes)))
    kept = tuple([n if a in plan.axes else 1 for a, n in enumerate(shape)])
    return jnp.broadcast_to(part.reshape(kept), shape)


def write_box(flat: Value, value: Value, *starts: Value, form: Form) -> Value:
    """The flat array with a box of it replaced.

    By a choice, element by element, and not by ``dynamic_update_slice`` of the array itself: where the value is read
    from the same array in one program, XLA's CPU compiler (of JAX 0.10.2) lets the update write before the read.
    """
    _, plan = form
    inner = value.reshape(tuple([value.shape[a] for a in sorted(plan.axes)]))
    order = tuple([sorted(plan.axes).index(a) for a in plan.axes])
    part = lax.rev(inner.transpose(order), plan.flips).reshape(plan.sizes)
    inside = jnp.ones((), bool)
    for axis, (start, size) in enumerate(zip(starts, plan.sizes, strict=True)):
        at = lax.broadcasted_iota(jnp.int64, plan.dims, axis)
        inside = inside & (at >= start) & (at < start + size)
    placed = lax.dynamic_update_slice(jnp.zeros(plan.dims, flat.dtype), part, starts)
    return jnp.where(inside, placed, flat.reshape(plan.dims)).reshape(flat.shape)


def _positions(shape: Shape, strides: tuple[int, ...], offset: Value) -> Value:
    where = jnp.full(shape, offset, jnp.int64)
    for axis, stride in enumerate(strides):
        where = where + lax.broadcasted_iota(jnp.int64, shape, axis) * stride
    return where


def read_any(flat: Value, offset: Value, *, shape: Shape, strides: tuple[int, ...]) -> Value:
    """The elements of any layout, one by one."""
    return flat[_positions(shape, strides, offset)]


def write_any(flat: Value, value: Value, offset: Value, *, strides: tuple[int, ...]) -> Value:
    """The flat array with the elements of any layout replaced."""
    return flat.at[_positions(value.shape, strides, offset).reshape(-1)].set(value.reshape(-1))


# -- dtypes and shapes -----------------------------------------------------------------------------
def shaped(value: Value, *, shape: Shape) -> Value:
    """Another shape of the same elements."""
    return value.reshape(shape)


def filled(value: Value, *, shape: Shape) -> Value:
    """One value everywhere."""
    return jnp.broadcast_to(value, shape)


def convert(x: Value, *, dtype: np.dtype[Any]) -> Value:
    """A cast as C's: an integer keeps its low bits, a float loses its fraction; XLA's own saturates."""
    if x.dtype == dtype:
        return x
    if x.dtype.kind == "c" and dtype.kind not in "cb":
        x = x.real
    if dtype.kind == "b":
        return x != 0
    if dtype.kind in "iu" and jnp.issubdtype(x.dtype, jnp.floating):
        if dtype.itemsize < 8:
            return x.astype(jnp.int64).astype(dtype)
        if dtype.kind == "u":
            return jnp.where(x < 0, x.astype(jnp.int64).astype(dtype), x.astype(dtype))
    return x.astype(dtype)


def recast(value: Value, *, dtype: np.dtype[Any]) -> Value:
    """The bytes of an array as a flat array of another dtype, with zeros behind them where they do not fill it."""
    flat = value.reshape(-1)
    if flat.dtype.kind == "c":
        flat = jnp.stack([flat.real, flat.imag], axis=-1).reshape(-1)
    flat = flat.astype(jnp.uint8) if flat.dtype.kind == "b" else flat
    part = np.dtype(np.float32 if dtype.itemsize == 8 else np.float64) if dtype.kind == "c" else dtype
    if flat.dtype.itemsize != part.itemsize:
        flat = lax.bitcast_convert_type(flat, jnp.uint8).reshape(-1)
        flat = jnp.pad(flat, (0, -flat.size % dtype.itemsize))
        if part.itemsize > 1:
            flat = flat.reshape(-1, part.itemsize)
    if dtype.kind == "b":
        return flat != 0
    flat = flat if flat.dtype == part else lax.bitcast_convert_type(flat, part)
    return lax.complex(flat[::2], flat[1::2]) if dtype.kind == "c" else flat
