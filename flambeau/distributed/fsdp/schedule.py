"""When parameters are gathered and freed, and gradients reduced: hooks around forward and within backward.

A collective must be started in the same order on every rank. The order is that of the modules' forwards and of the
gradients' arrival, both of which follow from the program.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Any

from flambeau.core import events
from flambeau.core.autograd.policy import queue_callback
from flambeau.core.dtype import FLOATING
from flambeau.core.graph import Leaf, edge_of, place_of
from flambeau.core.state import is_grad_enabled
from flambeau.core.tape.repack import repack
from flambeau.core.tensor import Tensor
from flambeau.core.tree import flatten, unflatten
from flambeau.distributed.fsdp.group import ParamGroup
from flambeau.distributed.fsdp.parameters import ShardedParam
from flambeau.distributed.fsdp.policies import MixedPrecisionPolicy
from flambeau.nn.module import Module


class Phase(enum.Enum):
    """What a module is in."""

    IDLE = "idle"
    FORWARD = "forward"
    BACKWARD = "backward"


class Tree:
    """What the sharded modules under one root share."""

    def __init__(self) -> None:
        self.units: list[Unit] = []
        self.forward_order: list[Unit] = []  # of the last forward, or of the one that runs
        self.expected: list[Unit] = []  # the order of the forward before
        self.done: list[Unit] = []  # whose forward is over and whose backward may come
        self.waits = False  # for the end of the backward that runs
        self.reducing: ParamGroup | None = None

    def begin(self) -> None:
        """A forward of the root."""
        self.expected, self.forward_order = self.forward_order, []
        self.done = []
        for unit in self.units:
            unit.phase = Phase.IDLE
            unit.left = set()
            if not unit.stays:
                unit.group.free()

    def await_end(self) -> None:
        """See that :meth:`end` runs when the backward that runs now is done."""
        if not self.waits:
            queue_callback(self.end)
            self.waits = True

    def end(self) -> None:
        """A backward is over: reduce what has not been, and have all gradients in their shards."""
        self.waits = False
        for unit in reversed(self.units):
            unit.finish_backward()
        if self.reducing is not None:
            self.reducing.finish_reduce()
            self.reducing = None

    def reduce(self, group: ParamGroup) -> None:
        """Sum a group's gradients; one reduction is on its way at a time, so that its memory is bounded."""
        if self.reducing is not None:
            self.reducing.finish_reduce()
        group.start_reduce()
        self.reducing = group


class Unit:
    """One module that fully_shard was called on (or several, as one), and its parameters."""

    def __init__(
        self, modules: Sequence[Module], group: ParamGroup, precision: MixedPrecisionPolicy,
        reshard_after_forward: bool | None,
    ):  # fmt: skip
        self.modules, self.group, self.precision = tuple(modules), group, precision
        self.reshard_after_forward = reshard_after_forward
        self.reshard_after_backward = True
        self.gathers_in_backward = True
        self.tree: Tree | None = None
        self.is_root = False
        self.phase = Phase.IDLE
        self.stays = False  # whole by the user's wish
        self.arrived: set[ShardedParam] = set()
        self.next_in_forward: list[Unit] | None = None
        self.next_in_backward: list[Unit] | None = None
        self.left: set[Module] = set()  # of several modules, those that have not run yet
        self._inputs: set[Any] = set()
        for module in self.modules:
            module.register_forward_pre_hook(self.before_forward, prepend=True, with_kwargs=True)
            module.register_forward_hook(self.after_forward)

    # -- forward -----------------------------------------------------------------------------------
    def before_forward(self, module: Module, args: Any, kwargs: Any) -> Any:
        """Have the parameters whole, and the next module's on the way."""
        events.refuse(
            "fully_shard gathers and frees parameters around every forward; the step runs without a recording"
        )
        tree = self.tree or self._become_root()
        if self.phase is Phase.BACKWARD:  # a checkpoint computes again
            self.group.gather()
            return self._cast_inputs(args, kwargs)
        if self.left:
            self.left.discard(module)
            return self._cast_inputs(args, kwargs)
        if self.is_root:
            tree.begin()
        self.phase = Phase.FORWARD
        self.left = set(self.modules) - {module}
        self.group.gather()
        place = len(tree.forward_order)
        tree.forward_order.append(self)
        for unit in self._following(tree, place):
            unit.group.start_gather()
        args, kwargs = self._cast_inputs(args, kwargs)
        self._inputs = {place_of(e)[0] for t in _tensors((args, kwargs)) if (e := edge_of(t)) is not None}
        return args, kwargs

    def _following(self, tree: Tree, place: int) -> list[Unit]:
        if self.next_in_forward is not None:
            return self.next_in_forward
        known = tree.expected[place : place + 2]
        return [known[1]] if len(known) == 2 and known[0] is self else []

    def _cast_inputs(self, args: Any, kwargs: Any) -> Any:
        dtype = self.precision.param_dtype
        return (
            _cast((args, kwargs), dtype) if dtype is not None and self.precision.cast_forward_inputs else (args, kwargs)
        )

    def after_forward(self, module: Module, args: Any, output: Any) -> Any:
        """Give the parameters up, and be told when the gradient of the output is there."""
        if self.phase is Phase.BACKWARD or self.left:
            return output
        tree = self.tree
        assert tree is not None
        if self.precision.output_dtype is not None:
            output = _cast(output, self.precision.output_dtype)
        edges = [e for t in _tensors(output) if (e := edge_of(t)) is not None]
        if not is_grad_enabled() or not edges:  # no backward will come for what was computed
            if not self.stays:
                self.group.free()
        else:
            tree.done.append(self)
            for t in _tensors(output):
                if t.requires_grad and edge_of(t).__class__ is not Leaf:
                    t.register_hook(self._before_backward)
            if self._resharded() and self.group.is_whole and not self.stays:
                repack(edges, self._inputs, self.group.owners())
                self.group.free()
        self._inputs = set()
        self.phase = Phase.IDLE
        return output

    def _resharded(self) -> bool:
        """Whether the parameters go after forward; those of the root stay unless told otherwise: they come first."""
        return not self.is_root if self.reshard_after_forward is None else self.reshard_after_forward

    def _become_root(self) -> Tree:
        """The first module that is called is the root of those in it."""
        tree = self.tree = Tree()
        self.is_root = True
        for module in self.modules:
            for unit in units_in(module):
                if unit is not self and unit.tree is not None:
                    raise RuntimeError(
                        "fully_shard: a module was called before the one that contains it, and took itself for the "
                        "root; call the outermost module first"
                    )
                unit.tree = tree
                if unit not in tree.units:
                    tree.units.append(unit)
        return tree

    # -- backward ----------------------------------------------------------------------------------
    def _before_backward(self, grad: Tensor) -> None:
        """The gradient of an output is there: backward of this module begins."""
        tree = self.tree
        assert tree is not None
        tree.await_end()
        if self.phase is Phase.BACKWARD:
            return
        self.phase = Phase.BACKWARD
        self.arrived.clear()
        for unit in tree.units:
            if unit.phase is Phase.BACKWARD and unit is not self and not unit._trainable():
                unit.group.free()  # no gradient will tell that its backward is over
        if self.gathers_in_backward:
            self.group.gather()
        for unit in self._preceding(tree):
            unit.group.start_gather()

    def _preceding(self, tree: Tree) -> list[Unit]:
        if self.next_in_backward is not None:
            return self.next_in_backward
        place = tree.done.index(self) if self in tree.done else 0
        return [tree.done[place - 1]] if place > 0 else []

    def gradient_arrived(self, param: ShardedParam) -> None:
        """A parameter has its whole gradient; with the last of them they are reduced and the parameters freed."""
        tree = self.tree or self._become_root()
        tree.await_end()
        if self.phase is not Phase.BACKWARD:
            self.phase = Phase.BACKWARD
            self.arrived.clear()
        self.arrived.add(param)
        if len(self.arrived) == self._trainable():
            self._after_backward(tree)

    def _trainable(self) -> int:
        return sum(p.shard.requires_grad for p in self.group.params)

    def _after_backward(self, tree: Tree) -> None:
        self.arrived.clear()  # parameters may arrive again, where a reentrant checkpoint walks by itself
        if self.reshard_after_backward:
            self.group.free()
        tree.reduce(self.group)

    def finish_backward(self) -> None:
        """The walk is over: what did not get all its gradients is reduced with those that it got."""
        if self.phase is not Phase.BACKWARD:
            if self.reshard_after_backward and not self.stays:
                self.group.free()
            return
        assert self.tree is not None
        if self.arrived:
            self.tree.reduce(self.group)
        if self.reshard_after_backward:
            self.stays = False
            self.group.free()
        self.arrived.clear()
        self.phase = Phase.IDLE


def units_in(module: Module) -> list[Unit]:
    """The units of a module and of those in it, outer ones first."""
    found = [m.__dict__["_fsdp_unit"] for m in module.modules() if "_fsdp_unit" in m.__dict__]
    return list(dict.fromkeys(found))


def _tensors(value: Any) -> list[Tensor]:
    return [t for t in flatten(value)[0] if isinstance(t, Tensor)]


def _cast(value: Any, dtype: Any) -> Any:
    leaves, structure = flatten(value)
    return unflatten(
        [t.to(dtype) if isinstance(t, Tensor) and t.dtype.category == FLOATING else t for t in leaves], structure
    )
