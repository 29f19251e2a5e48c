"""The ``dtype=`` and ``out=`` that most functions take: :func:`deliver` hands their result over."""

from __future__ import annotations

from typing import Any, Final, TypeVar, cast

from flambeau.backends.layout import has_internal_overlap
from flambeau.core import dispatch, events
from flambeau.core.box import mark_written, require_tracked
from flambeau.core.dtype import DTypeLike, as_dtype, can_cast
from flambeau.core.errors import DeviceError, DTypeError, GradientError, ShapeError
from flambeau.core.graph import View, edge_of
from flambeau.core.record import OPS
from flambeau.core.state import current
from flambeau.core.tensor import Tensor

R = TypeVar("R")


#: Functions whose ``out`` has the dtype of the result, as in torch; that of the others may be a wider one.
EXACT: Final = frozenset({
    "abs", "addbmm", "addmm", "addmv", "alias_copy", "all", "amax", "amin", "aminmax", "any", "argmax", "argmin",
    "as_strided_copy", "avg_pool2d", "avg_pool3d", "baddbmm", "bitwise_not", "bmm", "bucketize", "ceil",
    "cholesky_ex", "complex", "conj_physical", "cross", "cummax", "cummin", "det", "diag", "diagonal_copy", "dot",
    "eigh", "eigvalsh", "expand_copy", "floor", "frac", "frexp", "gather", "gelu", "hardshrink", "hash_tensor",
    "heaviside", "histc", "histogram", "index_add", "index_copy", "index_reduce", "index_select", "inner", "inv",
    "inv_ex", "isin", "isneginf", "isposinf", "kthvalue", "ldl_factor", "ldl_factor_ex", "ldl_solve", "linear",
    "log_softmax", "logcumsumexp", "logsigmoid", "lu_factor", "lu_factor_ex", "lu_solve", "lu_unpack",
    "masked_select", "matmul", "matrix_norm", "matrix_power", "max", "min", "mm", "mode", "msort", "multi_dot",
    "multinomial", "mv", "nan_to_num", "nanquantile", "narrow_copy", "native_batch_norm", "neg", "nonzero", "norm",
    "ormqr", "permute_copy", "polar", "qr", "quantile", "renorm", "round", "scatter", "scatter_add", "scatter_reduce",
    "searchsorted", "sgn", "sign", "signbit", "slice_scatter", "slogdet", "softmax", "softplus", "softshrink",
    "solve", "solve_ex", "solve_triangular", "sort", "split_with_sizes_copy", "squeeze_copy", "svd", "svdvals",
    "t_copy", "take", "take_along_dim", "tensordot", "topk", "transpose_copy", "triangular_solve", "tril", "triu",
    "trunc", "unbind_copy", "unfold_copy", "unsqueeze_copy", "vdot", "vecdot", "vector_norm", "view_copy",
})  # fmt: skip


def in_dtype(x: Tensor, dtype: DTypeLike | None) -> Tensor:
    """``x`` in the dtype that the result is to have; None: as it is."""
    if dtype is None or x._key.dtype is (wanted := as_dtype(dtype)):
        return x
    return cast(Tensor, dispatch.call(OPS["cast"], (x,), {"dtype": wanted}))


def deliver(name: str, result: R, out: Any = None, dtype: DTypeLike | None = None) -> R:
    """The result in ``dtype``, written to ``out`` where there is one (a tuple of tensors where the result is).

    An ``out`` that is empty and no view is resized. ``name`` is what errors call the function: TypeError
    for an ``out`` that is no tensor, GradientError where one of both requires grad, DTypeError, DeviceError
    and ShapeError where the result does not fit.

    >>> out = fb.zeros(2)
    >>> deliver("add", fb.tensor([1, 2]), out) is out
    True
    >>> out
    tensor([1., 2.])
    """
    if dtype is not None:
        result = cast(R, in_dtype(cast(Tensor, result), dtype))
    if out is not None:
        if isinstance(result, tuple):
            for o, r in zip(out, result, strict=True):
                _write(name, o, r)
            return cast(R, result._make(out) if hasattr(result, "_make") else out)
        _write(name, out, result)
        result = out
    return result


def check_out(name: str, dtype: DTypeLike | None, out: Tensor | None) -> None:
    """DTypeError where both ``dtype`` and ``out`` are given, and they differ."""
    if dtype is not None and isinstance(out, Tensor) and as_dtype(dtype) is not out._key.dtype:
        raise DTypeError(f"{name}: dtype {as_dtype(dtype)} is not that of out, {out._key.dtype}")


def _write(name: str, out: Any, result: Any) -> None:
    if not isinstance(out, Tensor):
        raise TypeError(f"{name}: argument 'out' must be a tensor, got {type(out).__name__}")
    if edge_of(result) is not None or edge_of(out) is not None:
        raise GradientError(f"{name}: functions with out=... don't support automatic differentiation, "
                            "but one of the arguments requires grad; use the result instead, or no_grad()")  # fmt: skip
    require_tracked(out, f"{name}: writing to out,", current().inference)
    if out._key.level is None:
        require_apart(name, out)
    if name in EXACT and out._key.dtype is not result._key.dtype:
        raise DTypeError(f"{name}: out must have the dtype of the result, {result.dtype}, got {out.dtype}")
    if not can_cast(result._key.dtype, out._key.dtype):
        raise DTypeError(
            f"{name}: result type {result._key.dtype.name} can't be cast to the desired output type "
            f"{out._key.dtype.name}"
        )
    if out._key.device is not result._key.device:
        raise DeviceError(f"{name}: out is on {out._key.device}, the result on {result._key.device}")
    if out._array.shape != result._array.shape:
        if out._node.__class__ is View or out._array.size:
            raise ShapeError(
                f"{name}: out has shape {tuple(out.shape)}, the result {tuple(result.shape)}; "
                "give an out of that shape, or an empty tensor, which is resized"
            )
        key, shape = out._key, result._array.shape
        out._array = events.make(key, lambda: key.backend.empty(shape, key.stored, key.device.number))
    events.write(out._key, out._array, result._array)
    mark_written(out, name)


def require_apart(name: str, x: Tensor) -> None:
    """ShapeError where two elements of a tensor that is to be written to share memory."""
    if overlaps_itself(x):
        raise ShapeError(
            f"{name}: unsupported operation: more than one element of the written-to tensor of shape {tuple(x.shape)} "
            "refers to a single memory location; clone() the tensor before the write"
        )


def overlaps_itself(x: Tensor) -> bool:
    """Whether two elements may share memory (an expanded tensor)."""
    layout = x._key.backend.layout(x._array)
    return has_internal_overlap(layout.shape, layout.strides)
