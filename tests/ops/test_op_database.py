"""flambeau does what torch does with the samples of torch's own op database, but for what is listed here."""

from __future__ import annotations

from typing import Any

import pytest

PARTS = 8
#: (entry, what differs) -> why. An entry that no longer differs must leave the list.
EXCEPTIONS: dict[tuple[str, str], str] = {
    **{
        (name, kind): "of equal elements another one is named; which one is not defined"
        for name, kinds in (("topk", "forward method"), ("mode", "forward"), ("sort", "forward method"),
                            ("argsort", "forward method"))
        for kind in kinds.split()
    },
    ("as_strided_scatter", "gradient"): "torch gives input the gradient of the places that were written over",
    ("bernoulli", "gradient"): "the gradient is 0, and not recorded",
    ("arange", "error"): "torch turns the step into an integer of out before it looks at it",
    ("narrow_copy", "error"): "a dimension out of range is an IndexError, as of narrow",
    **{
        (name, "error"): "takes a number for either operand"
        for name in ("atan2", "copysign", "eq", "ge", "gt", "le", "logical_and", "logical_or", "logical_xor", "lt",
                     "maximum", "minimum", "ne")
    },
    **{
        (name, "error"): "is no method of torch's int"
        for name in ("__radd__", "__rand__", "__rdiv__", "__rmul__", "__ror__", "__rxor__")
    },
}  # fmt: skip
#: Ops that may differ, by the sample or for now, and why; a name that ends in a dot or line is the start of others.
PENDING = {
    **dict.fromkeys(
        ["bfloat16", "bool", "byte", "cdouble", "cfloat", "char", "double", "float", "half", "int", "long", "short"],
        "memory_format=channels_last is not there yet",
    ),
    "chalf": "complex32 is no dtype",
    "gather": "an index of nothing must be int64 or int32, too",
    "jiterator_": "compiles C++ for CUDA",
    "logcumsumexp": "imaginary parts may differ by a multiple of 2 pi",
    "max_pool2d_with_indices_backward": "calls torch.ops.aten",
    "native_dropout_backward": "stands in torch.ops.aten alone",
    "nn.functional.embedding": "gradients that are sparse tensors are not there yet",
    "nn.functional.embedding_bag": "gradients that are sparse tensors are not there yet",
    "nn.functional.linear_cross_entropy": "one input is taken with a loss of several dimensions",
    "normal": "takes no layout; gradients of 0 are not recorded",
    "signal.windows.": "layouts that are sparse have no names yet",
    "sparse.": "flambeau.sparse is not there yet",
    "to_sparse": "flambeau.sparse is not there yet",
    "torch.ops.": "stands in torch.ops.aten alone",
}  # fmt: skip


def is_pending(name: str) -> bool:
    return any(name == n or n[-1] in "._" and name.startswith(n) for n in PENDING)


def run_part(part: int) -> tuple[list[str], set[tuple[str, str]]]:
    """What differs and is not listed, and the listed ones that differ."""
    # torch takes seconds to import, which runs that leave the slow tests out shall not wait for
    from tests.ops import op_database

    wrong: list[str] = []
    listed: set[tuple[str, str]] = set()
    for info in op_database.op_db[part::PARTS]:
        report = op_database.run(info)
        for kind, texts in report.differs.items():
            if (report.name, kind) in EXCEPTIONS:
                listed.add((report.name, kind))
            elif not is_pending(report.op):
                wrong += [f"{report.name}: {kind}: {text}" for text in texts]
    return wrong, listed


def names_of(part: int) -> set[Any]:
    # see above
    from tests.ops import op_database

    return {op_database.title(info) for info in op_database.op_db[part::PARTS]}


@pytest.mark.slow
@pytest.mark.parametrize("part", range(PARTS))
def test_what_torch_does_with_its_samples(part: int) -> None:
    pytest.importorskip("torch")
    wrong, listed = run_part(part)
    assert not wrong, "\n".join(wrong)
    mine = names_of(part)
    assert {key for key in EXCEPTIONS if key[0] in mine} == listed, "these do not differ any more"
