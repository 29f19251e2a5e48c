"""Classes and modes that take over the calls of flambeau's functions: ``flambeau.overrides``.

A class with a method ``__torch_function__(func, types, args, kwargs)`` gets the calls in which an instance takes part;
a subclass of Tensor has one that keeps the subclass.

>>> class Counting(fb.Tensor):
...     seen = []
...     @classmethod
...     def __torch_function__(cls, func, types, args=(), kwargs=None):
...         cls.seen.append(func.__name__)
...         return super().__torch_function__(func, types, args, kwargs)
>>> x = fb.ones(2).as_subclass(Counting)
>>> type((x + 1).sum()).__name__, Counting.seen
('Counting', ['add', 'sum'])
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import inspect
import types
from collections import defaultdict
from collections.abc import Callable
from typing import Any, Final

from flambeau.core.methods import FUNCTIONS
from flambeau.core.overrides import (
    NOT_ASKED,
    BaseTorchFunctionMode,
    DisableTorchFunction,
    DisableTorchFunctionSubclass,
    TorchFunctionMode,
    enable_reentrant_dispatch,
    handle_torch_function,
    has_torch_function,
    has_torch_function_unary,
    has_torch_function_variadic,
    is_tensor_like,
    nowrap_functions,
    redispatch_function,
    resolve_name,
    wrap_torch_function,
)  # fmt: skip
from flambeau.core.tensor import Tensor

__all__ = [
    "BaseTorchFunctionMode", "DisableTorchFunction", "DisableTorchFunctionSubclass", "TorchFunctionMode",
    "enable_reentrant_dispatch", "get_default_nowrap_functions", "get_ignored_functions", "get_overridable_functions",
    "get_testing_overrides", "handle_torch_function", "has_torch_function", "has_torch_function_unary",
    "has_torch_function_variadic", "is_tensor_like", "is_tensor_method_or_property", "redispatch_function",
    "resolve_name", "wrap_torch_function",
]  # fmt: skip

#: Where functions are overridable, beside flambeau itself and Tensor.
_SPACES: Final = ("nn.functional", "linalg", "fft", "special")
#: Names of flambeau that make tensors from no tensor, or of what is no tensor: a class cannot be among the arguments.
_NOT_OVERRIDDEN: Final = (
    "arange as_tensor asarray bartlett_window blackman_window can_cast empty empty_permuted empty_strided eye "
    "fft.fftfreq fft.rfftfreq fork_rng from_dlpack from_file from_numpy frombuffer full get_default_device "
    "get_default_dtype get_num_interop_threads get_num_threads get_printoptions get_rng_state hamming_window "
    "hann_window initial_seed is_anomaly_enabled is_grad_enabled is_inference_mode_enabled is_storage is_tensor "
    "kaiser_window linspace load logspace manual_seed normal ones promote_types rand randint randn randperm range "
    "save scalar_tensor seed set_default_device set_default_dtype set_default_tensor_type set_num_interop_threads "
    "set_num_threads set_printoptions set_rng_state tensor tril_indices triu_indices vitals_enabled zeros"
)
_MAKERS: Final = frozenset(_NOT_OVERRIDDEN.split())


def get_default_nowrap_functions() -> set[Callable[..., Any]]:
    """The functions whose results ``Tensor.__torch_function__`` gives as they are: ``grad`` and ``_base``.

    >>> len(fb.overrides.get_default_nowrap_functions())
    2
    """
    return nowrap_functions()


@functools.cache
def _methods() -> frozenset[int]:
    return frozenset(id(v) for v in vars(Tensor).values() if isinstance(v, types.FunctionType))


def is_tensor_method_or_property(func: Callable[..., Any]) -> bool:
    """Whether ``func`` is a method of Tensor, or the getter or setter of one of its properties.

    >>> fb.overrides.is_tensor_method_or_property(fb.Tensor.shape.__get__)
    True
    """
    return id(func) in _methods() or getattr(func, "__name__", "") in ("__get__", "__set__", "__delete__")


def _modules() -> dict[str, types.ModuleType]:
    """The modules whose functions are overridable, by name: those that there are."""
    found = {}
    for space in _SPACES:
        try:
            found[space] = importlib.import_module(f"flambeau.{space}")
        except ModuleNotFoundError:
            continue
    return found


def _owners() -> list[tuple[Any, dict[str, Any]]]:
    """Each namespace and its functions and properties by name."""
    face = importlib.import_module("flambeau")
    functions = {n: getattr(face, n) for n in dir(face) if n in FUNCTIONS or n in _MAKERS}
    owners: list[tuple[Any, dict[str, Any]]] = [(face, functions), (Tensor, dict(vars(Tensor)))]
    owners += [(m, {n: getattr(m, n) for n in m.__all__ if not isinstance(getattr(m, n), type)})
               for m in _modules().values()]  # fmt: skip
    return owners


def _is_ignored(owner: Any, name: str) -> bool:
    return name in NOT_ASKED if owner is Tensor else name in _MAKERS or name.startswith("_")


def get_overridable_functions() -> dict[Any, list[Callable[..., Any]]]:
    """The functions that ``__torch_function__`` can be asked about, by the namespace in which they stand.

    >>> fb.add in fb.overrides.get_overridable_functions()[fb]
    True
    """
    found: dict[Any, list[Callable[..., Any]]] = defaultdict(list)
    for owner, names in _owners():
        for name, value in names.items():
            if _is_ignored(owner, name):
                continue
            if isinstance(value, property):
                found[owner].append(value.__get__)
            elif isinstance(value, types.FunctionType):
                found[owner].append(value)
    return found


def get_ignored_functions() -> set[Callable[..., Any]]:
    """The public functions that ``__torch_function__`` is never asked about, such as the constructors.

    >>> fb.zeros in fb.overrides.get_ignored_functions()
    True
    """
    return {
        value for owner, names in _owners() for name, value in names.items()
        if isinstance(value, types.FunctionType) and _is_ignored(owner, name)
    }  # fmt: skip


def get_testing_overrides() -> dict[Callable[..., Any], Callable[..., Any]]:
    """For each overridable function one of the same signature that returns -1.

    >>> fb.overrides.get_testing_overrides()[fb.add](fb.ones(1), 2)
    -1
    """
    return {fn: _dummy(fn) for functions in get_overridable_functions().values() for fn in functions}


def _dummy(fn: Callable[..., Any]) -> Callable[..., Any]:
    def dummy(*args: Any, **kwargs: Any) -> int:
        return -1

    with contextlib.suppress(TypeError, ValueError):  # a slot of a class has none
        dummy.__signature__ = inspect.signature(fn)  # type: ignore[attr-defined]
    return dummy


def _assert(condition: Any, message: str) -> Any:  # Any: a bool, or a tensor of one; what a traced one becomes
    """AssertionError with the message unless the condition is true: an assert that can stand in graphs."""
    if has_torch_function((condition,)):
        return handle_torch_function(_assert, (condition,), condition, message)
    if not condition:
        raise AssertionError(message)
    return None
