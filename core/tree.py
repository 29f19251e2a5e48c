"""Nested tuples, lists, dicts and namedtuples as flat lists of leaves."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any


class Structure:
    """The shape of a nesting, without its leaves."""

    __slots__ = ("children", "hashed", "kind", "meta")

    def __init__(self, kind: Any, meta: Any, children: tuple[Structure, ...]):
        self.kind, self.meta, self.children = kind, meta, children
        self.hashed: int | None = None  # once somebody asked

    def __eq__(self, other: object) -> bool:
        return (
            self is other
            or isinstance(other, Structure)
            and (self.kind, self.meta, self.children)
            == (
                other.kind,
                other.meta,
                other.children,
            )
        )

    def __hash__(self) -> int:
        if self.hashed is None:
            self.hashed = hash((self.kind, self.meta, self.children))
        return self.hashed

    @property
    def leaves(self) -> int:
        """How many leaves it holds."""
        return 1 if self.kind is None else sum(c.leaves for c in self.children)


_LEAF = Structure(None, None, ())
#: Classes that somebody made containers: how each comes apart, into children and the rest, and together again.
REGISTERED: dict[type, tuple[Callable[[Any], tuple[Iterable[Any], Any]], Callable[[list[Any], Any], Any]]] = {}


class _Rest:
    """What a registered container has beside its children; equal by its own comparison, and hashable for all."""

    __slots__ = ("value",)

    def __init__(self, value: Any):
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Rest) and bool(self.value == other.value)

    def __hash__(self) -> int:
        return hash(str(self.value))


def flatten(tree: Any) -> tuple[list[Any], Structure]:
    """The leaves in order, and the structure that :func:`unflatten` needs.

    >>> leaves, structure = flatten({"a": 1, "b": (2, [3])})
    >>> leaves, unflatten([10, 20, 30], structure)
    ([1, 2, 3], {'a': 10, 'b': (20, [30])})
    """
    leaves: list[Any] = []
    return leaves, _walk(tree, leaves)


def _walk(tree: Any, leaves: list[Any]) -> Structure:
    kind = tree.__class__
    if kind in REGISTERED:
        children, rest = REGISTERED[kind][0](tree)
        return Structure(kind, _Rest(rest), tuple([_walk(v, leaves) for v in children]))
    if isinstance(tree, dict):
        return Structure(kind, tuple(tree), tuple([_walk(v, leaves) for v in tree.values()]))
    if kind in (tuple, list) or (isinstance(tree, tuple) and hasattr(tree, "_fields")):
        return Structure(kind, len(tree), tuple([_walk(v, leaves) for v in tree]))
    leaves.append(tree)
    return _LEAF


def unflatten(leaves: Iterable[Any], structure: Structure) -> Any:
    """The nesting with new leaves."""
    return _build(iter(leaves), structure)


def _build(leaves: Iterator[Any], s: Structure) -> Any:
    if s.kind is None:
        return next(leaves)
    children = [_build(leaves, c) for c in s.children]
    if s.meta.__class__ is _Rest:
        return REGISTERED[s.kind][1](children, s.meta.value)
    if isinstance(s.kind, type) and issubclass(s.kind, dict):
        made = s.kind()
        made.update(zip(s.meta, children, strict=True))
        return made
    return s.kind(*children) if hasattr(s.kind, "_fields") else s.kind(children)


def tree_map(fn: Callable[..., Any], tree: Any, *others: Any) -> Any:
    """``fn`` of each leaf (and of the leaves of ``others`` beside it)."""
    leaves, structure = flatten(tree)
    return unflatten([fn(*vs) for vs in zip(leaves, *(flatten(o)[0] for o in others), strict=True)], structure)


def broadcast_prefix(prefix: Any, structure: Structure, name: str) -> list[Any]:
    """One value per leaf from a nesting that may stop early: ``0`` or ``(0, None)`` for in_dims."""
    if structure.kind is None:
        if isinstance(prefix, (tuple, list, dict)):
            raise ValueError(f"{name}: got {prefix!r} for what is a single tensor; it must match the structure")
        return [prefix]
    if not isinstance(prefix, (tuple, list, dict)):
        return [prefix] * structure.leaves
    parts = list(prefix.values()) if isinstance(prefix, dict) else list(prefix)
    if len(parts) != len(structure.children):
        raise ValueError(
            f"{name}: got {len(parts)} entries for a structure of {len(structure.children)}; they must match"
        )
    return [v for p, c in zip(parts, structure.children, strict=True) for v in broadcast_prefix(p, c, name)]
