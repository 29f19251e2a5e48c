"""A transform is a level: a kernel table over wrapped payloads, whose kernels call ops one level down.

``VmapLevel`` wraps (tensor with the batch in front, or unbatched), ``JvpLevel`` wraps
(primal, tangent). Recording runs at every level; a tensor of a finished level raises when used.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Self

from flambeau.core.device import device
from flambeau.core.dispatch import call, tensor_of
from flambeau.core.dtype import DType
from flambeau.core.errors import LevelError
from flambeau.core.keys import Key, key_for
from flambeau.core.record import OPS, Op
from flambeau.core.state import current, put


class Level:
    """One running transform. ``depth`` counts from 1 at the outermost; it dies with the ``with`` block."""

    kind = "transform"
    size = 1
    randomness: str | None = None  # of a vmap: what its elements draw
    payload: type
    adopts = False  # whether a tensor made inside is of this level, so that it can be written to

    def __init__(self) -> None:
        self.depth = len(current().levels) + 1
        self.alive = False
        self._keys: dict[tuple[device, DType], Key] = {}
        self._kernels: dict[str, Callable[..., Any] | None] = {}
        self._lowered: tuple[Any, Any] | None = None

    def __enter__(self) -> Self:
        state = current()
        self._outer = state
        self.alive = True
        put(state.replace(levels=(*state.levels, self)))
        return self

    def __exit__(self, *exc: object) -> None:
        self.alive = False
        put(self._outer)
        self._keys.clear()  # keys and kernels know their level: without this they would be a cycle
        self._kernels.clear()
        self._lowered = None

    def below(self, kernel: Callable[..., Any], arrays: list[Any], params: dict[str, Any]) -> Any:
        """Run a kernel of this level: what it calls, and what it makes, is one level down."""
        state = current()
        if self._lowered is None or self._lowered[0] is not state:
            outer = state.levels[: state.levels.index(self)]
            self._lowered = (state, state.replace(levels=outer))
        try:
            put(self._lowered[1])
            return kernel(*arrays, **params)
        finally:
            put(state)

    def key(self, d: device, dtype: DType) -> Key:
        """The dispatch key of this level for a device and dtype; it lives as long as the level."""
        found = self._keys.get((d, dtype))
        if found is None:
            found = self._keys[d, dtype] = Key(self, d, dtype, key_for(d, dtype).backend)
        return found

    def wrap(self, payload: Any, like: Any) -> Any:
        """A tensor of this level around a payload; ``like`` gives device and dtype."""
        return tensor_of(payload, self.key(like._key.device, like._key.dtype))

    def kernel(self, op: Op, key: Key) -> Callable[..., Any] | None:
        """The level's kernel for an op; None sends it to its body, on tensors of this level."""
        if op.name not in self._kernels:
            self._kernels[op.name] = self.find(op)
        return self._kernels[op.name]

    def find(self, op: Op) -> Callable[..., Any] | None:
        raise NotImplementedError

    def lift(self, t: Any) -> Any:
        """A tensor of an outer level as a constant of this one."""
        raise NotImplementedError

    def assign(self, target: Any, value: Any) -> None:
        """Write the payload ``value`` into ``target``, in place."""
        raise NotImplementedError

    def tracked(self, payload: Any) -> bool:
        """Whether an outer level records what is computed from the payload."""
        raise NotImplementedError

    def detached(self, payload: Any) -> Any:
        """The payload of ``detach()``: the same memory without the history of the outer levels."""
        raise NotImplementedError

    def full(self, like: Any, shape: Any, value: Any, dtype: DType) -> Any:
        """A full tensor at this level with memory of its own for each element of the batch of ``like``."""
        raise NotImplementedError

    def batch(self, t: Any) -> Any:
        """A tensor of the outer level with the batch in front, as one of this level."""
        raise NotImplementedError

    def draw(self, op: Op, args: list[Any], params: dict[str, Any], state: Any) -> Any:
        """Run a random op inside the transforms that run now."""
        return draw(op, args, params, state)

    def custom(self, cls: Any, inputs: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The output of a custom function, run one level down, without history at this one."""
        raise NotImplementedError

    def again(self) -> Level:
        """A new level of the same kind."""
        raise NotImplementedError

    def inner(self, payload: Any) -> Any:
        """The tensor one level down that a payload holds: with the batch in front, or without its tangent."""
        raise NotImplementedError

    def varies(self, payload: Any) -> bool:
        """Whether the payload has a value of its own for each element of a batch."""
        return False

    def describe(self, payload: Any) -> str:
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"{self.kind} at depth {self.depth}{'' if self.alive else ', finished'}"


def _tracked(t: Any) -> bool:
    level = t._key.level
    return t.requires_grad or (level is not None and level.tracked(t._array))


def bottom(t: Any) -> Any:
    """The ordinary tensor under all transforms: all of the batches, without tangents; to look at."""
    while t._key.level is not None:
        t = t._key.level.inner(t._array)
    return t


def in_front(fn: Callable[..., tuple[Any, ...]], t: Any) -> tuple[Any, ...]:
    """``fn`` of a tensor with the batches of all vmaps as its first axes, as those of what it returns.

    For functions that read values and are not differentiated: ``fn`` is given an ordinary tensor.
    """
    level = t._key.level
    if level is None:
        return fn(t)
    outs: tuple[Any, ...] = level.below(lambda v: in_front(fn, v), [level.inner(t._array)], {})
    return tuple(level.batch(o) for o in outs) if level.kind == "vmap" and level.varies(t._array) else outs


def settled(t: Any, target: Any) -> Any:
    """``t`` at the level of ``target``, without tangents, to be written there; itself where it varies in a batch."""
    level = t._key.level
    if level is None or level is target._key.level or level.varies(t._array):
        return t
    return settled(level.inner(t._array), target)


def innermost() -> Level | None:
    """The innermost running transform."""
    levels = current().levels
    return levels[-1] if levels else None


def to_level(t: Any, level: Level | None) -> Any:
    """``t`` lifted to ``level``; unchanged when it is there already or no level runs."""
    if level is None or t._key.level is level:
        return t
    if t._key.level is not None and not t._key.level.alive:
        raise LevelError(f"a tensor of a finished {t._key.level.kind} is used outside of it")
    return level.lift(t)


def copies() -> int:
    """How many elements draw numbers of their own in the running vmaps: a generator reserves that many times."""
    return math.prod(v.size for v in current().levels if v.randomness == "different")


def draw(op: Op, args: list[Any], params: dict[str, Any], state: Any) -> Any:
    """A random op inside transforms: what each vmap's ``randomness`` says, from the innermost out.

    The op draws ``length`` words; for "different" it draws as many for each element of the batch.
    """
    maps = state.levels
    if any(v.randomness == "error" for v in maps):
        raise LevelError(
            f"vmap: called random operation {op.name} while in randomness='error' mode; "
            "give vmap randomness='same' or 'different'"
        )
    different = [v for v in maps if v.randomness == "different"]
    length, count = params["length"], math.prod(v.size for v in different)
    try:
        put(state.replace(levels=()))
        out = call(op, args, params | {"length": length * count})
        out = call(OPS["view"], (out,), {"shape": (*(v.size for v in different), length)})
    finally:
        put(state)
    for v in different:  # the outermost batch is the first axis
        out = v.batch(out)
    return out
