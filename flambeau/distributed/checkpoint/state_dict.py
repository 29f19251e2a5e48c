"""The state of models and optimizers, sharded or full, by the names of parameters: for any number of ranks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import flambeau.distributed as dist
from flambeau.core.creation import empty, full_like, zeros_like
from flambeau.core.dtype import dtype_named
from flambeau.core.tensor import Tensor
from flambeau.core.tree import flatten, unflatten
from flambeau.distributed.checkpoint.flat import decode, encode
from flambeau.distributed.checkpoint.peers import Peers
from flambeau.distributed.optim.zero_redundancy_optimizer import ZeroRedundancyOptimizer
from flambeau.distributed.pieces import Piece, Sharded, piece_of, sharded
from flambeau.nn.module import Module
from flambeau.nn.saving import IncompatibleKeys
from flambeau.optim.optimizer import Optimizer

__all__ = [
    "StateDictOptions", "get_model_state_dict", "get_optimizer_state_dict", "get_state_dict", "set_model_state_dict",
    "set_optimizer_state_dict", "set_state_dict",
]  # fmt: skip

#: What wrappers put before the names of what they wrap.
_WRAPPERS: Final = ("_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")


@dataclass(frozen=True)
class StateDictOptions:
    """What a state is to look like.

    Args:
        full_state_dict: whole tensors, in place of each rank's pieces.
        cpu_offload: tensors in the host's memory; with ``full_state_dict`` on rank 0 alone, others get an empty dict.
        ignore_frozen_params: without parameters that want no gradient.
        keep_submodule_prefixes: accepted for PyTorch's sake.
        strict: whether every key of the model must be there when it is set, and no other.
        broadcast_from_rank0: with ``full_state_dict``, rank 0 has the state to set, and gives the others their pieces.
        flatten_optimizer_state_dict: an optimizer's state as one flat dict, with keys such as
            ``"state.layer.weight.exp_avg"`` and ``"param_groups.layer.weight.lr"``.
    """

    full_state_dict: bool = False
    cpu_offload: bool = False
    ignore_frozen_params: bool = False
    keep_submodule_prefixes: bool = True
    strict: bool = True
    broadcast_from_rank0: bool = False
    flatten_optimizer_state_dict: bool = False

    def __post_init__(self) -> None:
        if self.broadcast_from_rank0 and not self.full_state_dict:
            raise ValueError("StateDictOptions: full_state_dict must be True when broadcast_from_rank0 is")


class Both(NamedTuple):
    """What set_state_dict and get_state_dict return: of the model, and of the optimizers."""

    model: dict[str, Any]
    optimizers: dict[str, Any]


Optimizers = Optimizer | Iterable[Optimizer]


def _plain(model: Module, name: str) -> str:
    """A parameter's name without those of wrappers."""
    for wrapper in _WRAPPERS:
        name = name.replace(wrapper, "")
    return name.removeprefix("module.") if _is_wrapped(model) else name


def _is_wrapped(model: Module) -> bool:
    """Whether the module's state is all that of one module in it, as DistributedDataParallel's."""
    return list(model._modules) == ["module"] and not model._parameters and not model._buffers


def _given(model: Module, name: str) -> str:
    """The other way: the model's own name for a plain one."""
    return next((own for own in _names(model) if _plain(model, own) == name), name)


def _names(model: Module) -> list[str]:
    return [n for n, _ in model.named_parameters(remove_duplicate=False)] + [n for n, _ in model.named_buffers()]


# -- models ------------------------------------------------------------------------------------------
def get_model_state_dict(
    model: Module, *, submodules: set[Module] | None = None, options: StateDictOptions | None = None
) -> dict[str, Any]:
    """The parameters and buffers of a model by name; every rank must call it.

    What is sharded is a :class:`~flambeau.distributed.pieces.ShardedTensor`, or whole with ``full_state_dict``.
    """
    options = options or StateDictOptions()
    state = {_plain(model, k): v for k, v in model.state_dict().items()}
    if submodules is not None:
        inside = [_plain(model, n) + "." for n, m in model.named_modules() if m in submodules]
        state = {k: v for k, v in state.items() if k.startswith(tuple(inside))}
    if options.ignore_frozen_params:
        frozen = {_plain(model, n) for n, p in model.named_parameters() if not p.requires_grad}
        state = {k: v for k, v in state.items() if k not in frozen}
    found: dict[str, Any] = _asked_for(state, options)
    return found


def _asked_for(state: Any, options: StateDictOptions) -> Any:
    """A state with whole tensors, on the host, or on one rank alone, as the options say."""
    leaves, structure = flatten(state)
    if options.full_state_dict:
        alone = options.cpu_offload and Peers().rank != 0
        for i, t in enumerate(leaves):
            if isinstance(t, Sharded):
                whole = t.full_tensor()
                leaves[i] = None if alone else whole.cpu() if options.cpu_offload else whole
        if alone:
            return {}
    if options.cpu_offload:
        leaves = [_on_host(t) if isinstance(t, Tensor) else t for t in leaves]
    return unflatten(leaves, structure)


def _on_host(t: Tensor) -> Tensor:
    piece = piece_of(t)
    return t.cpu() if piece is None else sharded(t.to_local().cpu(), piece)  # type: ignore[attr-defined]


def set_model_state_dict(
    model: Module, model_state_dict: Mapping[str, Any], *, options: StateDictOptions | None = None
) -> IncompatibleKeys:
    """Give a model the state that :func:`get_model_state_dict` gave; a rank takes its piece of what is whole."""
    options = options or StateDictOptions()
    own = model.state_dict()
    given = dict(model_state_dict)
    if options.broadcast_from_rank0:
        given = _from_first(given)
    taken = {}
    for name, value in given.items():
        target = own.get(name := _given(model, name))
        taken[name] = _own_part(value, piece_of(target))
    if options.ignore_frozen_params:
        taken |= {n: own[n] for n, p in model.named_parameters() if not p.requires_grad and n not in taken}
    return model.load_state_dict(taken, strict=options.strict)


def _own_part(value: Any, piece: Piece | None) -> Any:
    """This rank's piece of a whole tensor; what is a piece, or no tensor, stays."""
    if piece is None or not isinstance(value, Tensor) or isinstance(value, Sharded):
        return value
    return sharded(piece.of(value.detach()), piece) if tuple(value.shape) == piece.shape else value


def _from_first(state: Any) -> Any:
    """The state that rank 0 has, on every rank."""
    peers, told = Peers(), None
    leaves, structure = flatten(state)
    if peers.rank == 0:
        kinds = [[v.dtype.name, tuple(v.shape)] if isinstance(v, Tensor) else None for v in leaves]
        values = unflatten([None if isinstance(v, Tensor) else v for v in leaves], structure)
        told = encode([kinds, values], "state")
    kinds, values = decode(peers.gather(told)[0])
    found, shape_of = flatten(values)
    for i, kind in enumerate(kinds):
        if kind is not None:
            name, shape = kind
            if peers.rank == 0:
                found[i] = leaves[i].detach().contiguous()
            else:
                found[i] = empty(shape, dtype=dtype_named(name), device="cpu")
            if peers.size > 1:
                dist.broadcast(found[i], 0)
    return unflatten(found, shape_of)


# -- optimizers --------------------------------------------------------------------------------------
def _all(optimizers: Optimizers) -> list[Optimizer]:
    return [optimizers] if isinstance(optimizers, Optimizer) else list(optimizers)


def _names_of(model: Module) -> dict[int, str]:
    """The plain name of each parameter, by its id."""
    return {id(p): _plain(model, n) for n, p in model.named_parameters()}


def _numbered(model: Module, optimizer: Optimizer) -> list[tuple[str, Tensor]]:
    """The parameters of an optimizer in the order of its state_dict, with their names in the model."""
    names = _names_of(model)
    found = [(names.get(id(p), ""), p) for group in optimizer.param_groups for p in group["params"]]
    if any(not name for name, _ in found):
        raise RuntimeError(
            "optimizer state: a parameter of the optimizer is not one of the model's; make the optimizer after "
            "fully_shard, of the model's parameters()"
        )
    return found


def _first_state(optimizer: Optimizer) -> Any:
    """The state_dict of an optimizer that has taken no step, with the state that it would begin with.

    It is made by a step of zeros at the rate 0, and forgotten by the optimizer, which is as it was.
    """
    params = [p for group in optimizer.param_groups for p in group["params"] if p.requires_grad]
    grads = [p.grad for p in params]
    rates = [group.get("lr") for group in optimizer.param_groups]
    step = type(optimizer).step
    try:
        for group in optimizer.param_groups:
            if "lr" in group:
                group["lr"] = zeros_like(group["lr"]) if isinstance(group["lr"], Tensor) else 0.0
        for p in params:
            p.grad = zeros_like(p.detach())
        getattr(step, "__wrapped__", step)(optimizer)  # without hooks, and uncounted
    finally:
        for p, grad in zip(params, grads, strict=True):
            p.grad = grad
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            if "lr" in group:
                group["lr"] = rate
    found = optimizer.state_dict()
    rate_of = {i: group.get("lr") for group in found["param_groups"] for i in group["params"]}
    for number, values in found["state"].items():
        begins: dict[str, Any] = {"step": 0.0, "mu_product": 1.0, "mu": 1.0, "eta": rate_of[number]}
        for name in begins.keys() & values.keys():
            values[name] = full_like(values[name], begins[name])
    optimizer.state.clear()
    return found


def get_optimizer_state_dict(
    model: Module, optimizers: Optimizers, *, submodules: set[Module] | None = None,
    options: StateDictOptions | None = None,
) -> dict[str, Any]:  # fmt: skip
    """The state of optimizers by the names of the parameters, so that it fits any number of ranks.

    Every rank must call it. Of an optimizer that has taken no step yet it has the state that it begins with, so that
    a checkpoint has something to load into.
    """
    options = options or StateDictOptions()
    state: dict[str, Any] = {}
    groups: list[dict[str, Any]] = []
    for optimizer in _all(optimizers):
        if isinstance(optimizer, ZeroRedundancyOptimizer):
            part, its_groups = optimizer.pieces(_names_of(model), _first_state)
            state |= part
            groups += its_groups
            continue
        names = _numbered(model, optimizer)
        own: Any = optimizer.state_dict() if optimizer.state else _first_state(optimizer)
        for number, values in own["state"].items():
            name, p = names[number]
            state[name] = {k: _piece_like(v, p) for k, v in values.items()}
        groups += [{**g, "params": [names[i][0] for i in g["params"]]} for g in own["param_groups"]]
    if submodules is not None:
        inside = tuple(_plain(model, n) + "." for n, m in model.named_modules() if m in submodules)
        state = {k: v for k, v in state.items() if k.startswith(inside)}
        groups = [{**g, "params": [n for n in g["params"] if n.startswith(inside)]} for g in groups]
    found = _asked_for({"state": state, "param_groups": groups}, options)
    return _flat(found) if found and options.flatten_optimizer_state_dict else found


def _piece_like(value: Any, param: Tensor) -> Any:
    """A tensor of an optimizer's state as a piece where its parameter is one, and it has the same shape."""
    piece = piece_of(param)
    alike = piece is not None and isinstance(value, Tensor) and value.shape == param.shape
    return sharded(value.detach(), piece) if alike else value  # type: ignore[arg-type]


def _flat(found: dict[str, Any]) -> dict[str, Any]:
    flat = {f"state.{name}.{k}": v for name, values in found["state"].items() for k, v in values.items()}
    for group in found["param_groups"]:
        for name in group["params"]:
            flat |= {f"param_groups.{name}.{k}": v for k, v in group.items() if k not in ("params", "param_names")}
    return flat


def set_optimizer_state_dict(
    model: Module, optimizers: Optimizers, optim_state_dict: Mapping[str, Any], *,
    options: StateDictOptions | None = None,
) -> None:  # fmt: skip
    """Give optimizers the state that :func:`get_optimizer_state_dict` gave; a rank takes its piece of what is whole."""
    options = options or StateDictOptions()
    given: Any = dict(optim_state_dict)
    if options.broadcast_from_rank0:
        given = _from_first(given)
    for optimizer in _all(optimizers):
        if isinstance(optimizer, ZeroRedundancyOptimizer):
            optimizer.take_pieces(given["state"], given["param_groups"], _names_of(model))
            continue
        names = _numbered(model, optimizer)
        nested = _nested(given, optimizer, names) if "param_groups" not in given else given
        optimizer.load_state_dict(_renumbered(nested, optimizer, names))  # type: ignore[arg-type]


def _nested(flat: Mapping[str, Any], optimizer: Optimizer, names: list[tuple[str, Tensor]]) -> dict[str, Any]:
    """The usual form of a flat state."""
    state: dict[str, dict[str, Any]] = {}
    options: dict[str, dict[str, Any]] = {}
    for name, _ in names:
        for into, kind in ((state, "state"), (options, "param_groups")):
            start = f"{kind}.{name}."
            into[name] = {k.removeprefix(start): v for k, v in flat.items() if k.startswith(start)}
    of = {id(p): name for name, p in names}
    groups = []
    for group in optimizer.param_groups:
        inside = [of[id(p)] for p in group["params"]]
        groups.append({**(options[inside[0]] if inside else {}), "params": inside})
    return {"state": {n: s for n, s in state.items() if s}, "param_groups": groups}


def _renumbered(given: Mapping[str, Any], optimizer: Optimizer, names: list[tuple[str, Tensor]]) -> dict[str, Any]:
    """An optimizer's own form of its part of a state by names."""
    by_name = {name: (i, p) for i, (name, p) in enumerate(names)}
    state = {
        by_name[name][0]: {k: _own_value(v, by_name[name][1]) for k, v in values.items()}
        for name, values in given["state"].items() if name in by_name
    }  # fmt: skip
    groups, at = [], 0
    for group in optimizer.param_groups:
        own = {name for name, _ in names[at : at + len(group["params"])]}
        saved = next((g for g in given["param_groups"] if own and own <= set(g["params"])), None)
        if saved is None:
            raise ValueError(f"set_optimizer_state_dict: no group of the state has the parameters {sorted(own)[:3]}")
        groups.append({**saved, "params": list(range(at, at + len(group["params"])))})
        at += len(group["params"])
    return {"state": state, "param_groups": groups}


def _own_value(value: Any, param: Tensor) -> Any:
    found = _own_part(value, piece_of(param))
    return found.to_local() if isinstance(found, Sharded) else found


# -- both --------------------------------------------------------------------------------------------
def get_state_dict(
    model: Module, optimizers: Optimizers, *, submodules: set[Module] | None = None,
    options: StateDictOptions | None = None,
) -> Both:  # fmt: skip
    """The state of a model and of its optimizers.

    >>> from flambeau.distributed.checkpoint.state_dict import get_state_dict
    >>> model = fb.nn.Linear(2, 1, bias=False)
    >>> state, of_optimizer = get_state_dict(model, fb.optim.SGD(model.parameters(), lr=0.1))
    >>> list(state), of_optimizer["param_groups"][0]["params"]
    (['weight'], ['weight'])
    """
    return Both(
        get_model_state_dict(model, submodules=submodules, options=options),
        get_optimizer_state_dict(model, optimizers, submodules=submodules, options=options),
    )


def set_state_dict(
    model: Module, optimizers: Optimizers, *, model_state_dict: Mapping[str, Any], optim_state_dict: Mapping[str, Any],
    options: StateDictOptions | None = None,
) -> IncompatibleKeys:  # fmt: skip
    """Give a model and its optimizers the state that :func:`get_state_dict` gave."""
    found = set_model_state_dict(model, model_state_dict, options=options)
    set_optimizer_state_dict(model, optimizers, optim_state_dict, options=options)
    return found
