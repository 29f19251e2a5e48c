"""Numbers that a step computes with and the next may have other ones of: options of groups, and counts in the state.

Each is read by one host call for a group (:func:`flambeau.core.events.host`), so that a step that was recorded reads it
anew. The numbers that come back while something records are told to the recorder; they must not get into the options or
the state themselves.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Protocol

from flambeau.core.events import host, is_told, recorder
from flambeau.core.tensor import Tensor
from flambeau.optim.options import number

#: "params" and options by name; what an option may be is up to the optimizer.
Group = dict[str, Any]
#: What an optimizer keeps of one parameter: tensors, numbers or lists of them, by name.
State = dict[str, Any]
#: Where a number stands in a group: the name of the option, and its place in a tuple of them.
Place = tuple[str, int | None]


class Counting(Protocol):
    """What is asked of an optimizer."""

    numbers: ClassVar[tuple[str, ...]]
    state: Any  # of each parameter, by the parameter

    def advance(self, state: State, group: Group) -> tuple[float, ...]: ...


class Read(Group):
    """A group whose numbers were read by a host call; what is set goes to the group itself, ``live``."""

    live: Group

    def __init__(self, group: Group):
        super().__init__(group)
        self.live = group
        self.on: dict[str, bool] = {}

    def __setitem__(self, name: str, value: Any) -> None:
        super().__setitem__(name, value)
        self.live[name] = value


def read(group: Group, names: Iterable[str]) -> Group:
    """``group`` with its numbers under ``names`` as a step may compute with them; itself where nothing records."""
    if recorder() is None:
        return group
    found = Read(group)
    places = tuple([place for name in names if name in group for place in _places(name, group[name])])
    for (name, i), value in zip(places, host(_values, group, places), strict=True):
        own = value if i is None else (*found[name][:i], value, *found[name][i + 1 :])
        dict.__setitem__(found, name, own)
    return found


def _places(name: str, value: Any) -> list[Place]:
    if isinstance(value, (tuple, list)):
        return [(name, i) for i, v in enumerate(value) if _is_number(v)]
    return [(name, None)] if _is_number(value) else []


def _is_number(value: Any) -> bool:
    if isinstance(value, Tensor):
        return value.numel() == 1
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _values(group: Group, places: Sequence[Place]) -> tuple[float, ...]:
    return tuple([number(group[name] if i is None else group[name][i]) for name, i in places])


def live(group: Group) -> Group:
    """The group itself, whose numbers are those of now."""
    return group.live if isinstance(group, Read) else group


def is_on(group: Group, name: str) -> bool:
    """Whether an option, a number, is there and not 0; asked once for a group."""
    value = group.get(name, 0)
    if not is_told(value) or not isinstance(group, Read):
        return bool(value)
    if name not in group.on:
        group.on[name] = bool(value)
    return group.on[name]


def advanced(
    optimizer: Counting, parameters: Sequence[Tensor], group: Group
) -> list[tuple[dict[str, float], list[int]]]:
    """One step more for each parameter: the numbers to compute with, and the places of the parameters that have these.

    A parameter that stands there twice takes two steps.
    """
    names, states = optimizer.numbers, optimizer.state
    kinds: dict[Any, list[int]] = {}
    found = [tuple([states[p].get(name) for name in names]) for p in parameters]
    if len(set(parameters)) < len(parameters):
        turns: Counter[Tensor] = Counter()
        for i, p in enumerate(parameters):
            found[i] = (turns[p], *found[i])
            turns[p] += 1
    for i, kind in enumerate(found):
        kinds.setdefault(kind, []).append(i)
    members = tuple([tuple([parameters[i] for i in places]) for places in kinds.values()])
    values = iter(host(_advance, optimizer, members, live(group)))
    return [({name: next(values) for name in names}, places) for places in kinds.values()]


def _advance(optimizer: Counting, kinds: Sequence[Sequence[Tensor]], group: Group) -> tuple[float, ...]:
    numbers: list[float] = []
    states, advance = optimizer.state, optimizer.advance
    for parameters in kinds:
        found = [advance(states[p], group) for p in parameters]
        if found.count(found[0]) < len(found):
            raise RuntimeError(
                f"{type(optimizer).__name__}: parameters that had taken equally many steps when their step was "
                f"recorded have taken other numbers of them since; {optimizer.numbers} are {sorted(set(found))}"
            )
        numbers += found[0]
    return tuple(numbers)
