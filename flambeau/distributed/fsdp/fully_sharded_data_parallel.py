"""The older face of sharding: a module around another one. What it does is :func:`fully_shard`'s."""

from __future__ import annotations

import contextlib
import enum
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import flambeau.distributed as dist
from flambeau.core.device import DeviceLike
from flambeau.core.dtype import DType
from flambeau.core.state import no_grad
from flambeau.core.tensor import Tensor
from flambeau.distributed.fsdp.meshes import Ranks, ranks_of
from flambeau.distributed.fsdp.policies import CPUOffloadPolicy, MixedPrecisionPolicy, OffloadPolicy
from flambeau.distributed.fsdp.schedule import Unit, units_in
from flambeau.distributed.fsdp.sharding import fully_shard_over
from flambeau.distributed.fsdp.wrap import ModuleWrapPolicy, Policy, chosen
from flambeau.distributed.groups import world
from flambeau.distributed.pieces import Piece, Sharded
from flambeau.nn.module import Module
from flambeau.nn.utils.clip import clip_grad_norm_

_PREFIX = "_fsdp_wrapped_module."


class ShardingStrategy(enum.Enum):
    """What is cut over the ranks, and for how long parameters stay whole."""

    FULL_SHARD = enum.auto()
    SHARD_GRAD_OP = enum.auto()
    NO_SHARD = enum.auto()
    HYBRID_SHARD = enum.auto()
    _HYBRID_SHARD_ZERO2 = enum.auto()


class BackwardPrefetch(enum.Enum):
    """When the next parameters are gathered in backward; both are at the beginning of the gradients' computation."""

    BACKWARD_PRE = enum.auto()
    BACKWARD_POST = enum.auto()


class StateDictType(enum.Enum):
    """What ``state_dict`` gives: whole tensors, or each rank's pieces."""

    FULL_STATE_DICT = enum.auto()
    LOCAL_STATE_DICT = enum.auto()
    SHARDED_STATE_DICT = enum.auto()


@dataclass
class MixedPrecision:
    """The dtypes of parameters, of the sums of gradients, and of buffers."""

    param_dtype: DType | None = None
    reduce_dtype: DType | None = None
    buffer_dtype: DType | None = None
    keep_low_precision_grads: bool = False
    cast_forward_inputs: bool = False
    cast_root_forward_inputs: bool = True


@dataclass
class CPUOffload:
    """Whether shards lie in the host's memory."""

    offload_params: bool = False


class FullyShardedDataParallel(Module):
    """A module whose parameters are cut over the ranks, with those in it that ``auto_wrap_policy`` chooses as groups.

    Make the optimizer afterwards, of this module's parameters: they are the shards. ``state_dict`` has the names of
    the module inside, and whole tensors unless :meth:`set_state_dict_type` says otherwise.

    Args:
        module: what is wrapped.
        process_group: the ranks; all of them if None.
        sharding_strategy: FULL_SHARD (ZeRO 3, the default), SHARD_GRAD_OP (ZeRO 2), NO_SHARD (copies), or
            HYBRID_SHARD with a ``device_mesh`` of two dimensions.
        cpu_offload: whether shards lie in the host's memory.
        auto_wrap_policy: which modules inside become groups, as those of ``fsdp.wrap``.
        mixed_precision: the dtypes to compute and reduce in.
        ignored_modules, ignored_states: modules and parameters that stay as they are.
        param_init_fn: called with each module that has parameters on the meta device.
        device_id: where the module is moved first.
        sync_module_states: give all ranks the parameters and buffers of the first.
        backward_prefetch, forward_prefetch, limit_all_gathers, use_orig_params: accepted for PyTorch's sake: the next
            group is gathered while one computes, and each parameter has a shard of its own.
        device_mesh: the ranks as a mesh, in place of a group.

    Zhao et al., PyTorch FSDP, arXiv:2304.11277.
    """

    def __init__(
        self, module: Module, process_group: Any = None, sharding_strategy: ShardingStrategy | None = None,
        cpu_offload: CPUOffload | None = None, auto_wrap_policy: Policy | ModuleWrapPolicy | None = None,
        backward_prefetch: BackwardPrefetch | None = BackwardPrefetch.BACKWARD_PRE,
        mixed_precision: MixedPrecision | None = None, ignored_modules: Iterable[Module] | None = None,
        param_init_fn: Callable[[Module], Any] | None = None, device_id: DeviceLike = None,
        sync_module_states: bool = False, forward_prefetch: bool = False, limit_all_gathers: bool = True,
        use_orig_params: bool = False, ignored_states: Iterable[Any] | None = None, device_mesh: Any = None,
    ):  # fmt: skip
        super().__init__()
        strategy = sharding_strategy or ShardingStrategy.FULL_SHARD
        ranks = _ranks(strategy, process_group, device_mesh)
        ignored = {id(m) for top in ignored_modules or () for m in top.modules()}
        left: set[Any] = {p for top in ignored_modules or () for p in top.parameters()}
        left |= {p for s in ignored_states or () for p in ([s] if isinstance(s, Tensor) else s.parameters())}
        if param_init_fn is not None:
            _initialize(module, param_init_fn)
        if device_id is not None:
            module.to(device_id)
        if sync_module_states:
            _from_first(module, process_group)
        if mixed_precision is not None and mixed_precision.buffer_dtype is not None:
            _cast_buffers(module, mixed_precision.buffer_dtype)
        self._fsdp_wrapped_module = module
        self._type = StateDictType.FULL_STATE_DICT
        options: dict[str, Any] = {
            "reshard_after_forward": strategy in (ShardingStrategy.FULL_SHARD, ShardingStrategy.HYBRID_SHARD),
            "mp_policy": _precision(mixed_precision),
            "offload_policy": CPUOffloadPolicy() if cpu_offload and cpu_offload.offload_params else OffloadPolicy(),
            "ignored_params": left,
        }
        for inner in chosen(module, auto_wrap_policy, ignored) if auto_wrap_policy is not None else ():
            fully_shard_over(ranks, [inner], **options)
        options["reshard_after_forward"] = options["reshard_after_forward"] and None  # the first is needed first
        fully_shard_over(ranks, [module], **options)
        self._register_load_state_dict_pre_hook(self._with_prefix)
        self.register_state_dict_post_hook(_without_prefix)

    @property
    def module(self) -> Module:
        """What is wrapped."""
        return self._fsdp_wrapped_module

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The forward of the module inside."""
        return self._fsdp_wrapped_module(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)  # type: ignore[misc]
        except AttributeError:
            return getattr(super().__getattr__("_fsdp_wrapped_module"), name)  # type: ignore[misc]

    def __getitem__(self, key: int) -> Any:
        """A member of the module inside, where it is a container."""
        return self._fsdp_wrapped_module[key]  # type: ignore[index]

    def _units(self) -> list[Unit]:
        return units_in(self)

    # -- gradients -----------------------------------------------------------------------------------
    @contextlib.contextmanager
    def no_sync(self) -> Iterator[None]:
        """Within it backward adds up whole gradients on this rank; the next one outside sums them over the ranks."""
        units = self._units()
        for unit in units:
            unit.group.sync = False
        try:
            yield
        finally:
            for unit in units:
                unit.group.sync = True

    def clip_grad_norm_(self, max_norm: float, norm_type: float = 2.0) -> Tensor:
        """Scale the gradients so that their norm over all ranks is at most ``max_norm``; the norm before.

        Every rank must call it.
        """
        return clip_grad_norm_(self.parameters(), max_norm, norm_type)

    # -- whole parameters ------------------------------------------------------------------------------
    @staticmethod
    @contextlib.contextmanager
    def summon_full_params(
        module: Module, recurse: bool = True, writeback: bool = True, rank0_only: bool = False,
        offload_to_cpu: bool = False, with_grads: bool = False,
    ) -> Iterator[None]:  # fmt: skip
        """Within it the parameters of a module are whole; with ``writeback`` changes go back to the shards.

        Every rank must enter it, and with ``writeback`` change the parameters in the same way. They are whole on all
        ranks and where they are, whatever ``rank0_only`` and ``offload_to_cpu`` say.
        """
        if with_grads:
            raise NotImplementedError("summon_full_params: gradients stay sharded; use grad.full_tensor()")
        found = units_in(module)
        if not recurse:
            own = module._modules.get("_fsdp_wrapped_module")
            found = [u for u in found if own in u.modules or module in u.modules]
        for unit in found:
            unit.group.gather()
        try:
            yield
        finally:
            with no_grad():
                for unit in found:
                    for p in unit.group.params if writeback else ():
                        assert p.whole is not None
                        p.shard.copy_(p.piece.of(p.whole.detach()))
                    unit.group.free()

    # -- state -----------------------------------------------------------------------------------------
    @staticmethod
    def set_state_dict_type(module: Module, state_dict_type: StateDictType, *ignored: Any, **also: Any) -> None:
        """Whether ``state_dict`` of the wrappers in a module gives whole tensors or pieces."""
        for m in module.modules():
            if isinstance(m, FullyShardedDataParallel):
                m._type = state_dict_type

    @staticmethod
    @contextlib.contextmanager
    def state_dict_type(module: Module, state_dict_type: StateDictType, *ignored: Any, **also: Any) -> Iterator[None]:
        """:meth:`set_state_dict_type` for a while."""
        before = [(m, m._type) for m in module.modules() if isinstance(m, FullyShardedDataParallel)]
        FullyShardedDataParallel.set_state_dict_type(module, state_dict_type)
        try:
            yield
        finally:
            for m, kind in before:
                m._type = kind

    def _with_prefix(self, state_dict: dict[str, Any], prefix: str, *ignored: Any) -> None:
        """Names as they are below, and of what is whole this rank's piece."""
        for unit in self._units():
            unit.group.free()
        pieces = {name.replace(_PREFIX, ""): p.piece for name, p in self.named_parameters() if isinstance(p, Sharded)}
        for key in [k for k in state_dict if k.startswith(prefix)]:
            name = key.removeprefix(prefix).replace(_PREFIX, "")
            value = state_dict.pop(key)
            piece: Piece | None = pieces.get(name)
            if piece is not None and not isinstance(value, Sharded) and tuple(value.shape) == piece.shape:
                value = piece.of(value.detach())
            state_dict[prefix + _PREFIX + name] = value


def _without_prefix(module: FullyShardedDataParallel, state: dict[str, Any], prefix: str, ignored: Any) -> None:
    """The names of the module inside, and whole tensors where they are asked for."""
    for key in [k for k in state if k.startswith(prefix)]:
        value = state.pop(key)
        if isinstance(value, Sharded) and module._type is StateDictType.FULL_STATE_DICT:
            value = value.full_tensor()
        state[prefix + key.removeprefix(prefix).replace(_PREFIX, "")] = value


def _ranks(strategy: ShardingStrategy, group: Any, mesh: Any) -> Ranks:
    hybrid = strategy in (ShardingStrategy.HYBRID_SHARD, ShardingStrategy._HYBRID_SHARD_ZERO2)
    what = "FullyShardedDataParallel"
    if hybrid and (mesh is None or mesh.ndim != 2):
        raise ValueError(f"{what}: {strategy.name} needs a device_mesh of two dimensions: copies, and shards")
    if mesh is not None and group is not None:
        raise ValueError(f"{what}: give process_group or device_mesh, not both")
    found = ranks_of(mesh, what) if group is None else Ranks(dist.get_world_size(group), dist.get_rank(group), group)
    if strategy is not ShardingStrategy.NO_SHARD:
        return found
    return Ranks(1, 0, None, found.size, world() if found.shard_group is None else found.shard_group)


def _precision(asked: MixedPrecision | None) -> MixedPrecisionPolicy:
    if asked is None:
        return MixedPrecisionPolicy()
    casts = asked.cast_forward_inputs or asked.cast_root_forward_inputs
    return MixedPrecisionPolicy(asked.param_dtype, asked.reduce_dtype, None, casts)


def _initialize(module: Module, fn: Callable[[Module], Any]) -> None:
    for m in module.modules():
        if any(t is not None and t.is_meta for t in (*m._parameters.values(), *m._buffers.values())):
            fn(m)


def _cast_buffers(module: Module, dtype: DType) -> None:
    for b in module.buffers():
        if b.is_floating_point():
            b.data = b.to(dtype)


def _from_first(module: Module, group: Any) -> None:
    with no_grad():
        for t in (*module.parameters(), *module.buffers()):
            sent = t.detach().contiguous()
            dist.broadcast(sent, group_src=0, group=group)
            t.copy_(sent)


__all__ = [
    "BackwardPrefetch", "CPUOffload", "FullyShardedDataParallel", "MixedPrecision", "ShardingStrategy", "StateDictType",
]  # fmt: skip
