"""Small calls: built-ins take the place of numpy's functions and of generated kernels, and compute the same bits."""

from __future__ import annotations

import subprocess
import sys
import threading
from typing import Any

import numpy as np
import pytest

pytest.importorskip("llvmlite")

from flambeau.backends.base import KernelTable
from flambeau.backends.cpu import generated, small
from flambeau.backends.cpu.table import build_table
from flambeau.backends.llvm import calls, printer
from flambeau.core import config
from flambeau.core import dtype as dt
from flambeau.core.dtype import DType
from flambeau.core.expr import Expr, applies, lower
from flambeau.core.expr.arrays import numpy_has
from flambeau.core.keys import expression
from flambeau.core.record import ELEMENTWISE, OPS, Op

pytestmark = pytest.mark.skipif(calls.unavailable() is not None, reason="no built-ins here")

ALL = {dtype: small.SOURCES[dtype] | small.RARE.get(dtype, {}) for dtype in small.SOURCES}
CASES = [(dtype, name) for dtype, sources in ALL.items() for name in sources]


@pytest.fixture(scope="module")
def tables() -> tuple[KernelTable, KernelTable]:
    """The kernels without built-ins, and with all of them."""
    from flambeau.core import registry

    backend = registry.resolve(__import__("flambeau").device("cpu"))
    with config.override(cpu_code="none"):
        plain = build_table(backend)
        changed = build_table(backend)
    with config.override(cpu_code="host"):
        for dtype, sources in ALL.items():
            waiting = small._Waiting(changed, dtype, sources)
            waiting.enter()
            waiting.change()
    return plain, changed


def _values(dtype: DType, count: int, seed: int) -> np.ndarray[Any, Any]:
    rng = np.random.default_rng(seed)
    if dtype is dt.bool_:
        return rng.integers(0, 2, count).astype(bool)
    if dtype.category == dt.INTEGER:
        info = np.iinfo(dtype.numpy)
        found = rng.integers(info.min, info.max, count, dtype.numpy)
        found[: min(count, 4)] = [info.min, info.max, 0, -1][: min(count, 4)]
        return found
    found = rng.standard_normal(count).astype(dtype.numpy)
    special = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, np.finfo(dtype.numpy).tiny / 4, 1.0, -1.0], dtype.numpy)
    places = rng.random(count) < 0.5
    found[places] = rng.choice(special, int(places.sum()))
    return found


def _bits(x: np.ndarray[Any, Any]) -> bytes:
    """The bits; every nan is one, since which of two goes on is nobody's to say."""
    return np.where(x != x, np.array(np.nan, x.dtype) if x.dtype.kind == "f" else x, x).tobytes()


def _operands(dtype: DType, name: str, shapes: list[tuple[int, ...]]) -> list[np.ndarray[Any, Any]]:
    kinds = (dt.bool_, dtype, dtype) if name == "where" else (dtype,) * 2
    arity = len(small._operands(ALL[dtype][name]))
    return [
        _values(kind, int(np.prod(shape)), i).reshape(shape)
        for i, (kind, shape) in enumerate(zip(kinds[:arity], shapes, strict=False))
    ]


@pytest.mark.parametrize(("dtype", "name"), CASES, ids=lambda v: getattr(v, "name", v))
def test_bits_are_those_of_the_kernel_before(tables: tuple[KernelTable, KernelTable], dtype: DType, name: str) -> None:
    plain, changed = (table.find(name, dtype) for table in tables)
    assert plain is not None and changed is not None
    assert changed.__module__ == "flambeau.backends.llvm"
    for count in (0, 1, 7, 8, 33, 1000, 40_000):
        ins = _operands(dtype, name, [(count,)] * 3)
        expected = np.asarray(plain(*ins))
        found = changed(*ins)
        assert found.dtype == expected.dtype
        assert _bits(found) == _bits(expected)
        out = np.empty_like(expected)
        assert changed(*ins, out) is out
        assert _bits(out) == _bits(expected)


@pytest.mark.parametrize("name", ["add", "lt", "where", "relu", "neg"])
def test_other_layouts_broadcasts_and_in_place_are_served_too(
    tables: tuple[KernelTable, KernelTable], name: str
) -> None:
    plain, changed = (table.find(name, dt.float32) for table in tables)
    assert plain is not None and changed is not None
    for shapes in ([(4, 6)] * 3, [(4, 6), (6,), (1, 6)], [(4, 6), (), ()], [(), (), ()], [(2, 0, 3)] * 3):
        ins = _operands(dt.float32, name, shapes)
        for cut in (lambda v: v, lambda v: v.T, lambda v: v[..., ::-1] if v.ndim else v):
            turned = [cut(v) if v.ndim == ins[0].ndim else v for v in ins]
            try:
                expected = np.asarray(plain(*turned))
            except ValueError:
                continue
            np.testing.assert_array_equal(np.asarray(changed(*turned)), expected)
    if name in ("add", "relu", "neg"):
        ins = _operands(dt.float32, name, [(50,)] * 3)
        expected = plain(*[v.copy() for v in ins])
        changed(*ins, ins[0])
        np.testing.assert_array_equal(ins[0], expected)


@pytest.mark.parametrize("name", ["relu", "sqrt", "maximum", "where", "neg", "add"])
def test_out_by_position_or_name_of_any_layout(tables: tuple[KernelTable, KernelTable], name: str) -> None:
    plain, changed = (table.find(name, dt.float32) for table in tables)
    assert plain is not None and changed is not None
    ins = [np.abs(v) if v.dtype != bool else v for v in _operands(dt.float32, name, [(6, 8)] * 3)]
    expected = np.asarray(plain(*ins))
    for by_name in (False, True):
        out = np.zeros((8, 6), "f4").T
        found = changed(*ins, out=out) if by_name else changed(*ins, out)
        assert found is out
        np.testing.assert_array_equal(out, expected)


def test_errors_are_numpys(tables: tuple[KernelTable, KernelTable]) -> None:
    add = tables[1].find("add", dt.float32)
    assert add is not None
    with pytest.raises(ValueError, match="broadcast"):
        add(np.ones(3, "f4"), np.ones(4, "f4"))
    locked = np.ones(3, "f4")
    locked.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        add(locked, locked, locked)


def _waiting() -> tuple[KernelTable, small._Waiting]:
    table = KernelTable("test")
    table.register("add", np.add, (dt.float32,))
    table.register("neg", np.negative, (dt.float32,))
    waiting = small._Waiting(table, dt.float32, {"add": "x + y", "neg": "-x"})
    waiting.enter()
    return table, waiting


def _call(table: KernelTable, times: int) -> None:
    x = np.ones(4, "f4")
    for _ in range(times):
        kernel = table.find("add", dt.float32)
        assert kernel is not None
        assert kernel(x, x).tolist() == [2.0] * 4


def test_built_ins_come_after_so_many_calls_for_all_functions_of_the_dtype() -> None:
    with config.override(cpu_code="host"):
        table, waiting = _waiting()
        _call(table, small.CALLS - 1)
        assert not waiting.done
        _call(table, 2)
        assert waiting.done
        for name, native in (("add", np.add), ("neg", np.negative)):
            built: Any = table.find(name, dt.float32)
            assert built.__self__ is native


def test_calls_of_many_elements_count_for_several() -> None:
    with config.override(cpu_code="host"):
        table, waiting = _waiting()
        x = np.ones(10_000, "f4")
        for _ in range(small.CALLS // 4):
            kernel = table.find("neg", dt.float32)
            assert kernel is not None
            kernel(x)
        assert waiting.done


def test_kernel_that_somebody_registered_meanwhile_stays() -> None:
    def mine(x: Any, y: Any, out: Any = None) -> Any:
        return np.add(x, y, out)

    with config.override(cpu_code="host"):
        table, waiting = _waiting()
        table.register("add", mine, (dt.float32,))
        waiting.change()
    assert table.find("add", dt.float32) is mine
    assert table.find("neg", dt.float32) is not waiting.counted["neg"]


def test_without_machine_code_the_functions_stay() -> None:
    with config.override(cpu_code="none"):
        table, waiting = _waiting()
        _call(table, small.CALLS + 10)
    assert waiting.done
    assert table.find("add", dt.float32) is np.add


def test_threads_change_over_together() -> None:
    with config.override(cpu_code="host"):
        active_before = config.get("cpu_code")
        table, waiting = _waiting()
    assert active_before == "host"
    failed: list[BaseException] = []

    def work() -> None:
        try:
            with config.override(cpu_code="host"):
                _call(table, small.CALLS)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not failed
    assert waiting.done


_PROGRAM = """
import sys
import flambeau as fb
x = fb.ones(8)
for _ in range({times}):
    x + x
print("llvmlite" in sys.modules, type(x._key.add).__name__, (x + 1.0).tolist()[0], x.add_(x).tolist()[0], x.dtype)
"""


@pytest.mark.parametrize(("times", "loaded", "kind"), [(10, "False", "function"), (3000, "True", "builtin_function")])
def test_small_programs_load_no_compiler(times: int, loaded: str, kind: str) -> None:
    code = f"import os; os.environ['FLAMBEAU_CPU_CODE'] = 'host'\n{_PROGRAM.format(times=times)}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[:2] in ([loaded, kind], [loaded, f"{kind}_or_method"])
    assert done.stdout.split()[2:4] == ["2.0", "2.0"]


# -- kernels generated from expressions --------------------------------------------------------------
def _exact_ops() -> list[tuple[DType, str]]:
    found = []
    for op in OPS.values():
        for dtype in (dt.float32, dt.float64, dt.int32, dt.int64):
            if op.expr is not None and op.family is ELEMENTWISE and op.accepts(dtype) and _exact(op, dtype):
                found.append((dtype, op.name))
    return found


def _asked(op: Op, dtype: DType) -> tuple[Expr, tuple[DType, ...], DType]:
    kinds = {"bool": dt.bool_, "index": dt.int64}
    return (
        expression(op, dtype),
        tuple(kinds.get(op.kind_of(a), dtype) for a in op.schema.operands),
        op.dtype.out(0, dtype, {}),
    )


def _exact(op: Op, dtype: DType) -> bool:
    expr, dtypes, result = _asked(op, dtype)
    if not applies(expr, dtypes, result):
        return False
    return all(generated.is_exact(lower(expr, dtypes, result, has)) for has in (numpy_has, printer.native))


def _changed(name: str, dtype: DType) -> tuple[Any, Any]:
    """The generated kernel of an op before and after its built-in was made."""
    expr, dtypes, result = _asked(OPS[name], dtype)
    with config.override(cpu_code="host"):
        generated._kernels.clear()
        before = generated.kernel(name, expr, dtypes, result)
        for _ in range(generated.CALLS):
            before(*[np.ones(2, d.numpy) for d in dtypes])
        return before, generated.kernel(name, expr, dtypes, result)


def test_many_expressions_are_exact() -> None:
    assert {"hardshrink", "lerp", "sign", "leaky_relu", "addcmul"} <= {name for _, name in _exact_ops()}


@pytest.mark.parametrize(("dtype", "name"), _exact_ops(), ids=lambda v: getattr(v, "name", v))
def test_built_in_of_an_expression_has_the_bits_of_numpys_kernel(dtype: DType, name: str) -> None:
    before, after = _changed(name, dtype)
    assert after is not before and after.__module__ == "flambeau.backends.llvm"
    _, dtypes, _ = _asked(OPS[name], dtype)
    with config.override(cpu_code="none"):
        for lead, others in (((0,),) * 2, ((1,),) * 2, ((7,),) * 2, ((40_000,),) * 2, ((6, 5), ()), ((), ())):
            shapes = [lead, *[others] * (len(dtypes) - 1)]
            ins = [
                _values(d, int(np.prod(s)), i).reshape(s) for i, (d, s) in enumerate(zip(dtypes, shapes, strict=True))
            ]
            expected, found = before(*ins), after(*ins)
            assert found.dtype == expected.dtype and found.shape == expected.shape
            assert _bits(found) == _bits(expected)
            for turned in ([v.T for v in ins], [v[::2] if v.ndim else v for v in ins]):
                np.testing.assert_array_equal(after(*turned), before(*turned))


def test_expressions_that_round_differently_elsewhere_stay_numpys() -> None:
    before, after = _changed("softplus", dt.float32)
    assert after is before


def test_keys_find_the_built_in_of_an_expression() -> None:
    code = """
import os; os.environ['FLAMBEAU_CPU_CODE'] = 'host'
import sys
import flambeau as fb
x = fb.tensor([-2.0, 0.25, 3.0])
for _ in range(600):
    y = fb.lerp(x, x + 1, 0.5)
print(type(x._key.lerp).__name__, y.tolist(), x.lerp_(x + 2, 0.5).tolist())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.split(" ", 1) == ["builtin_function_or_method", "[-1.5, 0.75, 3.5] [-1.0, 1.25, 4.0]\n"], (
        done.stderr
    )
