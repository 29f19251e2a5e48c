"""Steps of optimizers: one launch for each parameter, which updates it and its state where they are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from itertools import repeat
from typing import TYPE_CHECKING

from flambeau.backends import layout as lay
from flambeau.backends.strided import StridedArray
from flambeau_webgpu.wgsl import FLOATS

if TYPE_CHECKING:
    from flambeau_webgpu.backend import WebGPUBackend

Arrays = Sequence[StridedArray]


def bind(backend: WebGPUBackend) -> None:
    """Register the steps."""
    backend.kernels.register("sgd_step", partial(sgd_step, backend), FLOATS)
    backend.kernels.register("adam_step", partial(adam_step, backend), FLOATS)


def sgd_step(
    backend: WebGPUBackend, params: Arrays, grads: Arrays, buffers: Arrays, lr: float, weight_decay: float,
    momentum: float, dampening: float, *, nesterov: bool, maximize: bool,
) -> list[StridedArray]:  # fmt: skip
    """params -= lr * (gradient, or with ``buffers`` what momentum has gathered)."""
    gathered = ""
    if buffers:
        gathered = "let b = $m[i] * a.kept + d * a.taken; $m[i] = b; "
        gathered += "d = d + b * a.kept;" if nesterov else "d = b;"
    body = f"var d = {'-' if maximize else ''}$g[i] + $p[i] * a.decay; {gathered} $p[i] = $p[i] - d * a.rate;"
    numbers = {"rate": lr, "decay": weight_decay, "kept": momentum, "taken": 1 - dampening}
    rows = zip(grads, params, buffers or repeat(None), strict=False)
    return _each(backend, ("sgd", nesterov, maximize), body, "gpm", rows, numbers)


def adam_step(
    backend: WebGPUBackend, params: Arrays, grads: Arrays, first: Arrays, second: Arrays, largest: Arrays, lr: float,
    beta1: float, beta2: float, eps: float, weight_decay: float, count: float, *, decoupled: bool, maximize: bool,
) -> list[StridedArray]:  # fmt: skip
    """A step of Adam, the ``count``-th (from 1); ``largest`` is empty unless amsgrad."""
    most = "s = maximum_f32(s, $u[i]); $u[i] = s;" if largest else ""
    decay = "w = w * a.decay;" if decoupled else "d = d + w * a.decay;"
    body = f"""var w = $p[i]; var d = {"-" if maximize else ""}$g[i]; {decay}
  var f = $m[i]; f = f + keep_(d - f) * a.new1; $m[i] = f;
  var s = $v[i] * a.old2 + d * d * a.new2; $v[i] = s; {most}
  $p[i] = w - f / (sqrt(s) / a.root + a.eps) * a.size;"""
    numbers = {
        "size": lr / (1 - beta1**count), "new1": 1 - beta1, "old2": beta2, "new2": 1 - beta2,
        "root": (1 - beta2**count) ** 0.5, "eps": eps, "decay": 1 - lr * weight_decay if decoupled else weight_decay,
    }  # fmt: skip
    rows = zip(grads, params, first, second, largest or repeat(None), strict=False)
    return _each(backend, ("adam", decoupled, maximize), body, "gpmvu", rows, numbers)


def _each(
    backend: WebGPUBackend, key: tuple[object, ...], body: str, names: str,
    rows: Iterable[tuple[StridedArray | None, ...]], numbers: dict[str, float],
) -> list[StridedArray]:  # fmt: skip
    """Launch a step for each row of (gradient, parameter, state...)."""
    text = f"if (i >= a.n) {{ return; }} {body}"
    for row in rows:
        given = [x for x in row if x is not None]
        if given[0].size:
            sizes = {"n": given[0].size, **{k: float(v) for k, v in numbers.items()}}
            _one(backend, key, text, names, given, sizes)
    return []


def _one(
    backend: WebGPUBackend, key: tuple[object, ...], text: str, names: str, given: list[StridedArray],
    numbers: dict[str, float],
) -> None:  # fmt: skip
    """Where the layouts differ or have gaps, or share a memory, on copies, which are then written back."""
    param = given[1]
    flat = all(x.strides == param.strides for x in given) and _has_no_gaps(param)
    apart = len({id(x.buffer) for x in given}) == len(given)
    work = given if flat and apart else [backend.copied(x) for x in given]
    outs = dict(zip(names[1:], work[1:], strict=False))
    backend.run(key, lambda: text, outs, {"g": work[0]}, numbers, threads=int(numbers["n"]))
    for target, value in zip(given[1:], work[1:], strict=True):
        if value is not target:
            backend.copy_into(target, value)


def _has_no_gaps(x: StridedArray) -> bool:
    """Whether the elements are contiguous in some order of the axes, first element first."""
    order = sorted(range(x.ndim), key=lambda a: -x.strides[a])
    return lay.is_contiguous(tuple(x.shape[a] for a in order), tuple(x.strides[a] for a in order))
