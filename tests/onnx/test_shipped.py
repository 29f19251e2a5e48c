"""The cases that the onnx package ships: which pass, and that what does not is refused by name."""

from __future__ import annotations

import pytest

pytest.importorskip("onnx")  # an extra

from tests.onnx import conformance as c

#: They compare random numbers with those of numpy's own generator: the values differ, shapes and dtypes do not.
RANDOM = {
    *(f"test_bernoulli{kind}{form}" for kind in ("", "_double", "_seed") for form in ("", "_expanded")),
    *(f"test_training_dropout{kind}" for kind in ("", "_mask", "_default", "_default_mask")),
}
#: In float16 the last bit depends on the order of sums; the cases' tolerance is less than one such bit.
ROUNDED = {"test_attention_4d_causal_fp16", "test_attention_4d_causal_fp16_expanded"}


def outcomes(cases: list, device: str | None = None) -> dict[str, list[c.Outcome]]:
    found: dict[str, list[c.Outcome]] = {"passes": [], "refused": [], "wrong": [], "absent": []}
    for case in cases:
        made = c.run(case, device, exact=case.name not in RANDOM, bits16=case.name in ROUNDED)
        found[made.kind].append(made)
    return found


def test_cases_of_models_pass():
    """Small models with data beside them; every fifth, the whole list is for the slow test."""
    cases = c.cases(("simple", "pytorch-converted", "pytorch-operator"))
    found = outcomes(cases[::5])
    assert not found["wrong"] and not found["refused"] and len(found["passes"]) == 28


@pytest.mark.slow
def test_all_cases():
    """Of 2,033 cases all pass but those of ImageDecoder, which are refused by name."""
    cases = c.cases()
    found = outcomes(cases)
    assert not found["wrong"], found["wrong"]
    assert all("ImageDecoder, version" in o.text and "no mapping" in o.text for o in found["refused"])
    assert len(found["refused"]) == 9
    assert len(found["passes"]) == len(cases) - 9 >= 2000


@pytest.mark.slow
@pytest.mark.parametrize("device", ["strict", pytest.param("opencl", marks=pytest.mark.device("opencl"))])
def test_cases_on_devices(device):
    """Every seventh case runs on another backend too."""
    cases = [case for case in c.cases() if case.kind != "real"]
    found = outcomes(cases[::7], device)
    without = [o for o in found["wrong"] if "float64 do not exist on this device" not in o.text]
    assert not without, without
    assert len(found["passes"]) >= 275
