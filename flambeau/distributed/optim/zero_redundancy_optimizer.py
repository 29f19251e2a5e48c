"""ZeRO 1: each rank keeps the optimizer's state for its share of the parameters."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, TypeVar

import flambeau.distributed as dist
from flambeau.core.creation import empty
from flambeau.core.dtype import DType, dtype_named
from flambeau.core.events import refuse
from flambeau.core.ops.joining import cat
from flambeau.core.state import enable_grad, no_grad
from flambeau.core.tensor import Tensor
from flambeau.distributed.checkpoint.flat import decode, encode
from flambeau.distributed.checkpoint.peers import Peers
from flambeau.distributed.groups import world
from flambeau.distributed.optim.shares import ELEMENTWISE, Bins, Run, Slice
from flambeau.distributed.pieces import Piece, Sharded, sharded
from flambeau.nn.parallel.join import Join, Joinable, JoinHook
from flambeau.optim.optimizer import NUMBERS, Group, Optimizer

T = TypeVar("T")


class _Entry(NamedTuple):
    """One value of the state of parameter ``number``: of its elements ``start`` to ``end`` where it is ``cut``."""

    number: int
    start: int
    end: int
    name: str
    dtype: str | None  # None for what is no tensor
    shape: tuple[int, ...]
    cut: bool
    value: Any


class _StepHook(JoinHook):
    """What a process without batches does: it steps on its share, which others wait for."""

    def __init__(self, zero: ZeroRedundancyOptimizer):
        self.zero = zero

    def main_hook(self) -> None:
        self.zero.step()


class ZeroRedundancyOptimizer(Optimizer, Joinable):
    """An optimizer whose state is cut over the ranks: each changes its share of the parameters, and all get them.

    Parameters and gradients are the same on all ranks, as DistributedDataParallel makes them. For rules that treat
    each element by itself (SGD, Adam, AdamW, RMSprop and the like) the elements of a group's parameters are cut into
    equal runs, so that the state is 1/N on each rank; for others a parameter stays whole, and the largest go first to
    the rank that has least, as PyTorch does for all.

    Args:
        params: as for any optimizer.
        optimizer_class: the optimizer of the shares.
        process_group: the ranks; all of them if None.
        parameters_as_bucket_view: let the parameters be views of one buffer, into which ranks gather without copies.
        overlap_with_ddp: only False: the step runs after backward.
        defaults: the options of ``optimizer_class``.

    Rajbhandari et al., arXiv:1910.02054.
    """

    def __init__(
        self, params: Any, optimizer_class: type[Optimizer], process_group: Any = None,
        parameters_as_bucket_view: bool = False, overlap_with_ddp: bool = False, **defaults: Any,
    ):  # fmt: skip
        if overlap_with_ddp:
            raise ValueError("ZeroRedundancyOptimizer: overlap_with_ddp must be False: the step runs after backward")
        if not (isinstance(optimizer_class, type) and issubclass(optimizer_class, Optimizer)):
            raise TypeError(
                f"ZeroRedundancyOptimizer: optimizer_class must be an optimizer's class, got {optimizer_class!r}"
            )
        self.process_group = world() if process_group is None else process_group
        self.world_size, self.rank = dist.get_world_size(process_group), dist.get_rank(process_group)
        self.parameters_as_bucket_view = parameters_as_bucket_view
        self._class, self._defaults = optimizer_class, defaults
        self._load = [0] * self.world_size
        self._shares: list[list[Run | Bins]] = []  # of each group
        self._consolidated: dict[str, Any] | None = None
        self.optim: Optimizer | None = None  # None where this rank has no share
        super().__init__(params, defaults)

    # -- groups ----------------------------------------------------------------------------------
    def add_param_group(self, param_group: Group) -> None:
        """Add parameters; every rank must add the same."""
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        own = self._divide(group["params"])
        self._shares.append(own)
        slices = [s for share in own for s in share.slices]
        if slices:
            self._add_slices(group, slices)

    def _divide(self, params: list[Tensor]) -> list[Run | Bins]:
        kinds: dict[Any, list[Tensor]] = {}
        for p in params:
            kinds.setdefault((p.dtype, p.device), []).append(p)
        if self._class not in ELEMENTWISE:
            return [Bins(params, self.world_size, self.rank, self.process_group, self._load)]
        return [
            Run(some, self.world_size, self.rank, self.process_group, self.parameters_as_bucket_view)
            for some in kinds.values()
        ]

    def _add_slices(self, group: Group, slices: list[Slice]) -> None:
        options = {k: v for k, v in group.items() if k not in ("params", "param_names")}
        members = {**options, "params": [s.own for s in slices]}
        if self.optim is None:
            self.optim = self._class([members], **self._defaults)
            self.state = self.optim.state
        else:
            self.optim.add_param_group(members)
        filled = {k: v for k, v in self.optim.param_groups[-1].items() if k not in ("params", "param_names")}
        group.update({k: v for k, v in filled.items() if k not in group})  # defaults of the class

    def _pairs(self) -> Iterable[tuple[Group, list[Slice], Group | None]]:
        """Each group with this rank's slices of it, and the group of those."""
        own = iter(self.optim.param_groups if self.optim is not None else ())
        for group, shares in zip(self.param_groups, self._shares, strict=True):
            slices = [s for share in shares for s in share.slices]
            yield group, slices, next(own) if slices else None

    # -- steps -----------------------------------------------------------------------------------
    def step(self, closure: Callable[[], T] | None = None, **kwargs: Any) -> T | None:  # type: ignore[override]
        """One step on this rank's share, after which every rank has all parameters; every rank must call it."""
        refuse("ZeroRedundancyOptimizer.step() communicates with other processes")
        Join.notify_join_context(self)
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        for group, slices, own in self._pairs():
            if own is not None:
                own.update({k: v for k, v in group.items() if k not in ("params", "param_names")})
            for s in slices:
                s.take()
        if self.optim is not None:
            self.optim.step(**kwargs)
        for group, _, own in self._pairs():  # what the rule may have changed
            if own is not None:
                group.update({k: v for k, v in own.items() if k in group and k not in ("params", "param_names")})
        with no_grad():
            for end in [share.share() for shares in self._shares for share in shares if self.world_size > 1]:
                end()
            if self.world_size == 1:
                self._write_back()
        return loss

    def _write_back(self) -> None:
        for _, slices, _ in self._pairs():
            for s in slices:
                if not s.shares:
                    s.param.copy_(s.own.view(s.param.shape))

    # -- uneven inputs -----------------------------------------------------------------------------
    def join_hook(self, **kwargs: Any) -> JoinHook:
        """What a process without batches does in a :class:`~flambeau.distributed.algorithms.join.Join`: step.

        It needs the gradients of the others, so that a DistributedDataParallel must be among the joinables, before it.
        """
        return _StepHook(self)

    @property
    def join_device(self) -> Any:
        """Where the parameters are."""
        return self.param_groups[0]["params"][0].device

    @property
    def join_process_group(self) -> Any:
        """The ranks."""
        return self.process_group

    # -- state -------------------------------------------------------------------------------------
    def consolidate_state_dict(self, to: int = 0) -> None:
        """Gather the state of all shares on rank ``to`` of the group, whose :meth:`state_dict` then gives it.

        Every rank must call it.
        """
        if not 0 <= to < self.world_size:
            raise ValueError(f"consolidate_state_dict: to must be a rank in [0, {self.world_size}), got {to!r}")
        told, tensors = self._told()
        peers = Peers(self.process_group)
        heads = [[_Entry(*decode(e)) for e in head] for head in peers.gather([encode(list(e), e.name) for e in told])]
        self._consolidated = None
        if self.rank == to:
            parts = [self._received(head, r) if r != to else tensors for r, head in enumerate(heads)]
            self._consolidated = self._joined(heads, parts)
        else:
            for dtype in sorted(tensors, key=lambda d: d.name):
                dist.send(tensors[dtype], group_dst=to, group=self.process_group)

    def _told(self) -> tuple[list[_Entry], dict[DType, Tensor]]:
        """What the state of this rank's share is made of, and its tensors by dtype, one after the other."""
        if self.optim is None:
            return [], {}
        state: Any = self.optim.state_dict()["state"]
        number = {id(p): i for i, p in enumerate(self._all())}
        entries: list[_Entry] = []
        rows: dict[DType, list[Tensor]] = {}
        for i, s in enumerate(s for _, some, _ in self._pairs() for s in some):
            for name, value in state.get(i, {}).items():
                at = number[id(s.param)], s.start, s.end, name
                if isinstance(value, Tensor):
                    cut = not s.is_whole and value.shape == s.own.shape
                    entries.append(_Entry(*at, value.dtype.name, tuple(value.shape), cut, None))
                    rows.setdefault(value.dtype, []).append(value.detach().reshape(-1).to(s.param.device))
                else:
                    entries.append(_Entry(*at, None, (), False, value))
        return entries, {dtype: cat(some) for dtype, some in rows.items()}

    def _received(self, head: list[_Entry], rank: int) -> dict[DType, Tensor]:
        """The tensors of another rank."""
        counts: Counter[str] = Counter()
        for e in head:
            if e.dtype is not None:
                counts[e.dtype] += math.prod(e.shape)
        found = {}
        for name in sorted(counts):
            dtype = dtype_named(name)
            found[dtype] = empty(counts[name], dtype=dtype, device=self.join_device)
            dist.recv(found[dtype], group_src=rank, group=self.process_group)
        return found

    def _joined(self, heads: list[list[_Entry]], parts: list[dict[DType, Tensor]]) -> dict[str, Any]:
        """The state of an optimizer of all parameters."""
        params = list(self._all())
        state: dict[int, dict[str, Any]] = {}
        for head, rows in zip(heads, parts, strict=True):
            left = {dtype.name: row for dtype, row in rows.items()}
            for e in head:
                values = state.setdefault(e.number, {})
                if e.dtype is None:
                    values[e.name] = e.value
                    continue
                size = math.prod(e.shape)
                found, left[e.dtype] = left[e.dtype][:size], left[e.dtype][size:]
                if not e.cut:
                    values[e.name] = found.view(e.shape).clone()
                    continue
                if e.name not in values:
                    values[e.name] = empty(params[e.number].shape, dtype=found.dtype, device=found.device)
                values[e.name].view(-1)[e.start : e.end].copy_(found)
        numbers = {id(p): i for i, p in enumerate(params)}
        groups = [{**g, "params": [numbers[id(p)] for p in g["params"]]} for g in self.param_groups]
        return {"state": dict(sorted(state.items())), "param_groups": groups}

    # -- for sharded checkpoints -------------------------------------------------------------------
    def pieces(self, names: Mapping[int, str], first: Callable[[Optimizer], Any]) -> tuple[dict[str, Any], list[Any]]:
        """The state of this rank's share by the names of parameters (by their ids), and the groups.

        State of cut parameters is pieces of vectors, for a parameter's elements in row-major order. ``first`` makes
        the state of an optimizer that has taken no step.
        """
        state: dict[str, Any] = {}
        own: Any = None
        if self.optim is not None:
            own = (self.optim.state_dict() if self.optim.state else first(self.optim))["state"]
        for i, s in enumerate(s for _, some, _ in self._pairs() for s in some):
            values = own.get(i, {})
            state[names[id(s.param)]] = {k: self._as_piece(v, s) for k, v in values.items()}
        groups = [{**g, "params": [names[id(p)] for p in g["params"]]} for g in self.param_groups]
        return state, groups

    def _as_piece(self, value: Any, s: Slice) -> Any:
        if s.is_whole or not isinstance(value, Tensor) or value.shape != s.own.shape:
            return value
        run = Piece((s.param.numel(),), 0, self.world_size, self.rank, self.process_group, run=(s.start, s.end))
        return sharded(value.detach(), run)

    def take_pieces(self, state: Mapping[str, Any], groups: list[Any], names: Mapping[int, str]) -> None:
        """Take back what :meth:`pieces` gave."""
        given = {"state": {}, "param_groups": []}  # type: dict[str, Any]
        at = 0
        for group, slices, own in self._pairs():
            members = {names[id(p)] for p in group["params"]}
            saved = next((g for g in groups if members <= set(g["params"])), None)
            if saved is None:
                raise ValueError(f"optimizer state: no group of it has the parameters {sorted(members)[:3]}")
            group.update({k: v for k, v in saved.items() if k not in ("params", "param_names")})
            if own is None:
                continue
            for i, s in enumerate(slices, at):
                values = state.get(names[id(s.param)], {})
                if values:
                    given["state"][i] = {k: v.to_local() if isinstance(v, Sharded) else v for k, v in values.items()}
            options = {k: v for k, v in group.items() if k not in ("params", "param_names")}
            given["param_groups"].append({**options, "params": list(range(at, at + len(slices)))})
            at += len(slices)
        self._consolidated = None
        if self.optim is not None:
            loaded: Any = given
            self.optim.load_state_dict(loaded)
            self.state = self.optim.state

    def state_dict(self) -> dict[str, Any]:  # type: ignore[override]
        """The state of all parameters, as ``optimizer_class`` alone would have it, on the rank that gathered it.

        Raises:
            RuntimeError: :meth:`consolidate_state_dict` was not called, or gathered it on another rank.
        """
        if self._consolidated is None:
            raise RuntimeError(
                "ZeroRedundancyOptimizer: the state of the other ranks is not here; call "
                "consolidate_state_dict(to=...) on all ranks before state_dict() on that one"
            )
        return self._consolidated

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:  # type: ignore[override]
        """Take this rank's share of a state of all parameters; every rank must be given it."""
        self._consolidated = None
        groups, state = state_dict["param_groups"], state_dict["state"]
        if len(groups) != len(self.param_groups):
            raise ValueError(
                f"loaded state dict has {len(groups)} parameter groups, the optimizer {len(self.param_groups)}"
            )
        by_param: dict[int, Any] = {}
        for saved, group in zip(groups, self.param_groups, strict=True):
            if len(saved["params"]) != len(group["params"]):
                raise ValueError(
                    f"loaded state dict has a group of {len(saved['params'])} parameters, the optimizer's has "
                    f"{len(group['params'])}"
                )
            group.update({k: v for k, v in saved.items() if k not in ("params", "param_names")})
            by_param |= {id(p): state.get(n, {}) for n, p in zip(saved["params"], group["params"], strict=True)}
        if self.optim is None:
            return
        own_state: dict[int, Any] = {}
        own_groups, at = [], 0
        for group, slices, own in self._pairs():
            if own is None:
                continue
            for i, s in enumerate(slices, at):
                if values := by_param[id(s.param)]:
                    own_state[i] = {k: v if k in NUMBERS else s.of(v) for k, v in values.items()}
            options = {k: v for k, v in group.items() if k not in ("params", "param_names")}
            own_groups.append({**options, "params": list(range(at, at + len(slices)))})
            at += len(slices)
        self.optim.load_state_dict({"state": own_state, "param_groups": own_groups})
        self.state = self.optim.state
