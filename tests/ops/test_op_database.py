"""flambeau does what torch does with the samples of torch's own op database, but for what is listed here."""

from __future__ import annotations

from typing import Any

import pytest

PARTS = 8
#: (entry, what differs) -> why. An entry that no longer differs must leave the list.
EXCEPTIONS: dict[tuple[str, str], str] = {
    **dict.fromkeys([("chalf", "forward"), ("chalf", "method"), ("chalf", "gradient")],
                    "complex32 is a name: no array of numpy holds it"),
    ("as_strided_scatter", "gradient"): "torch gives input the gradient of the places that were written over",
    ("abs", "out"): "of complex numbers torch widens into out, of real ones it does not",
    ("conj_physical", "out"): "of real numbers torch has out of their dtype alone",
    ("diff", "out"): "of no differences torch has out of the dtype of input alone",
    ("fft.ifft", "out"): "of real numbers torch has out of their complex dtype alone",
    ("fft.ihfft", "out"): "of real numbers torch has out of their complex dtype alone",
    ("linalg.lu", "out"): "torch's lu widens into out, its linalg.lu does not",
    ("linalg.cholesky", "out"): "torch's cholesky widens into out, its linalg.cholesky does not",
    ("linalg.matrix_power", "out"): "torch widens the power 0 into out, and no other",
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
#: What shows with more samples than the test runs, too.
RARE: dict[tuple[str, str], str] = {
    ("linalg.norm.subgradients_at_zero", "gradgrad"): "there is no second derivative at 0; torch gives nan, flambeau 0",
    ("masked.logaddexp", "gradgrad"): "0 where both are masked out; torch gives nan",
    **{
        (f"nn.functional.linear_cross_entropy.{how}", "gradgrad"): "torch's is 0: it keeps gradients as constants"
        for how in ("chunked", "chunked_none")
    },
    ("native_layer_norm", "gradgrad"): "torch has none without a weight",
    ("sparse.sampled_addmm", "out"): "torch has out of the result's places alone",
    ("fft.ihfft2", "out"): "torch leaves out as it was where there is one dimension",
    ("fft.ihfftn", "out"): "torch leaves out as it was where there is one dimension",
    ("chalf", "gradgrad"): "as above",
    ("lerp", "out"): "torch widens into out where the weight is a number, and not where it is a tensor",
    ("normal.number_mean", "out"): "torch resizes no empty out",
}


def run_part(part: int) -> tuple[list[str], set[tuple[str, str]]]:
    """What differs and is not listed, and the listed ones that differ."""
    # torch takes seconds to import, which runs that leave the slow tests out shall not wait for
    from tests.ops import op_database

    wrong: list[str] = []
    listed: set[tuple[str, str]] = set()
    for info in op_database.op_db[part::PARTS]:
        report = op_database.run(info, op_database.FEW)
        for kind, texts in report.kinds().items():
            if (report.name, kind) in EXCEPTIONS:
                listed.add((report.name, kind))
            elif (report.name, kind) not in RARE:
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


@pytest.mark.slow
def test_how_many_ops_agree_forward_and_backward() -> None:
    """All that torch runs on the CPU but two, by names without variants."""
    pytest.importorskip("torch")
    # see above
    from tests.ops import op_database

    ran = {info.name for info in op_database.op_db if op_database.on_cpu(info)}
    listed = {name for name, kind in (*EXCEPTIONS, *RARE) if kind in ("forward", "gradient")}
    assert (len(ran), len(ran - listed)) == (627, 625)
