"""What stands on flambeau for torch's tensors, dtypes, functions and methods, and in what two results differ."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import operator
import sys
import types
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

import flambeau as fb
import flambeau.compat.torch._ops as compat_ops
import flambeau.masked
import flambeau.nn.functional
import flambeau.signal
import flambeau.sparse

#: (relative, absolute)
TOLERANCES = {torch.float32: (2e-4, 2e-4), torch.complex64: (2e-4, 2e-4), torch.float64: (1e-5, 1e-6),
              torch.complex128: (1e-5, 1e-6), torch.float16: (2e-3, 2e-3), torch.bfloat16: (2e-2, 2e-2)}  # fmt: skip
COMPRESSED = (torch.sparse_csr, torch.sparse_csc, torch.sparse_bsr, torch.sparse_bsc)


class Face:
    """flambeau, with what flambeau.compat alone adds to it."""

    ops = compat_ops.ops

    def __getattr__(self, name: str) -> Any:
        return getattr(fb, name)


FACE = Face()
_IN_FLAMBEAU: dict[Callable[..., Any], Callable[..., Any]] = {}


def counterpart(value: Any) -> Any:
    """What flambeau is given where torch is given ``value``."""
    if isinstance(value, torch.Tensor):
        return tensor(value)
    if isinstance(value, (torch.dtype, torch.memory_format, torch.layout)):
        return getattr(fb, str(value).removeprefix("torch."))
    if isinstance(value, torch.device):
        return fb.device(str(value))
    if isinstance(value, torch.Size):
        return fb.Size(value)
    if isinstance(value, torch.Generator):
        return fb.Generator()
    if isinstance(value, (tuple, list)):
        made = [counterpart(v) for v in value]
        return type(value)(*made) if hasattr(value, "_fields") else type(value)(made)
    if isinstance(value, dict):
        return {k: counterpart(v) for k, v in value.items()}
    if isinstance(value, types.FunctionType):
        return in_flambeau(value)
    if isinstance(value, torch.nn.Module):
        return getattr(fb.nn, type(value).__name__)()
    if type(value).__name__ == "LinearCrossEntropyOptions":
        named = {f.name: counterpart(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return fb.nn.LinearCrossEntropyOptions(**named)
    return value


def tensor(t: torch.Tensor) -> fb.Tensor:
    """The same tensor: values, strides, layout, whether it wants a gradient."""
    made = sparse_tensor(t.detach()) if t.layout is not torch.strided else dense_tensor(t.detach())
    return made.requires_grad_() if t.requires_grad else made


def dense_tensor(t: torch.Tensor) -> fb.Tensor:
    plain = (t.clone() if t._is_zerotensor() else t).resolve_conj().resolve_neg()
    if plain.dtype is torch.bfloat16:
        return fb.from_numpy(plain.float().numpy().copy("K")).to(fb.bfloat16)
    if plain.dtype is torch.complex32:
        return fb.from_numpy(plain.to(torch.complex64).numpy().copy("K")).to(fb.complex32)
    return fb.from_numpy(plain.numpy().copy("K"))


def sparse_tensor(t: torch.Tensor) -> fb.Tensor:
    size = tuple(t.shape)
    if t.layout is torch.sparse_coo:
        made = fb.sparse_coo_tensor(tensor(t._indices()), tensor(t._values()), size)
        return made.coalesce() if t.is_coalesced() else made
    by_row = t.layout in (torch.sparse_csr, torch.sparse_bsr)
    begins, places = (t.crow_indices(), t.col_indices()) if by_row else (t.ccol_indices(), t.row_indices())
    return fb.sparse_compressed_tensor(tensor(begins), tensor(places), tensor(t.values()), size,
                                       layout=counterpart(t.layout))  # fmt: skip


def in_flambeau(fn: Callable[..., Any]) -> Callable[..., Any]:
    """A function of torch's tests in which ``torch`` means flambeau."""
    if isinstance(fn, functools.partial):
        return functools.partial(in_flambeau(fn.func), *fn.args, **fn.keywords)
    if not isinstance(fn, types.FunctionType) or not fn.__module__.startswith("torch.testing"):
        return fn
    if fn in _IN_FLAMBEAU:
        return _IN_FLAMBEAU[fn]
    names = {**fn.__globals__, "torch": FACE}
    cells = fn.__closure__ and tuple(types.CellType(_cell(c.cell_contents)) for c in fn.__closure__)
    made = _IN_FLAMBEAU[fn] = types.FunctionType(fn.__code__, names, fn.__name__, fn.__defaults__, cells)
    made.__kwdefaults__ = fn.__kwdefaults__
    for name in fn.__code__.co_names:
        used = fn.__globals__.get(name)
        if isinstance(used, types.ModuleType) and used.__name__.startswith("torch."):
            with contextlib.suppress(AttributeError):  # of torch's own machinery
                names[name] = operator.attrgetter(used.__name__.removeprefix("torch."))(fb)
        elif isinstance(used, types.FunctionType) and not used.__module__.endswith("_utils"):  # they keep seeds
            names[name] = in_flambeau(used)
    return made


def _cell(value: Any) -> Any:
    """What a function of torch's tests holds on to: a function of torch's is flambeau's of that name."""
    if isinstance(value, types.FunctionType) and value.__module__.startswith("torch.testing"):
        return in_flambeau(value)
    if hasattr(value, "__name__") and (getattr(value, "__module__", None) or "").startswith("torch"):
        return functional(value) or value
    return value


def found(info: Any) -> Callable[..., Any] | None:
    """flambeau's function of an entry: by its name, else the entry's own function with flambeau for torch."""
    if isinstance(info.op, (torch._ops.OpOverload, torch._ops.OpOverloadPacket)):
        return named(f"torch.ops.{info.op}")
    if isinstance(info.op, types.FunctionType) and info.op.__module__.startswith("torch.testing"):
        return in_flambeau(info.op)
    return named(info.name)


def named(name: str) -> Callable[..., Any] | None:
    """The function or method of a name as torch's database writes it."""
    if name.startswith("torch.ops."):
        fn: Callable[..., Any] = operator.attrgetter(name.removeprefix("torch."))(FACE)
        return fn
    for owner in (fb, fb.Tensor):
        for spelled in (name, f"__{name}__"):
            try:
                fn = operator.attrgetter(spelled.removeprefix("torch."))(owner)
            except AttributeError:
                continue
            if callable(fn):
                return fn
    return None


def method(theirs: Any) -> Any:
    """The method that stands for one of torch's, or for a part of one, or None."""
    if isinstance(theirs, functools.partial):
        ours = functional(theirs.func)
        return ours and functools.partial(ours, *theirs.args, **theirs.keywords)
    if isinstance(theirs, types.FunctionType) and theirs.__module__.startswith("torch.testing"):
        return in_flambeau(theirs)
    if getattr(theirs, "__module__", "") == "_operator":
        return theirs
    return getattr(fb.Tensor, theirs.__name__, None)


def functional(theirs: Any) -> Any:
    """The function of the same module and name."""
    owner = (getattr(theirs, "__module__", None) or "").replace("torch", "flambeau", 1)
    return getattr(sys.modules.get(owner, fb), theirs.__name__, None)


# -- comparing ---------------------------------------------------------------------------------------
def leaves(value: Any) -> list[Any]:
    if isinstance(value, (tuple, list)) and not isinstance(value, (torch.Size, fb.Size)):
        return [leaf for v in value for leaf in leaves(v)]
    return [value]


def array(t: Any) -> np.ndarray[Any, Any]:
    T = torch if isinstance(t, torch.Tensor) else fb
    t = t.detach()
    if t.layout is not T.strided:
        t = t.to_dense()
    if t.dtype is T.bfloat16:
        t = t.float()
    elif t.dtype is T.complex32:
        t = t.to(T.complex64)
    return np.asarray(t.resolve_conj().resolve_neg().numpy(force=True))


def difference(wanted: Any, got: Any, values: bool = True, computed: torch.dtype | None = None) -> str:
    """What differs, or "". ``computed``: the dtype of an operand that rounds more than the results do."""
    ours, theirs = leaves(got), leaves(wanted)
    if len(ours) != len(theirs):
        return f"{len(ours)} results, torch has {len(theirs)}"
    for w, g in zip(theirs, ours, strict=True):
        if text := _difference(w, g, values, computed):
            return text
    return ""


def _difference(w: Any, g: Any, values: bool, computed: torch.dtype | None) -> str:
    if not isinstance(w, torch.Tensor):
        if isinstance(w, (torch.dtype, torch.Size)) or isinstance(g, fb.Tensor):
            return "" if counterpart(w) == g and not isinstance(g, fb.Tensor) else f"{g!r}, torch {w!r}"
        return "" if w == g or w != w or not values else f"{g!r}, torch {w!r}"
    if not isinstance(g, fb.Tensor):
        return f"{type(g).__name__}, torch a tensor"
    for what in ("shape", "dtype", "layout"):
        wanted, got = counterpart(getattr(w, what)), getattr(g, what)
        if got != wanted:
            return f"{what} {got}, torch {wanted}"
    return _off(computed or w.dtype, array(w), array(g)) if values else ""


def _off(dtype: torch.dtype, a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> str:
    rtol, atol = TOLERANCES.get(dtype, (0, 0))
    largest = np.abs(a[np.isfinite(a)]).max(initial=0) if a.dtype.kind in "fc" else 0
    atol = max(atol, rtol / 100 * float(largest))
    if np.allclose(b, a, rtol, atol, equal_nan=True):
        return ""
    off = np.abs(b.astype(complex) - a.astype(complex))
    return f"values off by {np.nanmax(off):.3g} (of {np.nanmax(np.abs(a.astype(complex))):.3g})"
