"""A transform is a level: a kernel table over wrapped payloads, whose kernels call ops one level down.

:class:`VmapLevel` wraps (tensor with the batch in front, or unbatched), :class:`JvpLevel` wraps
(primal, tangent). Recording runs at every level; a tensor of a finished level raises when used.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

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
    payload: type
    adopts = False  # whether a tensor made inside is of this level, so that it can be written to

    def __init__(self) -> None:
        self.depth = len(current().levels) + 1
        self.alive = False
        self._keys: dict[tuple[device, DType], Key] = {}
        self._kernels: dict[str, Callable[..., Any] | None] = {}
        self._lowered: tuple[Any, Any] | None = None

    def __enter__(self) -> Any:
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
        put(self._lowered[1])
        try:
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

    def describe(self, payload: Any) -> str:
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"{self.kind} at depth {self.depth}{'' if self.alive else ', finished'}"


def _tracked(t: Any) -> bool:
    level = t._key.level
    return t.requires_grad or (level is not None and level.tracked(t._array))


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
    n = 1
    for v in current().levels:
        if isinstance(v, VmapLevel) and v.randomness == "different":
            n *= v.size
    return n


def draw(op: Op, args: list[Any], params: dict[str, Any], state: Any) -> Any:
    """A random op inside transforms: what each vmap's ``randomness`` says, from the innermost out.

    The op draws ``length`` words; for "different" it draws as many for each element of the batch.
    """
    maps = [v for v in state.levels if isinstance(v, VmapLevel)]
    if any(v.randomness == "error" for v in maps):
        raise LevelError(
            f"vmap: called random operation {op.name} while in randomness='error' mode; "
            "give vmap randomness='same' or 'different'"
        )
    different = [v for v in maps if v.randomness == "different"]
    count = 1
    for v in different:
        count *= v.size
    length = params["length"]
    put(state.replace(levels=()))
    try:
        out = call(op, args, params | {"length": length * count})
        out = call(OPS["view"], (out,), {"shape": (*(v.size for v in different), length)})
    finally:
        put(state)
    for v in different:  # the outermost batch is the first axis
        out = v.wrap(Batched(out, True), out)
    return out


# -- vmap --------------------------------------------------------------------------------------------
class Batched:
    """A payload of vmap: ``value`` one level down, with the batch as its first axis if ``batched``."""

    __slots__ = ("batched", "shape", "value")

    def __init__(self, value: Any, batched: bool):
        self.value, self.batched = value, batched
        self.shape = value._array.shape[1:] if batched else value._array.shape

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        n = 1
        for s in self.shape:
            n *= s
        return n


class VmapLevel(Level):
    """vmap over ``size`` elements; ``randomness`` is "error", "same" or "different"."""

    kind = "vmap"
    payload = Batched

    def __init__(self, size: int, randomness: str):
        super().__init__()
        self.size, self.randomness = size, randomness

    def find(self, op: Op) -> Callable[..., Any] | None:
        from flambeau.core.transforms import batching

        rule = batching.rule_for(op)
        if rule is None:
            return None

        def kernel(*args: Any, **params: Any) -> Any:
            if not any(_is_batched(a) for a in args):
                out = call(op, [_plain(a) for a in args], params)
                return _wrap_all(out, False)
            return _wrap_all(rule(self, op, list(args), params), True)

        if op.schema.operands and op.schema.operands[-1].is_list:
            count = len(op.schema.operands) - 1
            return lambda *args, **params: kernel(*args[:count], list(args[count:]), **params)
        return kernel

    def lift(self, t: Any) -> Any:
        return self.wrap(Batched(t, False), t)

    def assign(self, target: Batched, value: Batched) -> None:
        if value.batched and not target.batched:
            raise LevelError(
                "vmap: an unbatched tensor is written to with batched values; each element would need its own copy. "
                "Use the out-of-place op, or make the tensor inside with zeros_like of a batched one"
            )
        target.value.copy_(value.value)

    def tracked(self, payload: Batched) -> bool:
        return _tracked(payload.value)

    def detached(self, payload: Batched) -> Batched:
        return Batched(payload.value.detach(), payload.batched)

    def full(self, like: Any, shape: Any, value: Any, dtype: DType) -> Any:
        from flambeau.core.creation import full_at

        model, batched = like._array.value, like._array.batched
        made = self.below(full_at, [model, (self.size, *shape) if batched else shape, value, dtype], {})
        return tensor_of(Batched(made, batched), self.key(like.device, dtype))

    def describe(self, payload: Batched) -> str:
        return f"batch={self.size if payload.batched else None}, value={payload.value!r}"


def _is_batched(a: Any) -> bool:
    if isinstance(a, (list, tuple)):
        return any(_is_batched(v) for v in a)
    return isinstance(a, Batched) and a.batched


def _plain(a: Any) -> Any:
    if isinstance(a, (list, tuple)):
        return [_plain(v) for v in a]
    return a.value if isinstance(a, Batched) else a


def _wrap_all(out: Any, batched: bool) -> Any:
    if isinstance(out, (tuple, list)):
        return tuple(_wrap_all(o, batched) for o in out)
    return out if isinstance(out, Batched) else Batched(out, batched)


# -- jvp ---------------------------------------------------------------------------------------------
class Dual:
    """A payload of forward mode: a primal and its tangent (None: zero), one level down.

    A view remembers the payload it was taken of and how, so that a tangent that a later write brings
    to either of them reaches both.
    """

    __slots__ = ("base", "primal", "replay", "shape", "tangent")

    def __init__(
        self, primal: Any, tangent: Any = None, base: Dual | None = None, replay: Callable[[Any], Any] | None = None
    ):
        self.primal, self.tangent, self.base, self.replay = primal, tangent, base, replay
        self.shape = primal._array.shape

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        n: int = self.primal.numel()
        return n

    def direction(self) -> Any:
        """The tangent now: that of a view follows its base's."""
        if self.tangent is None and self.base is not None:
            owner, views = self._owner()
            if owner.tangent is not None:
                for view in views:
                    assert view.base is not None and view.replay is not None
                    view.tangent = view.replay(view.base.tangent)
        return self.tangent

    def _owner(self) -> tuple[Dual, list[Dual]]:
        """The nearest payload that has a tangent or is no view, and the views from there to this one."""
        owner, views = self, []
        while owner.tangent is None and owner.base is not None:
            views.append(owner)
            owner = owner.base
        return owner, views[::-1]

    def materialise(self, like: Any) -> Any:
        """A tangent with memory at the level of ``like``, shared with the base's where this is a view."""
        if self.direction() is None:
            from flambeau.core.creation import zeros_at

            owner, _ = self._owner()
            owner.tangent = zeros_at(like, tuple(owner.shape))
        return self.direction()


class JvpLevel(Level):
    """Forward-mode differentiation: every op carries tangents beside its values."""

    kind = "jvp"
    payload = Dual
    adopts = True

    def find(self, op: Op) -> Callable[..., Any] | None:
        from flambeau.core.transforms import forward

        return forward.kernel_for(self, op)

    def lift(self, t: Any) -> Any:
        return self.wrap(Dual(t), t)

    def assign(self, target: Dual, value: Dual) -> None:
        tangent = value.direction()
        target.primal.copy_(value.primal)
        if tangent is not None:
            target.materialise(tangent).copy_(tangent)
        elif target.direction() is not None:
            target.tangent.zero_()

    def tracked(self, payload: Dual) -> bool:
        return _tracked(payload.primal) or (payload.tangent is not None and _tracked(payload.tangent))

    def detached(self, payload: Dual) -> Dual:
        return Dual(payload.primal.detach())

    def full(self, like: Any, shape: Any, value: Any, dtype: DType) -> Any:
        from flambeau.core.creation import full_at

        made = self.below(full_at, [like._array.primal, shape, value, dtype], {})
        return tensor_of(Dual(made), self.key(like.device, dtype))

    def describe(self, payload: Dual) -> str:
        return f"primal={payload.primal!r}, tangent={payload.direction()!r}"
