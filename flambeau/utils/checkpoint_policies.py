"""Selective checkpointing: a policy says of each op whether its result is kept or computed again."""

from __future__ import annotations

import contextlib
import enum
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias

from flambeau.core.dispatch import tensor_of
from flambeau.core.events import write
from flambeau.core.keys import Key
from flambeau.core.record import VIEW, Op
from flambeau.core.state import watch

Context: TypeAlias = contextlib.AbstractContextManager[Any]

#: Ops that no policy is asked about: they compute nothing that could be kept.
SAC_IGNORED_OPS: Final = frozenset({"detach", "alias"})


class CheckpointPolicy(enum.Enum):
    """Whether an op's result is kept or computed again in backward, as a must or as a preference."""

    MUST_SAVE = 0
    PREFER_SAVE = 1
    MUST_RECOMPUTE = 2
    PREFER_RECOMPUTE = 3
    MUST_CPU_OFFLOAD = 4
    PREFER_CPU_OFFLOAD = 5


_SAVED: Final = (CheckpointPolicy.MUST_SAVE, CheckpointPolicy.PREFER_SAVE)
_RECOMPUTED: Final = (CheckpointPolicy.MUST_RECOMPUTE, CheckpointPolicy.PREFER_RECOMPUTE)


class SelectiveCheckpointContext:
    """What a policy is told beside the op: whether this is the second run, and in the first the result."""

    def __init__(self, *, is_recompute: bool, op_output: Any = None):  # Any: a tensor, or a tuple of them
        self.is_recompute, self.op_output = is_recompute, op_output


Policy: TypeAlias = Callable[..., CheckpointPolicy | bool]


def create_selective_checkpoint_contexts(
    policy_fn_or_list: Policy | Sequence[Any], allow_cache_entry_mutation: bool = False
) -> tuple[Context, Context]:
    """The two contexts for ``checkpoint``'s ``context_fn`` that keep the results of some ops.

    Args:
        policy_fn_or_list: the ops to keep, as functions of flambeau or by name; or ``policy(ctx, op, *args, **params)``
            that says it of each op, ``op`` being such a function.
        allow_cache_entry_mutation: accepted for PyTorch's sake; a kept result that was written to is read as it is.

    >>> from flambeau.utils.checkpoint import checkpoint, create_selective_checkpoint_contexts
    >>> x = fb.ones(2, requires_grad=True)
    >>> context = lambda: create_selective_checkpoint_contexts([fb.exp])
    >>> checkpoint(lambda t: t.exp().sin(), x, use_reentrant=False, context_fn=context).sum().backward()
    >>> x.grad
    tensor([-2.4784, -2.4784])
    """
    policy = _policy(policy_fn_or_list)
    kept: defaultdict[str, deque[Any]] = defaultdict(deque)

    def keep(op: Op, key: Key, arrays: Any, params: dict[str, Any], kernel: Callable[..., Any]) -> Any:
        goal, params = _parted(params)
        result = kernel(*arrays, **params)
        if _asked(op) and _saves(policy, op, key, arrays, params, False, result):
            kept[op.name].append(result)
        return _put(key, result, goal)

    def give(op: Op, key: Key, arrays: Any, params: dict[str, Any], kernel: Callable[..., Any]) -> Any:
        goal, own = _parted(params)
        if _asked(op) and _saves(policy, op, key, arrays, own, True, None):
            if not kept[op.name]:
                raise RuntimeError(
                    f"{op.name} encountered during backward, but not found in storage: a policy must say the same in "
                    "both runs"
                )
            return _put(key, kept[op.name].popleft(), goal)
        return kernel(*arrays, **params)

    return watch(keep), watch(give)


def _parted(params: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Where an op in place writes to, and the other params: what is kept must be memory of its own."""
    return params.get("out"), {n: v for n, v in params.items() if n != "out"}


def _put(key: Key, result: Any, goal: Any) -> Any:
    if goal is None:
        return result
    write(key, goal, result)
    return goal


def _asked(op: Op) -> bool:
    return op.family is not VIEW and op.name not in SAC_IGNORED_OPS


def _policy(given: Policy | Sequence[Any]) -> Policy:
    if callable(given):
        return given
    if not isinstance(given, (list, tuple)):
        raise TypeError(
            f"create_selective_checkpoint_contexts: expected a function or a list of ops, got {type(given).__name__}"
        )
    names = set()
    for entry in given:
        name = entry if isinstance(entry, str) else getattr(getattr(entry, "op", entry), "name", None)
        name = name() if callable(name) else name or getattr(entry, "__name__", None)
        if name is None:
            raise ValueError(f"create_selective_checkpoint_contexts: {entry!r} is no op")
        names.add(name.rpartition("::")[2].partition(".")[0])
    return lambda ctx, op, *args, **params: _CHOICES[op.__name__ in names]


_CHOICES: Final = {True: CheckpointPolicy.MUST_SAVE, False: CheckpointPolicy.PREFER_RECOMPUTE}


def _saves(policy: Policy, op: Op, key: Key, arrays: Any, params: dict[str, Any], again: bool, result: Any) -> bool:
    def tensors(value: Any) -> Any:
        if isinstance(value, (tuple, list)):
            return type(value)(map(tensors, value))
        return tensor_of(value, key) if hasattr(value, "shape") else value

    context = SelectiveCheckpointContext(is_recompute=again, op_output=tensors(result))
    said = policy(context, op.function, *(tensors(a) for a in arrays), **params)
    choice = _CHOICES[said] if isinstance(said, bool) else said
    if choice in _SAVED:
        return True
    if choice in _RECOMPUTED:
        return False
    if isinstance(choice, CheckpointPolicy):
        raise NotImplementedError(f"create_selective_checkpoint_contexts: {choice} is not there; save or recompute")
    raise TypeError(f"create_selective_checkpoint_contexts: a policy must give a CheckpointPolicy, got {said!r}")
