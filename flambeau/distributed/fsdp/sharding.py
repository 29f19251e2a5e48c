"""fully_shard: parameters, gradients and the optimizer's state cut over the ranks."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, Self, TypeVar, overload

from flambeau.core.tensor import Tensor
from flambeau.distributed.fsdp.group import ParamGroup
from flambeau.distributed.fsdp.meshes import Ranks, ranks_of
from flambeau.distributed.fsdp.parameters import Place, ShardedParam
from flambeau.distributed.fsdp.policies import MixedPrecisionPolicy, OffloadPolicy
from flambeau.distributed.fsdp.schedule import Unit, units_in
from flambeau.distributed.pieces import Piece, Sharded
from flambeau.nn.container import ModuleDict, ModuleList
from flambeau.nn.module import Module
from flambeau.nn.parameter import Parameter, is_lazy

M = TypeVar("M", bound=Module)
#: For a parameter, along which dimension it is cut: what has a ``dim``, an int, or None for the first.
Placement = Callable[[Parameter], Any]


_SAME_DTYPES: Final = MixedPrecisionPolicy()
_NOT_OFFLOADED: Final = OffloadPolicy()


class UnshardHandle:
    """A gather on its way: :meth:`wait` ends it."""

    def __init__(self, unit: Unit):
        self._unit = unit

    def wait(self) -> None:
        """Have the parameters whole."""
        self._unit.group.gather()


class FSDPModule(Module):
    """What a module is too, once :func:`fully_shard` was called on it."""

    _fsdp_unit: Unit

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:  # Any: a slice of a container, say, is a module as before
        plain: Any = cls.__mro__[cls.__mro__.index(FSDPModule) + 1]
        made = plain.__new__(plain)
        made.__init__(*args, **kwargs)
        return made

    def unshard(self, async_op: bool = False) -> UnshardHandle | None:
        """Have this module's parameters whole until :meth:`reshard`, or the end of the next backward.

        Every rank must call it. With ``async_op`` the gather is begun, and the handle's ``wait()`` ends it.
        """
        unit = self._fsdp_unit
        unit.stays = True
        if async_op:
            unit.group.start_gather()
            return UnshardHandle(unit)
        unit.group.gather()
        return None

    def reshard(self) -> None:
        """Have this module's shards alone."""
        self._fsdp_unit.stays = False
        self._fsdp_unit.group.free()

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        for unit in units_in(self):
            unit.group.free()  # what is moved or cast are the shards
        return super()._apply(fn, recurse)

    def _units(self, recurse: bool) -> list[Unit]:
        return units_in(self) if recurse else [self._fsdp_unit]

    def set_requires_gradient_sync(self, requires_gradient_sync: bool, *, recurse: bool = True) -> None:
        """Whether backward reduces gradients; without, whole ones are added up on this rank until it does again."""
        for unit in self._units(recurse):
            unit.group.sync = requires_gradient_sync

    def set_requires_all_reduce(self, requires_all_reduce: bool, *, recurse: bool = True) -> None:
        """On a mesh of two dimensions, whether backward sums over the copies too, or keeps the sums over shards."""
        for unit in self._units(recurse):
            unit.group.all_reduce = requires_all_reduce

    def set_is_last_backward(self, is_last_backward: bool) -> None:
        """Accepted for PyTorch's sake: every backward ends with its gradients in the shards."""

    def set_reshard_after_forward(self, reshard_after_forward: bool, recurse: bool = True) -> None:
        """Whether parameters are given up after forward (ZeRO 3), or kept until backward (ZeRO 2)."""
        _check_flag("reshard_after_forward", reshard_after_forward)
        for unit in self._units(recurse):
            unit.reshard_after_forward = reshard_after_forward

    def set_reshard_after_backward(self, reshard_after_backward: bool, *, recurse: bool = True) -> None:
        """Whether parameters are given up after backward.

        Without, they stay as they are until :meth:`reshard`: also after a step of the optimizer.
        """
        _check_flag("reshard_after_backward", reshard_after_backward)
        for unit in self._units(recurse):
            unit.reshard_after_backward = reshard_after_backward
            unit.stays = unit.stays or not reshard_after_backward and unit.group.is_whole

    def set_unshard_in_backward(self, unshard_in_backward: bool) -> None:
        """Whether backward gathers this module's parameters; without, only what reads them does."""
        self._fsdp_unit.gathers_in_backward = unshard_in_backward

    def set_modules_to_forward_prefetch(self, modules: Sequence[FSDPModule]) -> None:
        """Which modules' parameters to gather during this one's forward; else the one that came next the last time."""
        self._fsdp_unit.next_in_forward = [_unit_of(m) for m in modules]

    def set_modules_to_backward_prefetch(self, modules: Sequence[FSDPModule]) -> None:
        """Which modules' parameters to gather during this one's backward; else the one that came before in forward."""
        self._fsdp_unit.next_in_backward = [_unit_of(m) for m in modules]

    def set_gradient_divide_factor(self, factor: float) -> None:
        """What sums of gradients are divided by: else the number of ranks."""
        if not factor > 0:
            raise ValueError(f"set_gradient_divide_factor: the factor must be positive, got {factor!r}")
        self._fsdp_unit.group.divide_by = float(factor)

    set_reduce_scatter_divide_factor = set_gradient_divide_factor

    def set_force_sum_reduction_for_comms(self, enable: bool) -> None:
        """Accepted for PyTorch's sake: gradients are always summed, and divided apart from that."""

    def set_post_optim_event(self, event: object) -> None:
        """Accepted for PyTorch's sake: a gather reads the shards in the order of the program."""

    def set_allocate_memory_from_process_group_for_comm(self, enable: bool) -> None:
        """Accepted for PyTorch's sake: memory comes from the device."""


def _check_flag(name: str, value: object) -> None:
    if not isinstance(value, bool):
        raise ValueError(f"{name} should be a bool, got {type(value)}")


def _unit_of(module: object) -> Unit:
    if not isinstance(module, FSDPModule):
        raise ValueError(f"expected modules on which fully_shard was called, got {type(module).__name__}")
    return module._fsdp_unit


@overload
def fully_shard(
    module: M, *, mesh: Any = ..., reshard_after_forward: bool | None = ..., shard_placement_fn: Placement | None = ...,
    mp_policy: MixedPrecisionPolicy = ..., offload_policy: OffloadPolicy = ...,
    ignored_params: Iterable[Parameter] | None = ...,
) -> M: ...  # fmt: skip
@overload
def fully_shard(
    module: list[Module], *, mesh: Any = ..., reshard_after_forward: bool | None = ...,
    shard_placement_fn: Placement | None = ..., mp_policy: MixedPrecisionPolicy = ...,
    offload_policy: OffloadPolicy = ..., ignored_params: Iterable[Parameter] | None = ...,
) -> list[Module]: ...  # fmt: skip
def fully_shard(
    module: Any, *, mesh: Any = None, reshard_after_forward: bool | None = None,
    shard_placement_fn: Placement | None = None, mp_policy: MixedPrecisionPolicy = _SAME_DTYPES,
    offload_policy: OffloadPolicy = _NOT_OFFLOADED, ignored_params: Iterable[Parameter] | None = None,
) -> Any:  # fmt: skip
    """Cut the parameters of a module over the ranks; forward and backward gather them when they are needed.

    Call it on the parts first (the blocks of a transformer) and on the whole last; the parameters that no part has
    taken belong to the whole. Each call makes one group, which is gathered at once. Make the optimizer afterwards: its
    parameters are the shards, and its state with them. Gradients are averaged over the ranks.

    A parameter becomes a :class:`~flambeau.distributed.pieces.ShardedParameter`: a plain parameter of this rank's
    part, 1/N of the first dimension (the last ranks have less where N does not divide it).

    Args:
        module: a module, or a list of them that are gathered as one group.
        mesh: a DeviceMesh of one dimension, or of two: then shards along the second, copies along the first. All
            ranks if None.
        reshard_after_forward: give the parameters up after forward and gather them again in backward (ZeRO 3), or
            keep them until then (ZeRO 2). None: True for all but the root.
        shard_placement_fn: along which dimension to cut a parameter, where it is not the first.
        mp_policy: the dtypes of parameters, of reduction and of outputs.
        offload_policy: ``CPUOffloadPolicy()`` keeps the shards in the host's memory.
        ignored_params: parameters that stay as they are, on every rank.

    Returns:
        The module itself, which is an :class:`FSDPModule` now.

    Raises:
        ValueError: for containers without forward, 0-d parameters, parameters tied to those of a part.

    The algorithm: Rajbhandari et al., ZeRO, arXiv:1910.02054; Zhao et al., PyTorch FSDP, arXiv:2304.11277.

    >>> fully_shard(fb.nn.ModuleList())
    Traceback (most recent call last):
    ValueError: fully_shard: ModuleList has no forward of its own; call it on the modules in it
    """
    modules = module if isinstance(module, list) else [module]
    for m in modules:
        _check_module(m)
    if reshard_after_forward is not None and not isinstance(reshard_after_forward, bool):
        raise ValueError(
            f"fully_shard: reshard_after_forward must be True, False or None, got {reshard_after_forward!r}"
        )
    fully_shard_over(
        ranks_of(mesh), modules, reshard_after_forward, mp_policy, offload_policy, ignored_params, shard_placement_fn
    )
    return module


def fully_shard_over(
    ranks: Ranks, modules: list[Module], reshard_after_forward: bool | None, mp_policy: MixedPrecisionPolicy,
    offload_policy: OffloadPolicy, ignored_params: Iterable[Parameter] | None, placement: Placement | None = None,
) -> None:  # fmt: skip
    """Make modules one group, cut over these ranks."""
    places = _places(modules, {id(p) for p in ignored_params or ()})
    unit: Unit

    def arrived(param: ShardedParam) -> None:
        unit.gradient_arrived(param)

    pieces = [_piece(p, at[0][1], ranks, placement) for p, at in places]
    params = [
        ShardedParam(at, p, piece, offload_policy, arrived) for (p, at), piece in zip(places, pieces, strict=True)
    ]
    unit = Unit(modules, ParamGroup(params, ranks, mp_policy), mp_policy, reshard_after_forward)
    for m in modules:
        m.__dict__["_fsdp_unit"] = unit
        m.__class__ = _with_methods(type(m))
        m.register_state_dict_pre_hook(_only_shards)
        m._register_load_state_dict_pre_hook(_only_shards, with_module=True)


def _only_shards(module: FSDPModule, *ignored: object) -> None:
    module._fsdp_unit.group.free()


_classes: Final[dict[type, type]] = {}


def _with_methods(cls: type) -> type:
    """The class of a module with the methods of FSDPModule."""
    found = _classes.get(cls)
    if found is None:
        found = _classes[cls] = type(f"FSDP{cls.__name__}", (FSDPModule, cls), {"__module__": cls.__module__})
    return found


def _check_module(module: object) -> None:
    if not isinstance(module, Module):
        raise TypeError(f"fully_shard: expected a Module or a list of them, got {type(module).__name__}")
    if isinstance(module, FSDPModule):
        raise ValueError("fully_shard: it was called on this module already")
    if isinstance(module, (ModuleList, ModuleDict)):
        raise ValueError(
            f"fully_shard: {type(module).__name__} has no forward of its own; call it on the modules in it"
        )


def _places(modules: list[Module], ignored: set[int]) -> list[tuple[Parameter, list[Place]]]:
    """The parameters that are not in the groups of parts yet, and where each stands."""
    found: dict[int, tuple[Parameter, list[Place]]] = {}
    taken: dict[int, Place] = {}
    seen: set[Module] = set()
    stack = list(reversed(modules))
    while stack:
        module = stack.pop()
        if module in seen:
            continue
        seen.add(module)
        if isinstance(module, FSDPModule):
            for p in (p for unit in units_in(module) for p in unit.group.params):
                if (original := p.original()) is not None:
                    taken[id(original)] = p.places[0]
            continue
        for name, param in module._parameters.items():
            if param is None or id(param) in ignored:
                continue
            if isinstance(param, Sharded):
                raise ValueError(
                    f"fully_shard: parameter {name!r} of {type(module).__name__} is a shard already, of a module that "
                    "stands outside; call fully_shard on parts first, and on the whole last"
                )
            found.setdefault(id(param), (param, []))[1].append((module, name))
        stack += reversed([m for m in module._modules.values() if m is not None])
    for key, (_, at) in found.items():
        if key in taken:
            raise ValueError(
                f"fully_shard: parameter {at[0][1]!r} of {type(at[0][0]).__name__} is the same as "
                f"{taken[key][1]!r} of a part that is sharded already; shard a module that has both instead of the part"
            )
    return list(found.values())


def _piece(param: Parameter, name: str, ranks: Ranks, placement: Placement | None) -> Piece:
    if is_lazy(param):
        raise ValueError(f"fully_shard: parameter {name!r} has no shape yet; call the module once before")
    if param.ndim == 0:
        raise ValueError(f"fully_shard: parameter {name!r} is a scalar; make it a 1-d tensor with one element")
    asked = placement(param) if placement is not None else None
    dim = 0 if asked is None else asked if isinstance(asked, int) else asked.dim
    if not -param.ndim <= dim < param.ndim:
        raise ValueError(f"fully_shard: parameter {name!r} has {param.ndim} dimensions, it cannot be cut along {dim}")
    return Piece(tuple(param.shape), dim % param.ndim, ranks.parts, ranks.rank, ranks.shard_group, ranks.mesh)


def register_fsdp_forward_method(module: Module, method_name: str) -> None:
    """Have another method of a sharded module gather its parameters as forward does; others do nothing.

    Raises:
        ValueError: there is no such method.
    """
    if not isinstance(module, FSDPModule):
        return
    method = getattr(module, method_name, None)
    if method is None:
        raise ValueError(f"{type(module).__name__} does not have a method {method_name}")

    @functools.wraps(method)
    def gathered(*args: Any, **kwargs: Any) -> Any:
        unit = module._fsdp_unit
        args, kwargs = unit.before_forward(module, args, kwargs)
        return unit.after_forward(module, args, method(*args, **kwargs))

    module.__dict__[method_name] = gathered


def whole_parameters(module: Module) -> list[Tensor]:
    """The parameters of a module with those that are shards gathered; every rank must call it."""
    return [p.full_tensor() if isinstance(p, Sharded) else p.detach() for p in module.parameters()]
