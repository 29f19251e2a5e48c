"""Which memory the tensors of a recorded program share, and what each of them holds: writes made functional.

A storage has a base value, which a write replaces; a view knows the steps that lead to it, and is worked out anew from
the base when it is read after a write through another tensor of the storage.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, TypeAlias

from flambeau.core.box import INFERENCE, Box
from flambeau.core.tensor import Tensor
from flambeau.export.graph import ExportError, Value

#: Adds a node and gives its value: op, operands, params, shape, like which value its dtype is.
Emit: TypeAlias = "Callable[[str, tuple[Any, ...], Mapping[str, Any], tuple[int, ...], Any], Value]"


class Step(NamedTuple):
    """One view of a chain: an op of the family of views, with the shape before and after it."""

    op: str
    params: Mapping[str, Any]  # Any: what the schema of the op says
    before: tuple[int, ...]
    after: tuple[int, ...]
    dtype: Any  # the DType of what it gives


class Storage:
    """Memory that tensors share.

    ``owner`` says whose it is: the target of an input of the graph, or None for what the program made.
    """

    def __init__(self, base: Value, owner: str | None = None, *, pure: bool = False):
        self.base, self.owner, self.pure = base, owner, pure
        self.written = 0
        self._box: Box | None = None
        self._version: int | None = 0

    def settle(self, box: Box | None) -> None:
        """The writes so far are known."""
        self._box = box
        self._version = 0 if box is None else None if box is INFERENCE else box.version

    def forget(self) -> None:
        """A write is known whose count follows."""
        self._version = None

    def check(self, tensor: Tensor) -> None:
        """ExportError where somebody wrote to the memory of a tensor without telling."""
        box = tensor._box
        if box is None or box is INFERENCE:
            return
        ours = self._box is None or self._box is box
        if ours and self._version is not None and box.version != self._version:
            raise ExportError(
                f"{box.writer or 'something'} wrote to a tensor of shape {tuple(tensor.shape)} past flambeau's ops; "
                "export does not see what it wrote. Use an op, or an in-place op, instead"
            )
        self.settle(box)


class Handle:
    """What a tensor is: a place in a storage, and the value there when it was last read."""

    def __init__(self, storage: Storage, value: Value, steps: tuple[Step, ...] = ()):
        self.storage, self.value, self.steps = storage, value, steps
        self.written = storage.written

    def read(self, emit: Emit) -> Value:
        """The value now."""
        if self.written != self.storage.written:
            value = self.storage.base
            for s in self.steps:
                value = emit(s.op, (value,), s.params, s.after, s.dtype)
            self.value, self.written = value, self.storage.written
        return self.value

    def write(self, value: Value, emit: Emit) -> None:
        """All tensors of the storage see a new value here."""
        storage, base = self.storage, self.storage.base
        if not self.steps:
            new = value
        elif all(s.op in _INVERSE for s in self.steps):
            new = value
            for s in reversed(self.steps):
                op, params = _INVERSE[s.op](s)
                new = emit(op, (new,), params, s.before, base.dtype)
        else:
            views = [(s.op, dict(s.params)) for s in self.steps]
            new = emit("write_view", (base, value), {"views": views}, _ints(base), base.dtype)
        storage.base = new
        storage.written += 1
        self.value, self.written = value, storage.written


def _ints(value: Value) -> tuple[int, ...]:
    return tuple(n for n in value.shape if isinstance(n, int))


def _permuted_back(step: Step) -> tuple[str, dict[str, Any]]:
    axes = step.params["axes"]
    return "permute", {"axes": tuple(axes.index(i) for i in range(len(axes)))}


#: Views that hold all elements of what they are of, once: the op and the params that undo them.
_INVERSE: Final[Mapping[str, Callable[[Step], tuple[str, dict[str, Any]]]]] = {
    "view": lambda step: ("view", {"shape": step.before}),
    "permute": _permuted_back,
}
