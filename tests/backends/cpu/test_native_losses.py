"""Cross entropy, group norms and CTC as machine code against what they are composed of, at every width."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest

import flambeau as fb
import flambeau.nn.functional as F
from flambeau.backends.cpu.native import ctc, distance, losses, norm_columns, norms
from flambeau.backends.llvm.compiler import Compiler
from flambeau.backends.llvm.target import ELSEWHERE, Target, runnable
from flambeau.core import config
from flambeau.core.ops.nn.ctc import ctc_p
from flambeau.core.ops.nn.loss import cross_entropy_p
from flambeau.core.ops.nn.norm import group_norm_p
from flambeau.core.ops.nn.rules import served
from tests.backends.cpu.composed import agree, computed, floats

Array = Any
Case = tuple[Callable[..., Any], list[Array], tuple[int, ...]]

every_width = pytest.mark.parametrize("target", runnable(), ids=lambda t: t.name)
every_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])


def _classes(shape: tuple[int, ...], classes: int, ignored: int = -100) -> Array:
    found = np.random.default_rng(1).integers(0, classes, shape)
    found.reshape(-1)[::5] = ignored
    return found


def _entropies() -> Iterator[Case]:
    for shape in ((70, 61), (3, 1500), (2, 19, 300), (4, 5, 17, 33), (5000,)):
        classes = shape[1] if len(shape) > 1 else shape[0]
        x, weight = floats(*shape), floats(classes, low=0.1, high=2)
        target = _classes((shape[0], *shape[2:]), classes) if len(shape) > 1 else np.array(7)
        for how in ("mean", "sum", "none"):
            for smoothing in (0.0, 0.2):
                options: Any = dict(reduction=how, label_smoothing=smoothing)
                yield lambda x, t, o=options: F.cross_entropy(x, t, **o), [x, target], (0,)
                yield lambda x, t, w, o=options: F.cross_entropy(x, t, w, **o), [x, target, weight], (0,)
    x, target, weight = floats(64, 80), _classes((64,), 80), floats(80, low=0.1, high=2)
    yield lambda x, t, w: F.cross_entropy(x, t, w, label_smoothing=0.1), [x, target, weight], (0, 2)


def _norms() -> Iterator[Case]:
    for shape, groups in (
        ((8, 6, 33, 5), 3),
        ((4, 8, 137), 8),
        ((3, 64, 23), 1),
        ((700, 12), 4),
        ((2, 4, 3, 5, 40), 2),
    ):
        x, weight, bias = floats(*shape), floats(shape[1], seed=1), floats(shape[1], seed=2)
        yield lambda x, w, b, n=groups: F.group_norm(x, n, w, b), [x, weight, bias], (0, 1, 2)
        yield lambda x, n=groups: F.group_norm(x, n), [x], (0,)
        yield lambda x, w, n=groups: F.group_norm(x, n, w), [x, weight], (0, 1)
    for shape in ((100, 300), (1001, 17), (4, 4100)):
        x, weight, bias = floats(*shape) + 3, floats(shape[1], seed=1), floats(shape[1], seed=2)
        yield lambda x, w, b: F.batch_norm(x, None, None, w, b, True), [x, weight, bias], (0, 1, 2)
        yield lambda x: F.batch_norm(x, None, None, None, None, True), [x], (0,)


def _sequences() -> Iterator[Case]:
    rng = np.random.default_rng(3)
    for steps, batch, classes, most in ((20, 4, 7, 5), (60, 3, 40, 20), (12, 5, 3, 9), (9, 2, 100, 1)):
        x = np.log(np.exp(v := floats(steps, batch, classes)) / np.exp(v).sum(2, keepdims=True))
        labels = rng.integers(1, classes, (batch, most))
        labels[0] = 1  # repeats need a blank between them
        seen, wanted = rng.integers(1, steps + 1, batch), rng.integers(0, most + 1, batch)
        seen[0], wanted[0], wanted[1] = steps, most, 0
        for how in ("mean", "none"):
            options: Any = dict(reduction=how, zero_infinity=True)
            yield lambda x, *rest, o=options: F.ctc_loss(x, *rest, **o), [x, labels, seen, wanted], (0,)
        yield lambda x, *rest: F.ctc_loss(x, *rest, reduction="none"), [x, labels, seen, wanted], ()


def _distances() -> Iterator[Case]:
    for shape in ((50, 33), (20, 300), (40, 1), (2, 600)):
        x = floats(*shape)
        x[1] = x[0]  # where the distance is 0, so is its gradient
        for p in (1.0, 2.0, np.inf):
            yield lambda x, p=p: F.pdist(x, p), [x], (0,)
    for left, right in (((3, 4), (5, 4)), ((2, 1, 20, 33), (3, 30, 33)), ((70, 40), (2, 40)), ((1, 1), (1, 1))):
        for p in (1.0, 2.0, np.inf):
            yield partial(_exactly, p), [floats(*left), floats(*right, seed=1)], (0, 1)


def _exactly(p: float, x: fb.Tensor, y: fb.Tensor) -> fb.Tensor:
    return fb.cdist(x, y, p, "donot_use_mm_for_euclid_dist")


FAMILIES: dict[str, Callable[[], Iterator[Case]]] = {
    "entropies": _entropies,
    "norms": _norms,
    "sequences": _sequences,
    "distances": _distances,
}


@every_width
@every_dtype
@pytest.mark.parametrize("family", FAMILIES)
def test_they_give_what_they_are_composed_of(family: str, dtype: str, target: Target) -> None:
    cases = list(FAMILIES[family]())
    for fn, ins, wanted in cases if target.name == "host" else cases[::5]:  # a kernel each is compiled
        agree(fn, ins, wanted, dtype, target.name)


def test_they_are_one_op_where_there_is_machine_code_and_enough_to_do() -> None:
    ops: Any = (cross_entropy_p, group_norm_p, ctc_p)
    for op in ops:
        for code, dtype, there in (
            ("host", fb.float32, True),
            ("none", fb.float32, False),
            ("host", fb.float16, False),
        ):
            with config.override(cpu_code=code):
                assert served(op, fb.zeros(100, 100, dtype=dtype)) is there
    with config.override(cpu_code="host"):
        assert served(cross_entropy_p, fb.zeros(32, 10))
        assert not served(cross_entropy_p, fb.zeros(2, 2))


def test_operands_lie_in_memory_as_they_like() -> None:
    x, target = floats(80, 60), _classes((80,), 60)
    for turned in (x.T.copy().T, x[::-1], np.repeat(x, 2, 1)[:, ::2], np.broadcast_to(x[:1], x.shape)):
        exact = computed(F.cross_entropy, [np.ascontiguousarray(turned), target], (), "float64", "none")
        with config.override(cpu_code="host"):
            found = F.cross_entropy(fb.from_numpy(turned.astype("f4", "K")), fb.tensor(target))
        np.testing.assert_allclose(found.item(), exact[0], 1e-5)


def test_scores_of_nan_and_infinities() -> None:
    x, target = floats(80, 61), _classes((80,), 61)
    x[1], x[2, 4], x[3, 5], x[4, 6], x[5] = -np.inf, np.nan, np.inf, -np.inf, 1e30
    target[1:6] = 6
    agree(lambda x, t: F.cross_entropy(x, t, reduction="none"), [x, target], (0,), "float32", "host")
    columns = np.ascontiguousarray(x.T[None])
    agree(lambda x, t: F.cross_entropy(x, t, reduction="none"), [columns, target[None]], (0,), "float32", "host")


def test_where_no_class_counts_the_mean_is_nan_and_its_gradient_zero() -> None:
    ins = [floats(80, 60), np.full(80, -100)]
    agree(F.cross_entropy, ins, (0,), "float32", "host")


@pytest.mark.parametrize("bad", [60, -1, -(1 << 62)])
def test_a_class_that_is_none_is_an_error(bad: int) -> None:
    target = _classes((80,), 60)
    target[7] = bad
    with config.override(cpu_code="host"), pytest.raises(IndexError, match="out of bounds"):
        F.cross_entropy(fb.zeros(80, 60), fb.tensor(target))


def test_a_label_that_is_none_is_an_error() -> None:
    labels = np.array([[1, 9]])
    with config.override(cpu_code="host"), pytest.raises(IndexError, match="out of bounds"):
        F.ctc_loss(fb.zeros(50, 1, 4), fb.tensor(labels), fb.tensor([50]), fb.tensor([2]))
    # what no sequence counts is not looked at
    with config.override(cpu_code="host"):
        assert F.ctc_loss(fb.zeros(50, 1, 4), fb.tensor(labels), fb.tensor([50]), fb.tensor([1])).isfinite()


def test_a_second_derivative() -> None:
    x, target = floats(80, 60), _classes((80,), 60)

    def twice(x: Any, t: Any) -> Any:
        (g,) = fb.autograd.grad(F.cross_entropy(x, t), x, create_graph=True)
        return g.square().sum()

    agree(twice, [x, target], (0,), "float64", "host")


@pytest.mark.parametrize("family", FAMILIES)
def test_the_number_of_threads_is_no_part_of_the_result(family: str) -> None:
    for fn, ins, wanted in list(FAMILIES[family]())[::4]:
        found = []
        for count in (1, 3):
            with config.override(num_threads=count):
                found.append([v.tobytes() for v in computed(fn, ins, wanted, "float32", "host")])
        assert found[0] == found[1]


@pytest.mark.parametrize("target", ELSEWHERE, ids=lambda t: t.name)
def test_elsewhere_it_compiles(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[bytes] = []

    def compiled(*fs: Any) -> list[Any]:
        return [made.append(Compiler(target).compile(fs[0].module.text()))]

    for module in (losses, norms, norm_columns, ctc, distance):
        monkeypatch.setattr(module, "jobs", compiled)
    kind = losses.Kind("float32", True, True, False)
    for job in (losses.forward, losses.forward_columns, losses.backward, losses.backward_columns):
        job.__wrapped__(target, kind)
    norms.grouped.__wrapped__(target, "float32", True, True)
    norms.grouped_grad.__wrapped__(target, "float64", True)
    norm_columns.norm.__wrapped__(target, "float32", True, True)
    norm_columns.sums.__wrapped__(target, "float64")
    ctc.forward.__wrapped__(target, "float32")
    ctc.backward.__wrapped__(target, "float64")
    distance.forward.__wrapped__(target, "float32", 2.0)
    distance.backward.__wrapped__(target, "float64", np.inf)
    assert len(made) == 12
