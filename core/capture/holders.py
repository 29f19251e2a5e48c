"""Tensors that a recorded program uses without being given them, and where it finds them.

A recording holds the arrays of parameters, buffers and optimizer states. It fits as long as each tensor that holds one
still does, and stands where it stood: in the dict of a module, in a list, in a closure. Who holds what is asked of the
garbage collector, once, when a recording is complete.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Sequence
from types import CellType
from typing import Any

from flambeau.core.capture.trace import External
from flambeau.core.graph import Leaf
from flambeau.core.tensor import Tensor


class Owner:
    """A tensor of before: what it was, and where it stood."""

    __slots__ = ("array", "cells", "dicts", "hooks", "key", "lists", "node", "objects", "tensor")

    def __init__(self, tensor: Tensor):
        self.tensor = tensor
        self.array, self.key, self.node = tensor._array, tensor._key, tensor._node
        self.hooks = hooks_of(self.node)
        self.dicts: list[tuple[dict[Any, Any], Any]] = []
        self.lists: list[tuple[list[Any], int]] = []
        self.cells: list[CellType] = []
        self.objects: list[tuple[Any, str]] = []

    def changed(self) -> str:
        """ "" where all is as it was, else what is not."""
        t = self.tensor
        if t._array is not self.array or t._key is not self.key:
            return f"{self} has other memory"
        if t._node is not self.node:
            return f"requires_grad, or the history, of {self} is another one"
        if self.hooks != hooks_of(self.node):
            return f"hooks on {self} were added or removed"
        for d, k in self.dicts:
            if d.get(k) is not t:
                return f"{self} was {k!r} of a dict or an object, and is not any more"
        for items, i in self.lists:
            if i >= len(items) or items[i] is not t:
                return f"{self} was element {i} of a list, and is not any more"
        for cell in self.cells:
            if _content(cell) is not t:
                return f"{self} was in a closure, and is not any more"
        for thing, name in self.objects:
            if thing.__dict__.get(name) is not t:
                return f"{self} was {name!r} of a {type(thing).__name__}, and is not any more"
        return ""

    def __str__(self) -> str:
        names = [k for _, k in self.dicts if isinstance(k, str)] or [n for _, n in self.objects]
        return f"tensor {names[0]!r}" if names else f"a tensor of shape {tuple(self.tensor.shape)}"

    def lines(self, name: Callable[[Any], str]) -> list[str]:
        """The conditions of :meth:`changed` in Python; ``name`` gives what an object is called."""
        t = name(self.tensor)
        found = [f"{t}._array is not {name(self.array)}", f"{t}._node is not {name(self.node)}"]
        found.append(f"{t}._key is not {name(self.key)}")
        if self.node.__class__ is Leaf:
            found.append(
                f"({name(self.node)}.hooks or {name(self.node)}.post_hooks or {bool(self.hooks)}) and changed()"
            )
        found += [f"{name(d)}.get({repr(k) if isinstance(k, str) else name(k)}) is not {t}" for d, k in self.dicts]
        found += [f"len({name(v)}) <= {i} or {name(v)}[{i}] is not {t}" for v, i in self.lists]
        found += [f"content({name(c)}) is not {t}" for c in self.cells]
        return found + [f"{name(o)}.__dict__.get({k!r}) is not {t}" for o, k in self.objects]


def checker(owners: Sequence[Owner]) -> Callable[[], bool]:
    """Whether something about owners may have changed, written out: this is asked before each replay."""
    scope: dict[str, Any] = {"content": _content}
    names: dict[int, str] = {}

    def name(thing: Any) -> str:
        if id(thing) not in names:
            names[id(thing)] = f"g{len(scope)}"
            scope[names[id(thing)]] = thing
        return names[id(thing)]

    lines = ["def may_have_changed():"]
    for i, owner in enumerate(owners):
        scope[f"changed_{i}"] = owner.changed
        for line in owner.lines(name):
            lines.append(f"    if {line.replace('changed()', f'changed_{i}()')}: return True")
    exec("\n".join([*lines, "    return False"]), scope)
    found: Callable[[], bool] = scope["may_have_changed"]
    return found


def hooks_of(node: Any) -> tuple[Any, ...]:
    """The numbers of the hooks on a leaf."""
    if node.__class__ is not Leaf:
        return ()
    return (*(node.hooks or ()), None, *(node.post_hooks or ()))


def _content(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # empty
        return None


def owners(externals: Sequence[External], ours: Iterable[Any]) -> tuple[list[Owner], dict[int, Tensor]]:
    """Who holds the arrays of externals, and for each storage one of them; ``ours`` are containers that don't count."""
    arrays = {id(e.array): e for e in externals if e.constant is None}
    if not arrays:
        return [], {}
    skipped = {id(o) for o in ours}
    found: dict[int, Owner] = {}
    by_storage: dict[int, Tensor] = {}
    for t in gc.get_referrers(*(e.array for e in arrays.values())):
        if isinstance(t, Tensor) and id(getattr(t, "_array", None)) in arrays:
            found[id(t)] = Owner(t)
            by_storage.setdefault(arrays[id(t._array)].value.storage, t)
    _place(found, skipped)
    _note_gradients(found, arrays)
    return list(found.values()), by_storage


def _place(found: dict[int, Owner], skipped: set[int]) -> None:
    """Note where the tensors stand."""
    if not found:
        return
    tensors = [o.tensor for o in found.values()]
    skipped |= {id(tensors), id(found)}
    for holder in gc.get_referrers(*tensors):
        if id(holder) in skipped or isinstance(holder, (Owner, Tensor)):
            continue
        kind = type(holder)
        if isinstance(holder, dict):
            for k, v in list(holder.items()):
                if id(v) in found and v is found[id(v)].tensor:
                    found[id(v)].dicts.append((holder, k))
        elif kind is list:
            for i, v in enumerate(holder):
                if id(v) in found:
                    found[id(v)].lists.append((holder, i))
        elif kind is CellType:
            v = _content(holder)
            if id(v) in found:
                found[id(v)].cells.append(holder)
        elif getattr(holder, "__dict__", None).__class__ is dict and not isinstance(holder, type):
            for k, v in list(holder.__dict__.items()):
                if id(v) in found:
                    found[id(v)].objects.append((holder, k))


def _note_gradients(found: dict[int, Owner], arrays: dict[int, External]) -> None:
    """Take out those that are gradients: each call may find another one, which is asked of its tensor."""
    if not found:
        return
    for p in gc.get_referrers(*(o.tensor for o in found.values())):
        if isinstance(p, Tensor):
            grad = getattr(p, "_grad", None)
            if grad is not None and id(grad) in found:
                arrays[id(grad._array)].grad_of = p
                del found[id(grad)]
