"""Tables of measurements and counts of instructions, in the torch API."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

from tests.recorded import Case, collected

#: What cases take besides T is made so.
GIVEN: dict[str, Case] = {"b": lambda T: importlib.import_module(f"{T.__name__}.utils.benchmark")}
CASES: dict[str, Case] = {}
case = collected(CASES)


def measured(b: ModuleType, name: str, column: str, *times: float, runs: int = 1, **more: Any) -> Any:
    """A measurement of a row, in microseconds."""
    spec = b.TaskSpec("pass", "pass", **{"label": "sums", "sub_label": name, "description": column, **more})
    return b.Measurement(runs, [t * 1e-6 for t in times], spec)


def table(b: ModuleType) -> Any:
    """Two rows of two columns, of one and two threads; one of them is there in two parts, one was disturbed."""
    found = b.Compare(
        [measured(b, "small", "one", 10.0, 11.0, runs=2), measured(b, "small", "two", 1000.0, 1004.0, 1003)]
    )
    found.extend_results([measured(b, "a larger one", "one", 123.456, 124.0, 123.6), measured(b, "small", "one", 5.2)])
    found.extend_results([measured(b, "small", "two", 30.0, 60.0, 31.0, num_threads=2)])
    return found


@case
def significant_figures(T: Any, b: Any) -> Any:
    spreads = [(100.0, 100.0), (100.0, 101.0, 102.0, 103.0), (1.0, 2.0, 4.0, 9.0), (7.0,), (1e6, 1e6 + 1, 1e6 + 3)]
    made = [measured(b, "x", "y", *times) for times in spreads]
    return [[m.significant_figures, m.has_warnings, m.iqr * 1e6, m.median * 1e6] for m in made]


@case
def a_disturbed_measurement(T: Any, b: Any) -> Any:
    made = [
        measured(b, "x", "y", *times)
        for times in ((1.0, 2.0, 4.0), (10.0, 11.0, 12.0), (10.0, 10.4, 10.8, 11.2), (3.0,))
    ]
    return [repr(m).splitlines()[1:] for m in made]


@case
def merge(T: Any, b: Any) -> Any:
    both = b.Measurement.merge([measured(b, "x", "y", 2.0, 4.0, runs=2), measured(b, "x", "y", 3.0)])
    return [[m.number_per_run, [t * 1e6 for t in m.raw_times]] for m in both]


@case
def extend_results(T: Any, b: Any) -> Any:
    return str(table(b)).splitlines()


@case
def extend_results_of_what_is_no_measurement(T: Any, b: Any) -> Any:
    return table(b).extend_results([1.0])


@case
def trim_significant_figures(T: Any, b: Any) -> Any:
    found = table(b)
    found.trim_significant_figures()
    return str(found).splitlines()


@case
def highlight_warnings(T: Any, b: Any) -> Any:
    found = table(b)
    found.highlight_warnings()
    return str(found).splitlines()


@case
def colorize(T: Any, b: Any) -> Any:
    texts = []
    for rowwise in (False, True):
        found = table(b)
        found.extend_results([measured(b, f"row {t}", "one", t) for t in (5.25, 5.6, 7.0, 11.0, 40.0)])
        found.colorize(rowwise)
        texts.append(str(found).splitlines())
    return texts


@case
def tables_of_several_labels_and_environments(T: Any, b: Any) -> Any:
    found = b.Compare([measured(b, "x", "y", 1.0, env=env, label=label) for label in "ab" for env in ("new", "older")])
    found.extend_results([measured(b, "second", "y", 2.0, env="new", label="a")])
    return str(found).splitlines()


NAMES = (
    "/home/me/build/aten/src/add.cpp:add(int) [/usr/lib/libtorch.so]", "/tmp/build/../aten/src/mul.cpp:mul [x.so]",
    "/work/cpython/Objects/dictobject.c:lookdict_unicode_nodummy", "/opt/cpython/Python/ceval.c:_PyEval [python]",
    "???:0x0001", "relative/Objects/a.c:f", "Objects/a.c:f",
)  # fmt: skip


def counted(b: ModuleType, *counts: int) -> Any:
    entry = (
        getattr(b, "FunctionCount", None)
        or importlib.import_module(f"{b.__name__}.utils.valgrind_wrapper.timer_interface").FunctionCount
    )
    return b.FunctionCounts(tuple(entry(c, name) for c, name in zip(counts, NAMES, strict=False)), inclusive=False)


def plain(counts: Any) -> list[list[Any]]:
    return [[count, function] for count, function in counts]


@case
def denoise(T: Any, b: Any) -> Any:
    counts = counted(b, 9, 8, 7, 6)
    return plain(counts.denoise()), counts.denoise().sum(), len(counts)


@case
def CallgrindStats(T: Any, b: Any) -> Any:
    found = stats(b)
    delta = found.delta(stats(b, 1))
    return [found.counts(), found.counts(denoise=True), plain(found.stats(inclusive=True)), plain(delta), delta.sum()]


@case
def as_standardized(T: Any, b: Any) -> Any:
    found = stats(b).as_standardized()
    kinds = ("baseline_inclusive_stats", "baseline_exclusive_stats", "stmt_inclusive_stats", "stmt_exclusive_stats")
    return [plain(getattr(found, kind)) for kind in kinds], found.number_per_run, found.task_spec.stmt


def stats(b: ModuleType, more: int = 0) -> Any:
    whole = counted(b, 70 + more, 60, 50, 40, 30, 20, 10)
    own, base = counted(b, 7, 6 + more, 5, 4), counted(b, 1, 2)
    return b.CallgrindStats(b.TaskSpec("x + 1", "pass"), 100, True, base, base, whole, own, None)
