"""``coverage``: it says of each op and dtype what really happens on the device."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from flambeau.__main__ import main
from flambeau.backends.strict.backend import MISSING
from flambeau.core import config, keys, registry
from flambeau.core import dtype as dt
from flambeau.core.device import device
from flambeau.core.record import OPS, VIEW
from flambeau.plugins import coverage, gaps
from flambeau.plugins.conformance import opdb
from flambeau.plugins.conformance.opdb.run import samples_of

Take = Callable[[str, dt.DType], None]
CPU, STRICT = device("cpu"), device("strict")


@pytest.fixture(scope="module")
def strict() -> dict[str, dict[str, coverage.Cover]]:
    return coverage.coverage(STRICT)


def test_every_op_is_there_and_the_cpu_lacks_nothing() -> None:
    found = coverage.coverage(CPU)
    assert found.keys() == opdb.load().keys()
    lacking = {n: row for n, row in found.items() if any(c.state not in ("native", "composite") for c in row.values())}
    assert lacking == {}
    assert set(found["add"]) == {d.name for d in dt.ALL}
    assert set(found["bitwise_and"]) == {d.name for d in (*dt.BOOLS, *dt.INTS)}


def test_what_the_device_has_decides(strict: dict[str, dict[str, coverage.Cover]]) -> None:
    assert strict["add"]["float32"].state == "native"
    assert "float64" not in strict["add"] and "complex128" not in strict["add"]
    for name in MISSING:
        assert strict[name]["float32"].state in ("composite", "missing"), name
    assert strict["tanh"]["float32"].state == "composite" and strict["cholesky"]["float32"].state == "missing"


def test_native_is_what_the_dispatcher_finds(strict: dict[str, dict[str, coverage.Cover]]) -> None:
    for name, row in strict.items():
        for d, cover in row.items():
            computed = OPS[name].dtype.compute(dt.dtype_named(d))
            has = name in gaps.STORAGE_OPS or getattr(keys.key_for(STRICT, computed), name) is not None
            assert has == (cover.state == "native"), (name, d)


def test_a_composite_whose_ops_are_missing_is_missing(without: Take, settings: pytest.MonkeyPatch) -> None:
    assert coverage.cover(OPS["hypot"], dt.float32, STRICT).state == "composite"
    without("sqrt", dt.float32)
    assert coverage.cover(OPS["sqrt"], dt.float32, STRICT) == ("missing", (("sqrt", "float32"),))
    found = coverage.cover(OPS["hypot"], dt.float32, STRICT)
    assert found == ("missing", (("sqrt", "float32"),))
    assert coverage.cover(OPS["hypot"], dt.float16, STRICT).state == "missing"  # computed in float32
    assert coverage.cover(OPS["add"], dt.float32, STRICT).state == "native"
    with config.override(fallback="warn"):
        assert coverage.cover(OPS["hypot"], dt.float32, STRICT).state == "fallback"


def test_a_composite_that_lacks_an_op_for_some_arguments_is_partial(without: Take) -> None:
    """`norm`-like ops take another way for each param: what one way lacks says nothing of the others."""
    for name in ("vector_norm", "pow"):
        without(name, dt.float32)
    found = coverage.cover(OPS["vector_norm"], dt.float32, STRICT)
    assert found is not None and found.state == "partial" and ("pow", "float32") in found.lacks
    states = {bool(coverage.lacking(OPS["vector_norm"], s, STRICT)) for s in samples_of(OPS["vector_norm"], dt.float32)}
    assert states == {True, False}


def test_an_op_whose_result_the_device_cannot_hold_is_not_claimed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert coverage.cover(OPS["view_as_complex"], dt.float32, STRICT) is not None
    monkeypatch.setattr(registry.resolve(STRICT), "supports", lambda d, index=0: d is not dt.complex64)
    assert coverage.cover(OPS["view_as_complex"], dt.float32, STRICT) is None
    assert coverage.cover(OPS["add"], dt.float32, STRICT) is not None


def test_a_missing_view_never_falls_back(without: Take, settings: pytest.MonkeyPatch) -> None:
    assert OPS["permute"].family is VIEW
    without("permute", dt.float32)
    with config.override(fallback="allow"):
        assert coverage.cover(OPS["permute"], dt.float32, STRICT).state == "missing"


def test_the_command_as_a_table_and_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["coverage", "--device", "cpu"]) == 0
    table = capsys.readouterr().out
    assert table.startswith("cpu: N native, c composite, p partial, F fallback, - missing")
    (row,) = [line for line in table.splitlines() if line.startswith("add ")]
    assert set(row.split()[1:]) == {"N"}
    assert main(["coverage", "--device", "cpu", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["device"] == "cpu" and found["fallback"] == "error"
    assert found["ops"]["add"]["float32"] == {"state": "native"}
    assert sum(found["counts"].values()) == sum(map(len, found["ops"].values()))
