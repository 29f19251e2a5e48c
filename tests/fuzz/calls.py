"""Draws the calls: valid ones, spoilt."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, NamedTuple

from tests.fuzz.catalogue import Target, targets, valid_calls
from tests.fuzz.values import KEYWORDS, STRANGE


class Drawn(NamedTuple):
    """A call, and how it was spoilt in words."""

    target: Target
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    how: str

    def __str__(self) -> str:
        return f"{self.target.path}: {self.how}"


def draw(seed: int, index: int, chosen: Callable[[str], bool] = lambda path: True) -> Drawn:
    """Call ``index`` of a seed: the same one in every run."""
    rng = random.Random(f"{seed} {index}")
    pool = [t for t in targets() if chosen(t.path)]
    target = pool[index % len(pool)] if index < len(pool) else rng.choice(pool)
    args, kwargs = rng.choice(valid_calls(target))
    fixed = 1 if target.owner is not None or target.path.endswith("()") else 0
    return _spoilt(rng, target, list(args), dict(kwargs), fixed)


def _spoilt(rng: random.Random, target: Target, args: list[Any], kwargs: dict[str, Any], fixed: int) -> Drawn:
    places: list[Any] = [*range(fixed, len(args)), *kwargs]
    how: list[str] = []

    def strange() -> tuple[str, Any]:
        name = rng.choice(list(STRANGE))
        return name, STRANGE[name]()

    def put(place: Any) -> None:
        name, value = strange()
        (args if isinstance(place, int) else kwargs)[place] = value
        how.append(f"{place!r}: {name}")

    kind = rng.random()
    if places and kind < 0.6:
        put(rng.choice(places))
    elif places and kind < 0.7:
        for place in rng.sample(places, min(2, len(places))):
            put(place)
    elif places and kind < 0.75:
        for place in places:
            put(place)
    elif len(args) > fixed and kind < 0.78:
        args.pop()
        how.append("one less")
    elif kind < 0.88:
        name, value = strange()
        args.append(value)
        how.append(f"one more: {name}")
    else:
        put(rng.choice(_keywords(target)))
    return Drawn(target, tuple(args), kwargs, ", ".join(how))


def _keywords(target: Target) -> list[str]:
    import inspect

    try:
        own = [n for n, p in inspect.signature(target.fn).parameters.items() if p.kind in (p.POSITIONAL_OR_KEYWORD,
               p.KEYWORD_ONLY)]  # fmt: skip
    except (TypeError, ValueError):
        own = []
    return [*own, *own, *KEYWORDS]
