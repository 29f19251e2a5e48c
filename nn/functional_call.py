"""Modules as functions of their parameters: ``functional_call`` and ``stack_module_state``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from flambeau.core.blame import explain_functions
from flambeau.core.ops.joining import stack
from flambeau.core.tensor import Tensor
from flambeau.nn.module import Module


def _place(module: Module, name: str) -> tuple[Module, str]:
    """The submodule that holds the tensor called ``a.b.weight``, and its name there."""
    path, _, short = name.rpartition(".")
    return (module.get_submodule(path) if path else module), short


@contextmanager
def _replaced(module: Module, tensors: dict[str, Tensor], tie: bool, strict: bool) -> Iterator[None]:
    """The module with other tensors in its places; the old ones come back whatever happens."""
    known = {
        **dict(module.named_parameters(remove_duplicate=False)),
        **dict(module.named_buffers(remove_duplicate=False)),
    }
    unexpected = [n for n in tensors if n not in known]
    if unexpected and strict:
        raise RuntimeError(
            f"functional_call: {type(module).__name__} has no parameter or buffer {', '.join(unexpected)} (strict=True)"
        )
    by_identity = {id(known[n]): t for n, t in tensors.items() if n in known} if tie else {}
    missing = [n for n, old in known.items() if n not in tensors and id(old) not in by_identity]
    if strict and missing:
        raise RuntimeError(f"functional_call: missing {', '.join(missing)} (strict=True)")
    saved: list[tuple[dict[str, Any], str, Any]] = []
    try:
        for name, old in known.items():  # tied tensors are replaced in all their places
            if name in tensors or id(old) in by_identity:
                owner, short = _place(module, name)
                store: Any = owner._parameters if short in owner._parameters else owner._buffers
                saved.append((store, short, store[short]))
                store[short] = tensors.get(name, by_identity.get(id(old)))
        yield
    finally:
        for store, short, old in reversed(saved):
            store[short] = old


def functional_call(
    module: Module,
    parameter_and_buffer_dicts: Mapping[str, Tensor] | Sequence[Mapping[str, Tensor]],
    args: Any = None,  # Any: one argument of forward, or a tuple of them
    kwargs: dict[str, Any] | None = None,
    *,
    tie_weights: bool = True,
    strict: bool = False,
) -> Any:  # Any: what forward gives
    """Call ``module`` with other tensors in place of its parameters and buffers.

    A tensor given for one place of a tied parameter takes them all (``tie_weights``). Names that the module lacks
    are passed over, and what is not given stays as it is; with ``strict`` both raise RuntimeError.

    >>> layer = fb.nn.Linear(2, 1, bias=False)
    >>> fb.func.functional_call(layer, {"weight": fb.tensor([[1.0, 2.0]])}, (fb.tensor([3.0, 4.0]),))
    tensor([11.])
    """
    given = parameter_and_buffer_dicts
    tensors = {name: t for d in ((given,) if isinstance(given, Mapping) else given) for name, t in d.items()}
    values = () if args is None else args if isinstance(args, tuple) else (args,)
    with _replaced(module, tensors, tie_weights, strict):
        return module(*values, **(kwargs or {}))


def stack_module_state(models: Sequence[Module]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The parameters and the buffers of models of one structure, each stacked along a new first axis for vmap.

    >>> models = [fb.nn.Linear(2, 3), fb.nn.Linear(2, 3)]
    >>> parameters, buffers = fb.func.stack_module_state(models)
    >>> parameters["weight"].shape
    flambeau.Size([2, 3, 2])
    """
    if not models:
        raise RuntimeError("stack_module_state: expected at least one model, got none")
    if len({type(m) for m in models}) > 1:
        raise RuntimeError(
            f"stack_module_state: the models must be of one class, got {sorted({type(m).__name__ for m in models})}"
        )
    parameters = [dict(m.named_parameters()) for m in models]
    buffers = [dict(m.named_buffers()) for m in models]
    stacked = {
        n: stack([p[n].detach() for p in parameters]).requires_grad_(parameters[0][n].requires_grad)
        for n in parameters[0]
    }
    return stacked, {n: stack([b[n] for b in buffers]) for n in buffers[0]}


explain_functions(globals())
