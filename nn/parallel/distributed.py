"""Data parallel training over processes: each has the module, and gradients are averaged while backward runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, Self

from flambeau.core import events
from flambeau.core.creation import full
from flambeau.core.device import device as Device
from flambeau.core.dtype import int32
from flambeau.core.state import is_grad_enabled
from flambeau.core.tensor import Tensor
from flambeau.core.tree import flatten, unflatten
from flambeau.nn.module import Module
from flambeau.nn.parallel.agreement import require_same, share
from flambeau.nn.parallel.buckets import MIB
from flambeau.nn.parallel.join import Join, Joinable, JoinHook
from flambeau.nn.parallel.processes import Group, collectives
from flambeau.nn.parallel.reducer import Hook, Options, Reducer
from flambeau.nn.parameter import UninitializedTensorMixin

#: MiB of a bucket, and of the first one, which is reduced while there is little else to wait for.
CAPACITY: Final = 25
FIRST: Final = 1
_WHO: Final = "DistributedDataParallel"


def _limits(capacity: float | None, capacities: Sequence[float] | None) -> list[int]:
    if capacities is not None:
        if not capacities:
            raise ValueError(f"{_WHO}: bucket_cap_mb_list is empty")
        sizes = list(capacities)
    else:
        sizes = [FIRST, CAPACITY] if capacity is None else [capacity]
    if min(sizes) <= 0:
        raise ValueError(f"{_WHO}: buckets have more than 0 MiB, got {sizes if capacities is not None else capacity}")
    return [int(size * MIB) for size in sizes]


def _tensors(outputs: Any) -> list[Tensor]:
    """The tensors in what a forward gave, in containers and dataclasses."""
    found: list[Tensor] = []
    stack = [outputs]
    while stack:
        for leaf in flatten(stack.pop())[0]:
            if isinstance(leaf, Tensor):
                found.append(leaf)
            elif dataclasses.is_dataclass(leaf) and not isinstance(leaf, type):
                stack.append([getattr(leaf, field.name) for field in dataclasses.fields(leaf)])
    return found


class DistributedDataParallel(Module, Joinable):
    """A module of which each process of ``process_group`` has a copy, trained on batches of its own.

    At the start parameters and buffers become those of the first process. In backward gradients become their mean over
    the processes, so that optimizers do the same everywhere. They are reduced in buckets of ``bucket_cap_mb`` MiB (25,
    the first one 1), in the order in which they come, while backward goes on. The wrapped module is ``module``, and
    names in ``state_dict`` begin with ``module.``.

    ``device_ids``: the one device of the module, to which inputs are moved; None leaves them where they are.
    ``forward_sync_buffers`` (``broadcast_buffers`` of old): buffers become those of the first process before each
    forward. ``init_sync``: whether parameters are compared and shared at the start. ``find_unused_parameters``: look in
    each forward for parameters that its results do not depend on; their gradients stay as they are where no process
    has used them. ``gradient_as_bucket_view``: gradients are views of the buckets, which saves memory and a copy; in a
    group of one process gradients stay where they are.
    ``static_graph``: every iteration uses the same parameters in the same way, which is learned in the first one; it
    allows reentrant checkpoints. ``skip_all_reduce_unused_params``: buckets without any used parameter are not
    reduced, which must be the same ones in all processes. ``check_reduction`` and ``batched_grad_copy`` are accepted.

    ValueError without a process group. RuntimeError for a module without trainable parameters, with lazy ones, or
    with others than in the first process, and at the next forward if gradients did not come, with their names.

    >>> isinstance(fb.nn.Linear(2, 2), fb.nn.parallel.DistributedDataParallel)
    False
    """

    module: Module

    def __init__(
        self, module: Module, device_ids: Sequence[int | str | Device] | None = None,
        output_device: int | str | Device | None = None, dim: int = 0, broadcast_buffers: bool | None = None,
        init_sync: bool = True, process_group: Group = None, bucket_cap_mb: float | None = None,
        find_unused_parameters: bool = False, check_reduction: bool = False, gradient_as_bucket_view: bool = False,
        static_graph: bool = False, delay_all_reduce_named_params: Any = None, param_to_hook_all_reduce: Any = None,
        mixed_precision: Any = None, device_mesh: Any = None, skip_all_reduce_unused_params: bool = False,
        bucket_cap_mb_list: Sequence[float] | None = None, batched_grad_copy: bool = False,
        forward_sync_buffers: bool | None = None,
    ):  # fmt: skip
        super().__init__()
        self._talk = collectives(_WHO)
        if process_group is not None and device_mesh is not None:
            raise RuntimeError(f"{_WHO}: cannot specify both process_group and device_mesh")
        if mixed_precision is not None or delay_all_reduce_named_params or param_to_hook_all_reduce is not None:
            raise ValueError(
                f"{_WHO}: mixed_precision, delay_all_reduce_named_params and param_to_hook_all_reduce are not offered; "
                "use flambeau.amp.autocast, or a communication hook"
            )
        if device_mesh is not None:
            process_group = device_mesh.get_group(mesh_dim=0)
        if process_group is None:
            process_group = self._talk.group.WORLD
        ignored = set(getattr(module, "_ddp_params_and_buffers_to_ignore", ()))
        named = _trainable(module, ignored)
        self.module, self.dim, self.process_group = module, dim, process_group
        self.device_ids, self.output_device = self._devices(named, device_ids, output_device)
        self.device, self.device_type = named[0][1].device, named[0][1].device.type
        shares = broadcast_buffers if broadcast_buffers is not None else True
        self.forward_sync_buffers = shares if forward_sync_buffers is None else forward_sync_buffers
        self.find_unused_parameters, self.static_graph = find_unused_parameters, static_graph
        self.gradient_as_bucket_view, self.bucket_cap_mb = gradient_as_bucket_view, bucket_cap_mb or CAPACITY
        self.skip_all_reduce_unused_params = skip_all_reduce_unused_params
        self.require_backward_grad_sync = self.require_forward_param_sync = True
        self.parameters_to_ignore = ignored
        if init_sync:
            require_same(named, self._talk, process_group)
            states = [p for name, p in module.named_parameters() if name not in ignored]
            buffers = self._buffers_to_share() if shares else []
            share([*states, *buffers], self._talk, process_group, 0)
        options = Options(
            _limits(bucket_cap_mb, bucket_cap_mb_list), gradient_as_bucket_view, find_unused_parameters, static_graph,
            skip_all_reduce_unused_params,
        )  # fmt: skip
        self.reducer = Reducer(named, self._talk, process_group, options)

    def _devices(
        self, named: Sequence[tuple[str, Tensor]], ids: Sequence[Any] | None, output: Any
    ) -> tuple[list[Device] | None, Device | None]:
        """``device_ids`` and ``output_device`` as devices."""
        kinds = list(dict.fromkeys(p.device for _, p in named))
        if not ids:
            return None, None if output is None else Device(output)
        if len(ids) > 1:
            raise ValueError(f"{_WHO}: device_ids can only be None or contain a single element, got {list(ids)}")
        where = Device(kinds[0].type, ids[0]) if isinstance(ids[0], int) else Device(ids[0])
        same = len(kinds) == 1 and (kinds[0].type, kinds[0].index or 0) == (where.type, where.index or 0)
        if not same or where.type == "cpu":
            raise ValueError(
                f"{_WHO}: device_ids is for a module on that one accelerator; got {list(ids)} for parameters on "
                f"{', '.join(map(str, kinds))}: leave it out"
            )
        if output is None:
            return [where], where
        return [where], Device(where.type, output) if isinstance(output, int) else Device(output)

    @property
    def broadcast_buffers(self) -> bool:
        """The old name of ``forward_sync_buffers``."""
        return self.forward_sync_buffers

    @broadcast_buffers.setter
    def broadcast_buffers(self, value: bool) -> None:
        self.forward_sync_buffers = value

    # -- the forward -----------------------------------------------------------------------------
    def forward(self, *inputs: Any, **kwargs: Any) -> Any:  # Any: as the module's
        """What the module gives for a batch of this process."""
        reducer, sync = self.reducer, is_grad_enabled() and self.require_backward_grad_sync
        counted = Join.notify_join_context(self) if self._join_config.enable else None
        if self._join_config.enable:
            events.refuse("the number of processes in a join is another one in each iteration")
        if counted is not None:
            reducer.divisor = reducer.size if self._divides_by_all else counted.value()
        if sync:
            reducer.begin()
        if reducer.size > 1 and self.will_sync_module_buffers():
            self._share_buffers()
        if self._join_config.enable:
            self._agree_to_sync(False)
        if self.device_ids is not None:
            inputs, kwargs = _moved((inputs, kwargs), self.device_ids[0])
        found = self.module(*inputs, **kwargs)
        if is_grad_enabled() and self.require_backward_grad_sync:
            if not self.require_forward_param_sync:
                self.require_forward_param_sync = True
            looks = reducer.options.find_unused and not reducer.options.static
            reducer.prepare(_tensors(found) if looks else ())
        else:
            if is_grad_enabled():
                reducer.pause()
            self.require_forward_param_sync = False
        return found

    def will_sync_module_buffers(self) -> bool:
        """Whether the next forward gives buffers the values of one process."""
        return self.require_forward_param_sync and self.forward_sync_buffers and bool(self._buffers_to_share())

    def _buffers_to_share(self) -> list[Tensor]:
        ignored = self.parameters_to_ignore
        return [b for name, b in self.module.named_buffers() if name not in ignored]

    def _share_buffers(self) -> None:
        source = self._common_rank(True) if self._join_config.enable else 0
        share(self._buffers_to_share(), self._talk, self.process_group, source)

    @contextmanager
    def no_sync(self) -> Iterator[None]:
        """Gradients of forwards and backwards inside stay those of this process, and add up.

        The first forward and backward after it reduce their sum.
        """
        before, self.require_backward_grad_sync = self.require_backward_grad_sync, False
        try:
            yield
        finally:
            self.require_backward_grad_sync = before

    def train(self, mode: bool = True) -> Self:
        """As the module's."""
        super().train(mode)
        return self

    # -- communication hooks ---------------------------------------------------------------------
    def register_comm_hook(self, state: object, hook: Hook) -> None:
        """Let ``hook(state, bucket)`` reduce the gradients of a :class:`GradBucket`, instead of their mean.

        It returns a Future of the reduced tensor. Nothing is divided before or after. TypeError for no function,
        RuntimeError for a second hook.
        """
        if not callable(hook):
            raise TypeError(f"{_WHO}: a communication hook must be callable, got {type(hook).__name__}")
        if self.reducer.hook is not None:
            raise RuntimeError(f"{_WHO}: register_comm_hook or register_builtin_comm_hook can only be called once")
        self.reducer.use(hook, state)

    def _set_static_graph(self) -> None:
        """``static_graph=True``, after the fact: before the first forward."""
        self.static_graph = True
        self.reducer.options = self.reducer.options._replace(static=True)

    # -- uneven inputs ---------------------------------------------------------------------------
    def join(
        self, divide_by_initial_world_size: bool = True, enable: bool = True, throw_on_early_termination: bool = False
    ) -> Join:
        """A context for a loop over batches whose number differs between processes, see :class:`Join`.

        Gradients are divided by the number of all processes or, with ``divide_by_initial_world_size=False``, of those
        that still have batches.
        """
        return Join(
            [self], enable, throw_on_early_termination, divide_by_initial_world_size=divide_by_initial_world_size
        )

    def join_hook(self, **kwargs: Any) -> JoinHook:  # Any: what join was given
        """What a process does that has no batches any more."""
        return _Shadow(self, bool(kwargs.get("divide_by_initial_world_size", True)))

    @property
    def join_device(self) -> Device:
        """The device of the module."""
        return self.device

    @property
    def join_process_group(self) -> Group:
        """The group of the module."""
        return self.process_group

    _divides_by_all = True

    def _agree_to_sync(self, joined: bool) -> bool:
        """Whether those that go on reduce the gradients of this iteration."""
        wants = not joined and self.require_backward_grad_sync
        found = full((1,), int(wants), dtype=int32, device=self.device)
        self._talk.all_reduce(found, group=self.process_group)
        return bool(found.item())

    def _common_rank(self, offers: bool) -> int:
        """The highest rank among those that offer themselves; RuntimeError if none does."""
        mine = self._talk.get_rank(self.process_group) if offers else -1
        found = full((1,), mine, dtype=int32, device=self.device)
        self._talk.all_reduce(found, self._talk.ReduceOp.MAX, group=self.process_group)
        rank = int(found.item())
        if rank < 0:
            raise RuntimeError(f"{_WHO}: no process has the values that all are to have")
        return rank


class _Shadow(JoinHook):
    """Takes part in the collectives of a DistributedDataParallel in a process without batches."""

    def __init__(self, ddp: DistributedDataParallel, divides_by_all: bool):
        self.ddp = ddp
        ddp._divides_by_all = divides_by_all

    def main_hook(self) -> None:
        """Those of one forward and backward."""
        ddp = self.ddp
        if ddp.require_backward_grad_sync:
            ddp.reducer.begin()
        if ddp.forward_sync_buffers and ddp._buffers_to_share():
            share(ddp._buffers_to_share(), ddp._talk, ddp.process_group, ddp._common_rank(False))
        if ddp._agree_to_sync(True):
            ddp.reducer.shadow()

    def post_hook(self, is_last_joiner: bool) -> None:
        """All processes get what one of the last has trained."""
        ddp = self.ddp
        states = [p for name, p in ddp.module.named_parameters() if name not in ddp.parameters_to_ignore]
        buffers = ddp._buffers_to_share() if ddp.forward_sync_buffers else []
        share([*states, *buffers], ddp._talk, ddp.process_group, ddp._common_rank(is_last_joiner))
        ddp.reducer.divisor = ddp.reducer.size


def _trainable(module: Module, ignored: set[str]) -> list[tuple[str, Tensor]]:
    """The parameters whose gradients are reduced, with their names; each once."""
    for name, p in module.named_parameters():
        if isinstance(p, UninitializedTensorMixin) and name not in ignored:
            raise RuntimeError(
                f"{_WHO}: parameter {name!r} of a lazy module has no shape yet; run a forward with a batch first"
            )
    named: list[tuple[str, Tensor]] = [
        (name, p) for name, p in module.named_parameters() if p.requires_grad and name not in ignored
    ]
    if not named:
        raise RuntimeError(f"{_WHO} is not needed when a module doesn't have any parameters that require a gradient")
    return named


def _moved(values: Any, where: Device) -> Any:
    """Containers with their tensors on a device."""
    leaves, structure = flatten(values)
    return unflatten([leaf.to(where) if isinstance(leaf, Tensor) else leaf for leaf in leaves], structure)


__all__ = ["DistributedDataParallel"]
