"""PyTorch's public names are here, and what is missing has a reason."""

from __future__ import annotations

from flambeau.compat.coverage import MODULES, compared, reasons

MISSING = [(m.strip("."), name) for m in MODULES for name in compared(m.strip(".")).missing]


def test_each_missing_name_has_one_reason() -> None:
    counts = {f"{module}.{name}": sum(r.covers(module, name) for r in reasons()) for module, name in MISSING}
    assert {name: n for name, n in counts.items() if n != 1} == {}


def test_each_reason_is_for_names_that_are_missing() -> None:
    assert [r.text for r in reasons() if not any(r.covers(module, name) for module, name in MISSING)] == []


def test_most_names_are_there() -> None:
    there = sum(len(compared(m.strip(".")).there) for m in MODULES)
    assert there / (there + len(MISSING)) > 0.85
    assert {"conv2d", "Tensor", "float32", "no_grad", "compile"} <= set(compared("").there)
    assert "Linear" in compared("nn").there and "no_such_name" not in compared("nn").there
