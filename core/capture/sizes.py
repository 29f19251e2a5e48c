"""Which kinds of calls differ in sizes alone, and which sizes a program has marked.

Sizes 0 and 1 are kept apart, as in PyTorch: what broadcasts or is empty takes other ways through a program.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Any, Final, Protocol, TypeAlias

from flambeau.core.capture.calls import KindOfCall
from flambeau.core.capture.ending import Ending
from flambeau.core.capture.graph import Graph
from flambeau.core.capture.recorder import Recorder
from flambeau.core.capture.surroundings import Surroundings
from flambeau.core.capture.template import ANOTHER_ANSWER, Delta, Sized, Template
from flambeau.core.tensor import Tensor

#: The attributes of tensors in which marks stand: sets of dimensions, under PyTorch's names.
DYNAMIC: Final = "_dynamo_dynamic_indices"
MAYBE: Final = "_dynamo_weak_dynamic_indices"
STATIC: Final = "_dynamo_static_indices"

_MOST_KINDS: Final = 1024  #: sizes of all families of a function
_MOST_ONCE: Final = 16  #: sizes after which it shows whether they come again
_MOST_WAITING: Final = 256  #: recordings of a family for which another one at their size must come
_MOST_TRIES: Final = 2  #: recordings of one size that may be of something else
_MOST_ANSWERS: Final = 4  #: recordings of one size that may come to another answer
_MOST_MISFITS: Final = 4  #: sizes that may have recordings of their own before others are not tried any more
_PARTS_OF_TENSOR: Final = 6  # of a kind of call: key, shape, strides, class, history, memory


def mark(t: Tensor, index: int | Iterable[int] | None, attribute: str, what: str) -> None:
    """Mark dimensions of a tensor; None is all of them.

    TypeError for what is no tensor, or for dimensions that are no ints; IndexError for a dimension that it has not.
    """
    if not isinstance(t, Tensor):
        raise TypeError(f"{what}: t must be a tensor, got {type(t).__name__}")
    dims = range(t.dim()) if index is None else [index] if isinstance(index, int) else list(index)
    for d in dims:
        if not isinstance(d, int) or isinstance(d, bool):
            raise TypeError(f"{what}: index must be an int or ints, got {d!r}")
        if not -t.dim() <= d < t.dim():
            raise IndexError(f"{what}: dimension {d} of a tensor of {t.dim()} dimension{'s' * (t.dim() != 1)}")
    own = {d % t.dim() for d in dims}
    for name in (DYNAMIC, MAYBE, STATIC):
        left: set[int] = getattr(t, name, set()) - own
        setattr(t, name, left | own if name == attribute else left)


def family_of(key: KindOfCall, leaves: Sequence[Any], dynamic: bool | None) -> KindOfCall | None:
    """What kinds of calls have in common that differ in sizes alone; None where each size stands for itself.

    Args:
        key: the kind of a call with these ``leaves``.
        dynamic: whether all sizes may change (True, None), or only those that are marked dynamic (False).
    """
    parts: list[Any] = [key[0], key[1]]
    for leaf, part in zip(leaves, key[2:], strict=True):
        if isinstance(leaf, Tensor) and part.__class__ is tuple and len(part) == _PARTS_OF_TENSOR:
            device, shape, strides, *rest = part
            open_ = _open(leaf, shape, dynamic)
            sizes = tuple("n" if i in open_ else n for i, n in enumerate(shape))
            parts.append((device, sizes, _order(shape, strides), *rest))
        else:
            parts.append(part)
    found = tuple(parts)
    return found if any("n" in p[1] for p in found[2:] if p.__class__ is tuple and len(p) == _PARTS_OF_TENSOR) else None


def _open(t: Tensor, shape: tuple[int, ...], dynamic: bool | None) -> set[int]:
    """The dimensions whose size may be another one."""
    given = getattr(t, "__dict__", {})
    marked = given.get(DYNAMIC, set()) | given.get(MAYBE, set())
    some = marked if dynamic is False else set(range(len(shape))) - given.get(STATIC, set())
    return {i for i in some if shape[i] > 1}


def marked(leaves: Iterable[Any]) -> bool:
    """Whether a size is marked dynamic for good, so that the program wants to hear of it where it is not."""
    return any(isinstance(t, Tensor) and getattr(t, DYNAMIC, None) for t in leaves)


def sizes_of(key: KindOfCall) -> tuple[int, ...]:
    """All sizes of the tensors of a call, in order."""
    tensors = [p for p in key[2:] if p.__class__ is tuple and len(p) == _PARTS_OF_TENSOR]
    return tuple(n for p in tensors for n in p[1])


def _order(shape: tuple[int, ...], strides: tuple[int, ...]) -> Any:
    """How the elements lie: the order of the dimensions where they lie side by side, else the strides."""
    order = sorted((i for i, n in enumerate(shape) if n > 1), key=lambda i: (-strides[i], i))
    unit = reach = strides[order[-1]] if order else 1
    for i in reversed(order):
        if strides[i] != reach:
            return strides
        reach *= shape[i]
    return ("packed", unit, *order)


# -- families ----------------------------------------------------------------------------------------
class Kind(Protocol):
    """A kind of calls, as a family sees it."""

    key: KindOfCall
    graphs: list[Graph]


#: What was recorded once at a size, and not as foretold.
Waiting: TypeAlias = OrderedDict[KindOfCall, tuple[Template, Delta]]


class Family:
    """Kinds of calls that differ in sizes alone, with the recordings that hold for all of them."""

    def __init__(self, limit: int):
        self.limit = limit
        self.templates: list[Template] = []
        self._waiting: Waiting = OrderedDict()
        self._tries: dict[KindOfCall, int] = {}  # recordings that were none of the same
        self._misfits = 0  # sizes that have recordings of their own
        self._followed: list[Template] = []
        self._made: list[Sized] = []  # the latest ones, to see whether sizes come again

    def fits(self) -> bool:
        """Whether there is a recording that is for a call as things are, of any size."""
        return any(not t.graph.changed() for t in self.templates)

    def follow(self) -> Template | None:
        """The recording that the next run is laid beside."""
        hopeless = self._misfits > _MOST_MISFITS + len(self._made)
        self._followed = [] if hopeless else [t for t in self.templates if not t.graph.changed()]
        return self._followed[0] if self._followed else None

    def records_at_once(self) -> bool:
        """Whether the first call of a size is recorded: not where most sizes came once, or go their own ways."""
        once = sum(not graph.calls for graph in self._made) + len(self._waiting)
        sizes = len(self._made) + len(self._waiting)
        return (sizes < _MOST_ONCE or 2 * once < sizes) and self._misfits <= sizes and self.fits()

    def found(self, key: KindOfCall, graph: Graph, recorder: Recorder, surroundings: Surroundings) -> None:
        """A recording was verified: calls of other sizes are laid beside it."""
        self.templates.insert(0, Template(graph, recorder.segments, sizes_of(key), surroundings))
        del self.templates[self.limit :]

    def take(self, kind: Kind, graph: Graph, recorder: Recorder, ending: Ending) -> Sized | str | None:
        """What a recording at another size becomes: a graph, or nothing yet; a text that says why it cannot.

        It followed the first of the templates that fit; others that know the same surroundings serve as well.
        """
        followed, *more = self._followed
        first: str = ""
        for template in (followed, *(t for t in more if t.known == followed.known)):
            delta = template.delta(recorder, ending)
            if not isinstance(delta, str):
                return self._settle(template, delta, kind, graph, recorder)
            first = first or delta
        tries = self._tries[kind.key] = self._tries.get(kind.key, 0) + 1
        if tries < (_MOST_ANSWERS if first == ANOTHER_ANSWER else _MOST_TRIES):
            return None  # a look at data goes another way next, and a kernel or a cache is made once
        self._tries.pop(kind.key)
        self._misfits += 1
        return first

    def _settle(
        self, template: Template, delta: Delta, kind: Kind, graph: Graph, recorder: Recorder
    ) -> Sized | str | None:
        sizes, key = sizes_of(kind.key), kind.key
        waiting = self._waiting.pop(key, None)
        agrees = waiting is not None and waiting[0] is template and template.agree(waiting[1], delta)
        if not agrees and not template.expects(sizes, delta):
            if waiting is not None:
                return "two recordings of one size in a row differ"
            self._waiting[key] = template, delta
            if len(self._waiting) > _MOST_WAITING:
                self._waiting.popitem(last=False)
            return None
        template.learn(sizes, delta)
        made = Sized.made(template, graph, recorder.segments, delta)
        self._made = [*self._made[1 - _MOST_ONCE :], made]
        return made


class Families:
    """All families of a function.

    Args:
        dynamic: as for :class:`flambeau.core.capture.captured.Captured`.
        limit: how many recordings a family keeps that hold for all sizes.
    """

    def __init__(self, dynamic: bool | None, limit: int):
        self.dynamic, self.limit = dynamic, limit
        self.kinds: OrderedDict[KindOfCall, Any] = OrderedDict()  # Any: kinds of calls, whose class stands above
        self._families: OrderedDict[KindOfCall, Family] = OrderedDict()

    def of(self, key: KindOfCall, leaves: Sequence[Any]) -> Family | None:
        """The family of a kind of call; None where its sizes stand for themselves."""
        common = family_of(key, leaves, self.dynamic)
        if common is None:
            return None
        found = self._families.get(common)
        if found is None:
            found = self._families[common] = Family(self.limit)
            while len(self._families) > 2 * self.limit:
                self._families.popitem(last=False)
        return found

    def add(self, key: KindOfCall, kind: Any) -> None:
        """Keep a kind whose recordings are those of its family; the oldest goes."""
        self.kinds[key] = kind
        while len(self.kinds) > _MOST_KINDS:
            self.kinds.popitem(last=False)

    def clear(self) -> None:
        """Forget all."""
        self.kinds.clear()
        self._families.clear()
