"""The pass that makes groups of elementwise nodes: what runs then gives the same bits, and writes the same memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import flambeau as fb
from flambeau.core import config, keys
from flambeau.core import dtype as dt
from flambeau.core.capture.fuse import Fused, fused
from flambeau.core.capture.trace import Kind, Node, Value
from flambeau.core.capture.verdicts import worth
from flambeau.core.dtype import DType
from flambeau.core.record import OPS

DEVICE = fb.device("cpu")


@pytest.fixture(autouse=True)
def machine_code() -> Iterator[None]:
    with config.override(cpu_code="host"):
        yield


def key_for(dtype: DType) -> keys.Key:
    return keys.key_for(DEVICE, dtype)


class Recording:
    """Nodes that are run while they are written, as a recorder does."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.values: list[Value] = []
        self.arrays: dict[Value, Any] = {}
        self.start: dict[Value, Any] = {}
        self.storages: dict[int, int] = {}
        self.keep: list[Any] = []

    def value(self, array: Any, node: int) -> Value:
        for known, found in self.arrays.items():
            if found is array:
                return known
        dtype = dt.from_numpy(array.dtype)
        backend = key_for(dtype).backend
        storage = self.storages.setdefault(backend.storage_id(array), len(self.values))
        strides = backend.layout(array).strides
        made = Value(len(self.values), node, key_for(dtype), array.shape, strides, storage, array.flags.c_contiguous)
        self.values.append(made)
        self.arrays[made] = array
        self.keep.append(array)
        return made

    def given(self, array: Any) -> Value:
        """An array from before the program."""
        found = self.value(array, -1)
        owner = key_for(dt.from_numpy(array.dtype)).backend
        if found.storage == found.number:
            self.start[found] = array.copy()
        assert owner is not None
        return found

    def kernel(self, name: str, *args: Value, out: Value | None = None, **params: Any) -> Value:
        op = OPS[name]
        dtypes = [x.key.dtype for x in args if x.key is not None]
        key = key_for(dtypes[-1])
        fn = getattr(key, f"{name}_" if out is not None else name)
        given = args if out is None else (*args, out)
        array = fn(*[self.arrays[x] for x in given], **params)
        made = out if out is not None else self.value(np.asarray(array), len(self.nodes))
        self.nodes.append(
            Node(Kind.KERNEL, fn, given, params, (made,), op=op, key=key, place=f"t.py:{len(self.nodes)}")
        )
        return made

    def write(self, target: Value, source: Value) -> None:
        assert target.key is not None
        fn = target.key.backend.copy_into
        fn(self.arrays[target], self.arrays[source])
        self.nodes.append(Node(Kind.WRITE, fn, (target, source)))

    def number(self, number: float | Value, dtype: DType, now: float | None = None) -> Value:
        fn = key_for(dtype).constant
        made = self.value(fn(number if now is None else now), len(self.nodes))
        self.nodes.append(Node(Kind.CONSTANT, fn, (number,), outs=(made,), key=key_for(dtype)))
        return made


def run(nodes: list[Node], env: dict[Value, Any]) -> None:
    for node in nodes:
        out = node.fn(*[env[x] if isinstance(x, Value) else x for x in node.args], **node.params)
        if node.several:
            env.update(zip(node.outs, out, strict=True))
        elif node.outs:
            env[node.outs[0]] = np.asarray(out)


def replayed(recording: Recording, nodes: list[Node]) -> dict[Value, Any]:
    """What is known after a run from the arrays as they were at the start."""
    env: dict[Value, Any] = {}
    for value, array in recording.start.items():
        env[value] = array.copy()
    for value, array in recording.arrays.items():
        if value.node == -1 and value not in env:  # a view of one of these
            root = next(x for x in recording.start if x.storage == value.storage)
            backend = key_for(dt.float32).backend
            env[value] = backend.as_strided(env[root], *backend.layout(array))
    run(nodes, env)
    return env


def check(recording: Recording, kept: set[Value]) -> list[Node]:
    """The fused list's results are those of the list, and so is the memory that both wrote to."""
    found = fused(list(recording.nodes), kept)
    one, other = replayed(recording, recording.nodes), replayed(recording, found)
    for value in {*kept, *recording.start}:
        assert one[value].tobytes() == other[value].tobytes(), f"{value.name} of {[str(n.name) for n in found]}"
        assert one[value].dtype == other[value].dtype and one[value].shape == other[value].shape
    return found


def floats(*shape: int, seed: int = 0, dtype: Any = np.float32) -> Any:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def test_a_chain_is_one_node_that_gives_what_is_needed() -> None:
    r = Recording()
    x, y = r.given(floats(4, 5)), r.given(floats(5, seed=1))
    product = r.kernel("mul", x, y)
    total = r.kernel("add", product, r.number(0.1, dt.float32))
    result = r.kernel("sqrt", r.kernel("abs", total))
    (node,) = check(r, {result, total})
    assert isinstance(node, Fused) and node.group is not None
    assert node.args == (x, y) and node.outs == (total, result)
    assert [s.name for s in node.group.steps] == ["constant", "mul", "add", "abs", "sqrt"]
    assert [p.kind for p in node.parts] == [Kind.CONSTANT, *[Kind.KERNEL] * 4]
    assert node.place == "t.py:4"


def test_numbers_of_the_host_are_read_anew() -> None:
    r = Recording()
    rate = Value(1000)
    x = r.given(floats(8))
    scale = r.number(rate, dt.float32, now=0.5)
    result = r.kernel("neg", r.kernel("mul", x, scale))
    found = fused(r.nodes, {result})
    assert [n.kind for n in found] == [Kind.CONSTANT, Kind.KERNEL]
    env = {x: r.start[x], rate: 0.25}
    run(found, env)
    np.testing.assert_array_equal(env[result], -(r.start[x] * np.float32(0.25)))


def test_what_reads_a_group_comes_behind_it() -> None:
    r = Recording()
    x = r.given(floats(6, 6))
    inner = r.kernel("mul", r.kernel("neg", x), x)
    product = r.kernel("matmul", inner, x)
    result = r.kernel("add", r.kernel("mul", inner, product), inner)
    found = check(r, {result})
    assert [isinstance(n, Fused) for n in found] == [True, False, True]
    assert found[0].outs == (inner,)


def test_updates_in_place_are_part_of_a_group() -> None:
    r = Recording()
    weight, grad, state = (r.given(floats(33, seed=i)) for i in range(3))
    r.write(state, r.kernel("add", r.kernel("mul", state, r.number(0.9, dt.float32)), grad))
    r.write(weight, r.kernel("sub", weight, r.kernel("mul", state, r.number(0.01, dt.float32))))
    (node,) = check(r, set())
    assert isinstance(node, Fused) and node.group is not None
    assert node.outs == () and sum(o.into is not None for o in node.group.outputs) == 2


def test_kernels_that_write_to_an_operand_are_part_of_a_group() -> None:
    r = Recording()
    x, y = r.given(floats(33)), r.given(floats(33, seed=1))
    r.kernel("mul", x, y, out=x)
    r.kernel("add", x, y, out=x)
    result = r.kernel("sub", x, y)
    (node,) = check(r, {result})
    assert isinstance(node, Fused) and node.group is not None and len(node.group.outputs) == 2


def test_memory_that_is_read_at_other_places_ends_a_group() -> None:
    r = Recording()
    base = floats(9)
    r.given(base)
    low, high = r.given(base[:8]), r.given(base[1:])
    double = r.kernel("add", low, low)
    r.write(high, r.kernel("mul", double, double))
    result = r.kernel("neg", r.kernel("add", low, double))
    found = check(r, {result})
    assert len(found) > 1


def test_a_write_between_is_not_overtaken() -> None:
    r = Recording()
    x, y = r.given(floats(5)), r.given(floats(5, seed=1))
    first = r.kernel("neg", x)
    r.write(x, y)
    second = r.kernel("add", first, x)
    assert [n.kind for n in check(r, {second})].count(Kind.WRITE) == 1


def test_low_precision_is_rounded_at_each_node() -> None:
    for dtype in (dt.float16, dt.bfloat16):
        r = Recording()
        x, y = r.given(floats(5000, dtype=dtype.numpy)), r.given(floats(5000, seed=1, dtype=dtype.numpy))
        last = x
        for name in ("mul", "add", "sub", "mul", "div"):
            last = r.kernel(name, last, y)
        wide = r.kernel("cast", last, dtype=dt.float32)
        (node,) = check(r, {r.kernel("mul", wide, wide), last})
        assert isinstance(node, Fused)


def test_values_that_nothing_reads_and_lists_without_groups_stay_as_they_are() -> None:
    r = Recording()
    x = r.given(floats(5, 5))
    r.kernel("neg", r.kernel("neg", x))
    result = r.kernel("matmul", x, x)
    assert fused(r.nodes, {result}) == [*r.nodes[2:], *r.nodes[:2]]
    assert fused([], set()) == []


def test_an_overlay_of_a_kernel_is_not_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    from flambeau.core import registry

    r = Recording()
    x = r.given(floats(5))
    result = r.kernel("neg", r.kernel("neg", x))
    monkeypatch.setitem(registry.overlays, ("cpu", "neg"), [object()])
    assert fused(r.nodes, {result}) == r.nodes


def test_without_a_function_for_groups_the_nodes_stay() -> None:
    with config.override(cpu_code="none"):
        r = Recording()
        x = r.given(floats(5))
        result = r.kernel("neg", r.kernel("neg", x))
        assert fused(r.nodes, {result}) == r.nodes


def test_worth_is_measured_once_and_leaves_the_arrays() -> None:
    r = Recording()
    x, y = r.given(floats(4, 7)), r.given(floats(4, 7, seed=1))
    r.write(x, r.kernel("add", r.kernel("mul", x, y), r.number(2.0, dt.float32)))
    (node,) = fused(r.nodes, set())
    assert isinstance(node, Fused)
    arrays = [r.start[v].copy() for v in node.args]
    verdict = worth(node, arrays)
    assert verdict in (True, False) and worth(node, arrays) is verdict
    for v, array in zip(node.args, arrays, strict=True):
        np.testing.assert_array_equal(array, r.start[v])


#: One instruction of a program: what it does, and with which of the values that are there.
_INSTRUCTIONS = st.lists(
    st.tuples(st.integers(0, 9), st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**6)),
    min_size=3, max_size=24,
)  # fmt: skip
_NAMES = ("add", "mul", "sub", "maximum", "minimum")


def _program(code: list[tuple[int, int, int, int]]) -> tuple[Recording, set[Value]]:
    """A program of elementwise kernels, writes through views that overlap, broadcasts, casts, and sums."""
    r = Recording()
    base, other = floats(5, 8), floats(4, 6, seed=1, dtype=np.float64)
    r.given(base)
    r.given(other)
    pool = [r.given(x) for x in (base[:4, :6], base[1:, :6], base[1:, 2:], base[:4, :6].T[:, ::-1].T, other)]
    pool += [r.given(floats(4, 6, seed=2)), r.given(floats(6, seed=3)), r.given(floats(4, 1, seed=4))]

    def pick(n: int, dtype: DType | None = None, full: bool = False) -> Value:
        fitting = [v for v in pool if v.key is not None and (dtype is None or v.key.dtype is dtype)]
        fitting = [v for v in fitting if v.shape == (4, 6)] if full else fitting
        return fitting[n % len(fitting)]

    for what, a, b, c in code:
        x = pick(a, full=True)
        assert x.key is not None
        dtype = x.key.dtype
        if what < 4:
            pool.append(r.kernel(_NAMES[c % len(_NAMES)], x, pick(b, dtype)))
        elif what == 4:
            test = r.kernel("lt", x, pick(b, dtype))
            pool.append(r.kernel("where", test, x, pick(c, dtype)))
        elif what == 5:
            r.write(pick(b, full=True), x)
        elif what == 6:
            r.kernel(_NAMES[c % 3], x, pick(b, dtype), out=x)
        elif what == 7:
            pool.append(r.kernel("cast", x, dtype=dt.float64 if dtype is dt.float32 else dt.float32))
        elif what == 8:
            pool.append(r.kernel("mul", x, r.number(0.25 + c % 3, dtype)))
        else:
            pool.append(r.kernel("sum", x, axis=(1,), keepdims=True))
    made = [v for v in pool if v.node >= 0]
    return r, {v for i, v in enumerate(made) if i % 3 == 0 or i + 1 == len(made)}


@settings(max_examples=60, deadline=None)
@given(_INSTRUCTIONS)
def test_programs_at_random_give_the_same_bits(code: list[tuple[int, int, int, int]]) -> None:
    recording, kept = _program(code)
    check(recording, kept)
