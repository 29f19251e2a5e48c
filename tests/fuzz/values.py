"""Strange values, each made anew for a call that it may change."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np

import flambeau as fb

Maker = Callable[[], Any]


def _objects() -> Any:
    found = np.empty(2, object)
    found[:] = [None, "a"]
    return found


def _generator() -> Any:
    yield from (1, 2)


class Odd:
    """An object of no kind."""

    def __repr__(self) -> str:
        return "Odd()"


SCALARS: dict[str, Maker] = {
    repr(v): (lambda v=v: v)
    for v in (
        None, True, False, 0, 1, -1, 2, -7, 1.5, -0.5, 0.0, 2**31, -(2**31), 2**40, 2**62, 2**63, -(2**63) - 1, 10**30,
        float("nan"), float("inf"), -float("inf"), 1e308, 1j, 2 + 0j, "", "a", "mean", "float32", "cpu", "meta", "cuda",
        "cpu:3", b"abc", Ellipsis, NotImplemented, slice(1, None), range(3), Decimal("1.5"), Fraction(1, 2),
    )
}  # fmt: skip

CONTAINERS: dict[str, Maker] = {
    "[]": list,
    "()": tuple,
    "{}": dict,
    "{1}": lambda: {1},
    "[1, 2]": lambda: [1, 2],
    "(0, 0)": lambda: (0, 0),
    "(1, -1)": lambda: (1, -1),
    "(2**40, 2**40)": lambda: (2**40, 2**40),
    "(2**31,)": lambda: (2**31,),
    "[1.5]": lambda: [1.5],
    "[None]": lambda: [None],
    "['a', 'b']": lambda: ["a", "b"],
    "[[1, 2], [3]]": lambda: [[1, 2], [3]],
    "[[], []]": lambda: [[], []],
    "{'a': 1}": lambda: {"a": 1},
    "{'params': 3}": lambda: {"params": 3},
    "[tensor]": lambda: [fb.ones(2)],
    "[tensor, None]": lambda: [fb.ones(2), None],
    "(tensor(2,), tensor(3,))": lambda: (fb.ones(2), fb.ones(3)),
    "generator": _generator,
}

ARRAYS: dict[str, Maker] = {
    "np.float64(1.5)": lambda: np.float64(1.5),
    "np.int64(1)": lambda: np.int64(1),
    "np.bool_(True)": lambda: np.bool_(True),
    "array(2, 3)": lambda: np.ones((2, 3), np.float32),
    "array of objects": _objects,
    "array of texts": lambda: np.array(["a", "b"]),
    "np.datetime64": lambda: np.datetime64("2020-01-01"),
}

TENSORS: dict[str, Maker] = {
    "tensor(1.5)": lambda: fb.tensor(1.5),
    "tensor(2)": lambda: fb.tensor(2),
    "tensor(True)": lambda: fb.tensor(True),
    "tensor(1j)": lambda: fb.tensor(1j),
    "float(2, 3)": lambda: fb.ones(2, 3),
    "float(0,)": lambda: fb.ones(0),
    "float(0, 3)": lambda: fb.ones(0, 3),
    "float(1, 1, 1, 1, 1, 1)": lambda: fb.ones(1, 1, 1, 1, 1, 1),
    "nan(2,)": lambda: fb.full((2,), float("nan")),
    "int(2, 3)": lambda: fb.arange(6).reshape(2, 3),
    "int(-5)": lambda: fb.tensor([-5, 9]),
    "uint8(2,)": lambda: fb.tensor([1, 200], dtype=fb.uint8),
    "bool(2, 3)": lambda: fb.ones(2, 3, dtype=fb.bool),
    "complex(2,)": lambda: fb.ones(2, dtype=fb.complex64),
    "half(2,)": lambda: fb.ones(2, dtype=fb.float16),
    "bfloat16(2,)": lambda: fb.ones(2, dtype=fb.bfloat16),
    "leaf(2,)": lambda: fb.ones(2, requires_grad=True),
    "computed(2,)": lambda: fb.ones(2, requires_grad=True) * 2,
    "meta(2, 3)": lambda: fb.ones(2, 3, device="meta"),
    "strict(2, 3)": lambda: fb.ones(2, 3, device="strict"),
    "expanded(2, 2**18)": lambda: fb.ones(2, 1).expand(2, 2**18),
}

OTHERS: dict[str, Maker] = {
    "fb.float64": lambda: fb.float64,
    "fb.device": lambda: fb.device("cpu"),
    "fb.Size": lambda: fb.Size([2, 3]),
    "fb.Generator": fb.Generator,
    "fb.Tensor": lambda: fb.Tensor,
    "fb.sum": lambda: fb.sum,
    "Module": lambda: fb.nn.Linear(2, 2),
    "Parameter": lambda: fb.nn.Parameter(fb.ones(2)),
    "function": lambda: lambda *args: args[0] if args else None,
    "object": Odd,
    "int": lambda: int,
}

STRANGE: dict[str, Maker] = SCALARS | CONTAINERS | ARRAYS | TENSORS | OTHERS
KEYWORDS = ("dim", "out", "dtype", "device", "keepdim", "axis", "input", "other", "size", "generator", "requires_grad",
            "reduction", "inplace", "no_such_argument", "self")  # fmt: skip
