"""Without a device the modules of device types answer as PyTorch's CPU build does, and errors say what lacks."""

from __future__ import annotations

import pytest

import flambeau as fb
from flambeau.accelerator.of_type import DeviceModule
from tests import recorded

ABSENT = "tests.devices.absent_cases"
pytestmark = pytest.mark.skipif(
    fb.accelerator.is_available() or any(DeviceModule(k).is_available() for k in ("cuda", "xpu", "mps")),
    reason="there is such a device",
)

test_as_in_pytorch = recorded.tests_of("tests/devices")
REFUSED = [name for name, answer in recorded.answers(ABSENT).items() if isinstance(answer, dict) and "raises" in answer]


@pytest.mark.parametrize("name", [n for n in REFUSED if " of " not in n and "set_stream" not in n])
def test_an_error_says_what_lacks(name: str) -> None:
    kind = name.partition(".")[0]
    text = recorded.answer(fb, recorded.cases(ABSENT)[name])["text"]
    assert f"{kind}" in text.partition(":")[0], text
    assert any(words in text for words in ("no device of type", "unknown device type", "there is none", "no graphs",
                                           "sensors is not used", "expected a device of type")), text  # fmt: skip
