"""Products of matrices in numbers of eight bits, which stand for themselves times a scale, and of groups of matrices.

Micikevicius et al., arXiv:2209.05433 (float8 formats).
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Any, NoReturn

from flambeau.core import dtype as dt
from flambeau.core.dtype import DType
from flambeau.core.errors import MissingKernelError, ShapeError
from flambeau.core.ops.joining import cat, stack
from flambeau.core.tensor import Tensor

_FLOAT8 = (dt.float8_e4m3fn, dt.float8_e5m2, dt.float8_e4m3fnuz, dt.float8_e5m2fnuz)


class ScalingType(enum.Enum):
    """How much of a matrix a scale is for: all of it, a row, or a block."""

    TensorWise = 0
    RowWise = 1
    BlockWise1x16 = 2
    BlockWise1x32 = 3
    BlockWise1x128 = 4
    BlockWise128x128 = 5


class SwizzleType(enum.Enum):
    """In which order the scales of blocks lie in memory."""

    NO_SWIZZLE = 0
    SWIZZLE_32_4_4 = 1


Recipe = ScalingType | Sequence[ScalingType]
Swizzle = SwizzleType | Sequence[SwizzleType] | None


def _all(x: Any) -> list[Any]:  # Any: one thing or several
    return [] if x is None else list(x) if isinstance(x, (tuple, list)) else [x]


def _invalid(name: str, n: int, m: int) -> ValueError:
    return ValueError(
        f"{name}: invalid scaling configuration. Both matrices must be float8, scales float32: one number each (by "
        f"tensor), or scale_a ({n}, 1) and scale_b (1, {m}), contiguous (by row)"
    )


def _check_matrices(name: str, mat_a: Tensor, mat_b: Tensor, bias: Tensor | None) -> None:
    for word, mat in (("mat_a", mat_a), ("mat_b", mat_b)):
        if mat.ndim != 2:
            raise ShapeError(f"{name}: {word} must be a matrix, got shape {tuple(mat.shape)}")
    if mat_a.shape[1] != mat_b.shape[0]:
        raise ShapeError(
            f"{name}: mat_a and mat_b shapes cannot be multiplied ({mat_a.shape[0]}x{mat_a.shape[1]} and "
            f"{mat_b.shape[0]}x{mat_b.shape[1]})"
        )
    if bias is not None and bias.numel() != mat_b.shape[1]:
        raise ShapeError(f"{name}: bias must be size {mat_b.shape[1]} but got {bias.numel()}")


def _product(
    mat_a: Tensor, mat_b: Tensor, scale_a: Tensor, scale_b: Tensor, bias: Tensor | None, scale_result: Tensor | None,
    out_dtype: DType | None,
) -> Tensor:  # fmt: skip
    """What the scales make of the product, computed in float32; of it there is no gradient."""
    wanted = mat_a.dtype if out_dtype is None else out_dtype
    left = mat_a.detach().to(dt.float32) * scale_a.detach()
    right = mat_b.detach().to(dt.float32) * scale_b.detach()
    found = left @ right
    if bias is not None:
        found = found + bias.detach().to(dt.float32)
    if scale_result is not None and wanted in _FLOAT8:
        found = found / scale_result.detach()
    return found.to(wanted)


def _scaled_mm(
    input: Tensor, mat2: Tensor, scale_a: Tensor, scale_b: Tensor, bias: Tensor | None = None,
    scale_result: Tensor | None = None, out_dtype: DType | None = None, use_fast_accum: bool = False,
) -> Tensor:  # fmt: skip
    """The older name: the kind of scaling follows from the sizes of the scales."""
    _check_matrices("_scaled_mm", input, mat2, bias)
    n, m = input.shape[0], mat2.shape[1]
    one = scale_a.numel() == scale_b.numel() == 1
    by_row = tuple(scale_a.shape) == (n, 1) and tuple(scale_b.shape) == (1, m)
    of_float = scale_a.dtype is scale_b.dtype is dt.float32
    if not (input.dtype in _FLOAT8 and mat2.dtype in _FLOAT8 and of_float and (one or by_row)):
        raise _invalid("_scaled_mm", n, m)
    if one:
        scale_a, scale_b = scale_a.reshape(()), scale_b.reshape(())
    return _product(input, mat2, scale_a, scale_b, bias, scale_result, out_dtype)


def scaled_mm(
    mat_a: Tensor, mat_b: Tensor, scale_a: Tensor | Sequence[Tensor], scale_recipe_a: Recipe,
    scale_b: Tensor | Sequence[Tensor], scale_recipe_b: Recipe, swizzle_a: Swizzle = None, swizzle_b: Swizzle = None,
    bias: Tensor | None = None, output_dtype: DType | None = dt.bfloat16, contraction_dim: Sequence[int] = (),
    use_fast_accum: bool = False,
) -> Tensor:  # fmt: skip
    """``mat_a @ mat_b + bias`` of float8 matrices (n, k) and (k, m), each times its scale; computed in float32.

    A recipe says what the scale (float32) is for: ``ScalingType.TensorWise``, one number, or ``RowWise``, (n, 1) for
    ``mat_a`` and (1, m) for ``mat_b``. The result is (n, m) in ``output_dtype``, in that of ``mat_a`` if it is None,
    and has no gradient. ``contraction_dim`` may say (1, 0), what it is; ``use_fast_accum`` and swizzles, which are
    about blocks, change nothing.

    Errors: ValueError for other dtypes, scales and recipes (by blocks is for GPUs); RuntimeError for shapes.

    >>> a, b = fb.ones(2, 3).to(fb.float8_e4m3fn), fb.ones(3, 2).to(fb.float8_e4m3fn)
    >>> by = fb.nn.functional.ScalingType.TensorWise
    >>> fb.nn.functional.scaled_mm(a, b, fb.tensor(2.0), by, fb.tensor(0.5), by, output_dtype=fb.float32)
    tensor([[3., 3.],
            [3., 3.]])
    """
    scales_a, scales_b, recipe_a, recipe_b = map(_all, (scale_a, scale_b, scale_recipe_a, scale_recipe_b))
    _check_matrices("scaled_mm", mat_a, mat_b, bias)
    n, m = mat_a.shape[0], mat_b.shape[1]
    lengths = {len(x) for x in (scales_a, scales_b, recipe_a, recipe_b)}
    plain = recipe_a == recipe_b and recipe_a in ([ScalingType.TensorWise], [ScalingType.RowWise])
    if lengths != {1} or not plain or mat_a.dtype not in _FLOAT8 or mat_b.dtype not in _FLOAT8:
        raise _invalid("scaled_mm", n, m)
    if contraction_dim and tuple(d % 2 for d in contraction_dim) != (1, 0):
        raise ValueError(f"scaled_mm: contraction_dim must be (1, 0), got {tuple(contraction_dim)}")
    shapes = ((n, 1), (1, m)) if recipe_a == [ScalingType.RowWise] else ((), ())
    found = []
    for word, scale, shape in zip("ab", (scales_a[0], scales_b[0]), shapes, strict=True):
        fits = scale.numel() == 1 if not shape else tuple(scale.shape) == shape
        if not fits or scale.dtype is not dt.float32:
            wanted = f"have shape {shape}" if shape else "have 1 element"
            raise ValueError(f"scaled_mm: scale_{word} must be float32 and {wanted}, got {tuple(scale.shape)}")
        found.append(scale.reshape(shape))
    return _product(mat_a, mat_b, found[0], found[1], bias, None, output_dtype)


def scaled_grouped_mm(
    mat_a: Tensor, mat_b: Tensor, scale_a: Tensor | Sequence[Tensor], scale_recipe_a: Recipe,
    scale_b: Tensor | Sequence[Tensor], scale_recipe_b: Recipe, swizzle_a: Swizzle = None, swizzle_b: Swizzle = None,
    bias: Tensor | None = None, offs: Tensor | None = None, output_dtype: DType | None = dt.bfloat16,
    contraction_dim: Sequence[int] = (), use_fast_accum: bool = False,
) -> NoReturn:  # fmt: skip
    """NotImplementedError: PyTorch has products of float8 groups for some GPUs alone, and no backend here has.

    Use :func:`scaled_mm` for each group, or :func:`grouped_mm` in bfloat16.
    """
    raise MissingKernelError(
        "scaled_grouped_mm: products of float8 groups need kernels of some GPUs, which no backend here has; use "
        "scaled_mm for each group, or grouped_mm in bfloat16"
    )


# -- groups --------------------------------------------------------------------------------------------
def _check_groups(mat_a: Tensor, mat_b: Tensor, offs: Tensor | None, bias: Tensor | None, out: DType | None) -> None:
    if {mat_a.ndim, mat_b.ndim} - {2, 3} or (offs is None) == (2 in (mat_a.ndim, mat_b.ndim)):
        raise ShapeError(
            "grouped_mm: mat_a and mat_b must be matrices or stacks of them, with offs unless both are stacks, got "
            f"{tuple(mat_a.shape)} and {tuple(mat_b.shape)}"
        )
    if mat_a.dtype not in (dt.float32, dt.bfloat16, dt.float16):
        raise RuntimeError(f"grouped_mm: expected mat_a to be float32, bfloat16 or float16, got {mat_a.dtype}")
    if mat_a.dtype is not mat_b.dtype:
        raise RuntimeError(f"grouped_mm: expected operands of one dtype, got {mat_a.dtype} and {mat_b.dtype}")
    if out is not None and out is not mat_a.dtype:
        raise RuntimeError(f"grouped_mm: out_dtype must be that of mat_a, {mat_a.dtype}, got {out}")
    if mat_a.shape[-1] != mat_b.shape[-2]:
        raise ShapeError(
            f"grouped_mm: contraction dimension of mat_a and mat_b must match, got {tuple(mat_a.shape)} and "
            f"{tuple(mat_b.shape)}"
        )
    if bias is not None:
        raise RuntimeError("grouped_mm: bias is not supported yet, in torch neither; add it to the result")
    if offs is not None and (offs.dtype is not dt.int32 or offs.ndim != 1):
        raise RuntimeError(f"grouped_mm: offs must be int32 with one dimension, got {offs.dtype}{list(offs.shape)}")
    groups = [m.shape[0] for m in (mat_a, mat_b) if m.ndim == 3] + ([] if offs is None else [offs.shape[0]])
    if len(set(groups)) > 1:
        raise ShapeError(f"grouped_mm: matrix batch sizes have to match, got {' and '.join(map(str, groups))} groups")


def grouped_mm(
    mat_a: Tensor, mat_b: Tensor, *, offs: Tensor | None = None, bias: Tensor | None = None,
    out_dtype: DType | None = None,
) -> Tensor:  # fmt: skip
    """Products of groups: each matrix of one with its part of the other, whose parts end at ``offs`` (int32).

    (M, K) with (G, K, N): the groups are rows of ``mat_a``; (G, M, K) with (K, N): columns of ``mat_b``; (M, K) with
    (K, N): parts of K, the result is (G, M, N); (G, M, K) with (G, K, N) has no ``offs``. What stands after the last
    offset belongs to no group, and is 0 in the result. Both are float32, bfloat16 or float16, as the result.

    >>> rows = fb.tensor([[1.0], [2.0], [3.0]])
    >>> fb.nn.functional.grouped_mm(rows, fb.tensor([[[1.0]], [[10.0]]]), offs=fb.tensor([1, 3], dtype=fb.int32))
    tensor([[ 1.],
            [20.],
            [30.]])
    """
    _check_groups(mat_a, mat_b, offs, bias, out_dtype)
    if offs is None:
        return mat_a @ mat_b
    by_rows, by_columns = mat_a.ndim == 2, mat_b.ndim == 2
    ends = [int(n) for n in offs.tolist()]
    parts = list(zip([0, *ends[:-1]], ends, range(len(ends)), strict=True))
    if by_rows and by_columns:
        return stack([mat_a[:, start:end] @ mat_b[start:end] for start, end, _ in parts])
    last = ends[-1] if ends else 0
    if by_rows:
        rest = mat_a.new_zeros((mat_a.shape[0] - last, mat_b.shape[-1]))
        return cat([*(mat_a[start:end] @ mat_b[i] for start, end, i in parts), rest])
    rest = mat_b.new_zeros((mat_a.shape[-2], mat_b.shape[1] - last))
    return cat([*(mat_a[i] @ mat_b[:, start:end] for start, end, i in parts), rest], 1)
