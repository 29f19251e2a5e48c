"""What torch's own Python takes from the side of TorchScript."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

from flambeau.compat.torch.jit.annotations import BroadcastingList1, BroadcastingList2, BroadcastingList3
from flambeau.compat.unchanged import no, unchanged

__all__ = [
    "BroadcastingList1", "BroadcastingList2", "BroadcastingList3", "Final", "_copy_to_script_wrapper", "_overload",
    "_overload_method", "boolean_dispatch", "export", "ignore", "is_scripting", "unused",
]  # fmt: skip

R = TypeVar("R")

_copy_to_script_wrapper = _overload = _overload_method = export = ignore = unused = unchanged
is_scripting = no


def boolean_dispatch(
    arg_name: str, arg_index: int, default: bool, if_true: Callable[..., R], if_false: Callable[..., R],
    module_name: str = "", func_name: str = "",
) -> Callable[..., R]:  # fmt: skip
    """A function that calls one of two, as its argument ``arg_name``, the one at ``arg_index``, says."""

    def chosen(*args: Any, **kwargs: Any) -> R:
        flag = kwargs.get(arg_name, args[arg_index] if arg_index < len(args) else default)
        return (if_true if flag else if_false)(*args, **kwargs)

    chosen.__name__ = func_name or chosen.__name__
    return chosen
