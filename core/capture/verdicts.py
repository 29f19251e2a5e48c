"""Whether a group of kernels takes less time than its parts: measured once, and kept on disk for other processes."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from importlib import metadata
from time import perf_counter
from typing import Any, Final

from flambeau.backends.base import Array, Kernel
from flambeau.backends.group import Group
from flambeau.backends.store import Store
from flambeau.core import config
from flambeau.core.cache import Cache
from flambeau.core.capture.fuse import Fused, refused
from flambeau.core.capture.trace import Kind, Node, Value
from flambeau.core.device import device as Device
from flambeau.core.keys import Key

#: How often a group and its parts are timed, and how often such as take so many seconds.
_ROUNDS, _ROUNDS_LONG, _LONG = 5, 2, 5e-3
#: Each time is of about so many seconds, or so many calls at most: where work is enqueued, a single call would take as
#: long as the wait for its end.
_SECONDS: Final = 1e-3
_MOST_TIMED: Final = 16
#: What a group with a head may take of the time of its parts: most of both is the same work, whose time varies.
_HEADED: Final = 0.98
_FASTER: Final = b"faster"
_SLOWER: Final = b"slower"

store: Final = Store("groups", ".txt")


def worthwhile(nodes: list[Node]) -> list[Node]:
    """The nodes with those groups that took less time than their parts; the parts in the place of the others.

    The parts of a group with a head or rows are in groups of elementwise nodes themselves, where those take less.
    """
    found: list[Node] = []
    for node in nodes:
        if not isinstance(node, Fused):
            found.append(node)
            continue
        group = node.group
        if group is not None and (group.head is not None or group.axes):
            node.parts = tuple(worthwhile(refused(node)))
        found += [node] if worth(node) else node.parts
    return found


def worth(node: Fused, arrays: Sequence[Array] | None = None) -> bool:
    """Whether a group took less time than its parts, on the arrays of its args; measured once for each group.

    A verdict holds for one device and number of threads, and is kept in the folder of the setting ``cache_dir``, where
    other processes find it, unless ``cache_size`` is 0.

    Args:
        node: a group.
        arrays: what it gets; they keep their values: what is written to is copied first. None: arrays of ones, made
            where there is something to measure.
    """
    assert node.group is not None
    key = _key(node.args[0])
    asked = node.group, key.device, config.get("num_threads")
    found = _verdicts.get(asked)
    if found is None:
        found = _kept(node, key, node.args if arrays is None else arrays)
        _verdicts.remember(asked, found)
    return found


_verdicts: Final[Cache[tuple[Group, Device, int], bool]] = Cache(limit=4096)


def _kept(node: Fused, key: Key, given: Sequence[Any]) -> bool:
    """The verdict on the disk, else a new one, which goes there. A file that says something else is none."""
    assert node.group is not None
    group = node.group

    def measure() -> bytes:
        arrays = [_trial(x) if x.__class__ is Value else x for x in given]
        return _FASTER if _measure(node, key, _apart_from(group, key, arrays)) else _SLOWER

    text = described(group, key)
    found = store.get(hashlib.sha256(text.encode()).hexdigest(), lambda: measure() + b"\n" + text.encode())
    said = found.partition(b"\n")[0]
    return (said if said in (_FASTER, _SLOWER) else measure()) == _FASTER


def described(group: Group, key: Key) -> str:
    """What a verdict holds for, in words: the version, the machine, its threads, and the group with its expressions."""
    backend, index = key.backend, key.device.number
    expressions = [f"{s.name}: {s.expr.source}" for s in group.steps]
    return "\n".join([
        f"flambeau {_version()}, {key.device.type} {index}: {backend.processor(index)}",
        f"{config.get('num_threads')} threads",
        str(group),
        *dict.fromkeys(expressions),
    ])  # fmt: skip


@functools.cache
def _version() -> str:
    try:
        return metadata.version("flambeau")
    except metadata.PackageNotFoundError:  # run from a folder
        return "of a folder"


# -- measuring -------------------------------------------------------------------------------------
def _key(value: Value) -> Key:
    assert value.key is not None
    return value.key


def _trial(value: Value) -> Array:
    """An array of the form of a value, of ones."""
    key = _key(value)
    made = _like(key, value.shape, value.strides)
    key.backend.copy_into(made, key.constant(1))
    return made


def _like(key: Key, shape: tuple[int, ...], strides: tuple[int, ...]) -> Array:
    """An array of a shape and of strides, in memory of its own."""
    steps = [(n - 1) * s for n, s in zip(shape, strides, strict=True) if n > 1]
    before = -sum(s for s in steps if s < 0)
    room = key.backend.empty((before + sum(s for s in steps if s > 0) + 1,), key.stored, key.device.number)
    return key.backend.as_strided(room, shape, strides, before)


def _apart_from(group: Group, key: Key, arrays: Sequence[Array]) -> list[Array]:
    """The arrays, those that the group writes to copied, with their strides."""
    made = list(arrays)
    for i in {o.into for o in group.outputs if o.into is not None}:
        dtype, shape, strides = group.inputs[i]
        made[i] = _like(key.sibling(dtype), shape, strides)
        key.backend.copy_into(made[i], arrays[i])
    return made


def _measure(node: Fused, key: Key, arrays: list[Array]) -> bool:
    ways = (node.fn, _sequence(node))
    best = _timed(ways, key, arrays, 1, [float("inf")] * 2)  # warms up too
    calls = max(1, min(_MOST_TIMED, int(_SECONDS / min(best))))
    rounds = _ROUNDS_LONG if best[1] > _LONG else _ROUNDS
    best = [float("inf")] * 2
    for _ in range(rounds):
        best = _timed(ways, key, arrays, calls, best)
    headed = node.group is not None and node.group.head is not None
    return best[0] < best[1] * (_HEADED if headed else 1.0)


def _timed(ways: Sequence[Kernel], key: Key, arrays: list[Array], calls: int, best: list[float]) -> list[float]:
    """Seconds that a call of each way takes, or took before where that is less."""
    found = []
    for way, least in zip(ways, best, strict=True):
        key.backend.synchronize(key.device.number)
        start = perf_counter()
        for _ in range(calls):
            way(*arrays)
        key.backend.synchronize(key.device.number)
        found.append(min(least, (perf_counter() - start) / calls))
    return found


def _sequence(node: Fused) -> Kernel:
    """The parts as one function of the node's args, written out: an interpreter would be timed with them."""
    scope: dict[str, Any] = {}

    def text(argument: Any) -> str:
        if argument.__class__ is Value:
            return str(argument.name)
        name = f"c{len(scope)}"
        scope[name] = argument
        return name

    lines = [f"def parts({', '.join(x.name for x in node.args)}):", "    pass"]
    for part in node.parts:
        if part.kind is Kind.CONSTANT:  # made once, as for a replay of the parts
            scope[part.out.name] = part.fn(*part.args)
            continue
        given = [*[text(x) for x in part.args], *[f"{k}={text(v)}" for k, v in part.params.items()]]
        names = ", ".join("_" if x is None else x.name for x in part.outs)
        result = f"{names}{',' if part.several else ''} = " if part.outs else ""
        lines.append(f"    {result}{text(part.fn)}({', '.join(given)})")
    exec("\n".join(lines), scope)
    made: Kernel = scope["parts"]
    return made
