"""The kernel of an op by a key of torch's dispatcher."""

from __future__ import annotations

from typing import Any

from flambeau.compat.torch._C import DispatchKey
from flambeau.compat.torch._ops import ops
from flambeau.library import CustomOp, registered

__all__ = ["get_kernel"]


class SafeKernelFunction:
    """What runs an op for a key; it stays the same when another function is registered later."""

    def __init__(self, op_handle: Any, fn: Any):  # Any: an op, and a function of the op's arguments
        self.op_handle, self._fn = op_handle, fn

    def call_boxed(self, keys: object, *args: Any, **kwargs: Any) -> Any:  # Any: of the op
        """Run it on arguments; ``keys`` is accepted for torch's sake."""
        return self._fn(*args, **kwargs)


def get_kernel(op: Any, dispatch_key: str | DispatchKey) -> SafeKernelFunction:
    """The kernel of an op, "namespace::name" or what torch.ops has, for a key such as "CPU".

    RuntimeError for an op that does not exist, ValueError for a key that does not. Ops of flambeau choose their kernel
    by the tensors' device: theirs is the same under every key.
    """
    key = dispatch_key.name if isinstance(dispatch_key, DispatchKey) else dispatch_key
    if key not in DispatchKey.__members__:
        raise ValueError(f"Invalid dispatch key: {key}")
    if isinstance(op, CustomOp):
        op = op.name
    name = op if isinstance(op, str) else getattr(op, "name", None)
    name = name() if callable(name) else name
    if not isinstance(name, str) or "::" not in name:
        raise ValueError(f"get_kernel({op}): got unexpected type for op: {type(op)}")
    custom = registered(name)
    if custom is not None:
        fn = custom._kernels.get(key.lower(), custom._default)
        if fn is None:
            raise RuntimeError(f"operator {name} has no kernel for {key}")
        return SafeKernelFunction(custom, fn)
    namespace, _, rest = name.partition("::")
    short, _, overload = rest.partition(".")
    try:
        found = getattr(getattr(ops, namespace), short)
        found = getattr(found, overload) if overload else found
    except AttributeError:
        raise RuntimeError(f"operator {name} does not exist") from None
    return SafeKernelFunction(found, found)
