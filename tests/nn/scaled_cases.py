"""Products of float8 matrices and of groups in the torch API."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.recorded import Case, collected

CASES: dict[str, Case] = {}
case = collected(CASES)
A = np.arange(64.0).reshape(4, 16) % 7 - 3
B = np.arange(128.0).reshape(16, 8) % 5 - 2


def pair(T: Any, left: str = "float8_e4m3fn", right: str = "float8_e4m3fn") -> tuple[Any, Any]:
    a, b = (T.tensor(x, dtype=T.float32) for x in (A, B))
    return a.to(getattr(T, left)), b.t().contiguous().t().to(getattr(T, right))


def scaled(
    T: Any, scale: str = "TensorWise", left: str = "float8_e4m3fn", right: str = "float8_e5m2", **kw: Any
) -> Any:
    F = T.nn.functional
    rows = (T.arange(1.0, 5).reshape(4, 1), T.arange(1.0, 9).reshape(1, 8))
    by = getattr(F.ScalingType, scale)
    scales = rows if scale == "RowWise" else (T.tensor(2.0), T.tensor(0.25))
    return F.scaled_mm(*pair(T, left, right), scales[0], by, scales[1], by, **kw).float()


CASES["by_tensor"] = scaled
CASES["by_row"] = lambda T: scaled(T, "RowWise")
for dtype in ("float32", "float16", "float8_e4m3fn"):
    CASES[f"as_{dtype}"] = lambda T, d=dtype: scaled(T, output_dtype=getattr(T, d))
for left in ("float8_e5m2", "float8_e4m3fnuz"):
    CASES[f"left_{left}"] = lambda T, x=left: scaled(T, left=x)
CASES["own_dtype"] = lambda T: scaled(T, output_dtype=None)
CASES["with_bias"] = lambda T: scaled(T, bias=T.ones(8, dtype=T.bfloat16))
CASES["lists"] = lambda T: T.nn.functional.scaled_mm(
    *pair(T), [T.tensor(2.0)], [T.nn.functional.ScalingType.TensorWise], [T.tensor(1.0)],
    [T.nn.functional.ScalingType.TensorWise], [T.nn.functional.SwizzleType.NO_SWIZZLE],
).float()  # fmt: skip
CASES["refused_half"] = lambda T: scaled(T, left="float16")
CASES["refused_blocks"] = lambda T: scaled(T, "BlockWise1x128")
CASES["refused_bias"] = lambda T: scaled(T, bias=T.ones(4))
CASES["swizzle_of_one_scale"] = lambda T: scaled(T, swizzle_a=T.nn.functional.SwizzleType.SWIZZLE_32_4_4)
CASES["refused_groups"] = lambda T: T.nn.functional.scaled_grouped_mm(
    *pair(T), T.ones(4), T.nn.functional.ScalingType.RowWise, T.ones(8), T.nn.functional.ScalingType.RowWise
)


# -- groups --------------------------------------------------------------------------------------------
def grouped(T: Any, stacks: str = "b", ends: Any = (1, 4), dtype: str = "bfloat16", **kw: Any) -> Any:
    a, b = (T.tensor(x, dtype=T.float32).to(getattr(T, dtype)) for x in (A, B))
    a = T.stack([a, a * 2]) if "a" in stacks else a
    b = T.stack([b, b * 3]) if "b" in stacks else b
    offs = None if ends is None else T.tensor(ends, dtype=kw.pop("of", T.int32))
    return T.nn.functional.grouped_mm(a, b, offs=offs, **kw).float()


CASES["groups_of_rows"] = grouped
CASES["groups_of_columns"] = lambda T: grouped(T, "a", (3, 8))
CASES["groups_inside"] = lambda T: grouped(T, "", (8, 16))
CASES["stacks"] = lambda T: grouped(T, "ab", None)
for dtype in ("float32", "float16", "float64"):
    CASES[f"groups_{dtype}"] = lambda T, d=dtype: grouped(T, dtype=d)
CASES["groups_shorter"] = lambda T: grouped(T, ends=(1, 3))[:3]
CASES["refused_no_offsets"] = lambda T: grouped(T, ends=None)
CASES["refused_offsets_of_stacks"] = lambda T: grouped(T, "ab")
CASES["refused_int64"] = lambda T: grouped(T, of=T.int64)
CASES["refused_count"] = lambda T: grouped(T, ends=(4,))
CASES["refused_out_dtype"] = lambda T: grouped(T, out_dtype=T.float32)
CASES["refused_grouped_bias"] = lambda T: grouped(T, bias=T.ones(2, 8, dtype=T.bfloat16))


@case
def gradient_of_groups(T: Any) -> Any:
    a, b = (T.tensor(x, dtype=T.float32).requires_grad_() for x in (A, np.stack([B, B * 3])))
    found = T.nn.functional.grouped_mm(a, b, offs=T.tensor([1, 4], dtype=T.int32))
    (found**2).sum().backward()
    return [a.grad, b.grad]


@case
def kinds_of_scales(T: Any) -> Any:
    kinds = T.nn.functional.ScalingType
    listed = (kinds.TensorWise, kinds.RowWise, kinds.BlockWise1x16, kinds.BlockWise1x32, kinds.BlockWise1x128,
              kinds.BlockWise128x128)  # fmt: skip
    return [[kind.name, kind.value] for kind in listed]


CASES["refused_BlockWise1x16"] = lambda T: scaled(T, "BlockWise1x16")
CASES["refused_BlockWise1x32"] = lambda T: scaled(T, "BlockWise1x32")
CASES["refused_BlockWise128x128"] = lambda T: scaled(T, "BlockWise128x128")
