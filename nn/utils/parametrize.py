"""Parameters computed from others at each use, as in torch.nn.utils.parametrize.

The attribute becomes a property of a class made for this one module; what is trained stands in
``module.parametrizations.<name>.original``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, SupportsIndex

from flambeau.core.blame import check_constructors, checking, explain_functions
from flambeau.core.capture import structure
from flambeau.core.errors import ShapeError
from flambeau.core.state import no_grad
from flambeau.core.tensor import Tensor
from flambeau.nn.container import ModuleDict, ModuleList
from flambeau.nn.module import Module
from flambeau.nn.parameter import Parameter

_cache: ContextVar[dict[tuple[int, str], Tensor] | None] = ContextVar("flambeau_parametrize_cache", default=None)


@contextmanager
def cached() -> Iterator[None]:
    """Inside, each parametrized tensor is computed once and used again."""
    token = _cache.set({} if _cache.get() is None else _cache.get())
    try:
        yield
    finally:
        _cache.reset(token)


def _originals(made: Any) -> list[Tensor]:
    return list(made) if isinstance(made, (tuple, list)) else [made]


class ParametrizationList(ModuleList):
    """The modules that make one tensor, in order, and the originals that the first takes."""

    def __init__(self, modules: list[Module], original: Tensor, unsafe: bool = False):
        super().__init__(modules)
        self.unsafe = unsafe
        if not modules:
            raise ValueError("ParametrizationList: expected at least one module")
        made: Any = original
        before = original.detach()
        with no_grad():
            for m in reversed(modules):
                if hasattr(m, "right_inverse"):
                    made = m.right_inverse(made)
        self.is_tensor = not isinstance(made, (tuple, list))
        if not self.is_tensor:
            self.ntensors = len(made)
        elif made is not original:
            original.data = made.detach()  # an optimizer that has it goes on
            made = original
        for name, t in zip(self._names, _originals(made), strict=True):
            self._take(name, t, original)
        self._check(before)

    def _take(self, name: str, value: Tensor, like: Tensor) -> None:
        if isinstance(like, Parameter):
            kept = like if value is like else Parameter(value.detach(), like.requires_grad)
            self.register_parameter(name, kept)
        else:
            self.register_buffer(name, value)

    def _check(self, original: Tensor) -> None:
        if self.unsafe:
            return
        with no_grad():
            found = self()
        if not isinstance(found, Tensor):
            raise ValueError(f"a parametrization must return a tensor, got {type(found).__name__}")
        if found.dtype is not original.dtype or tuple(found.shape) != tuple(original.shape):
            raise ShapeError(
                f"a parametrization must keep dtype and shape: it made {found.dtype} {tuple(found.shape)} of "
                f"{original.dtype} {tuple(original.shape)}; unsafe=True allows it"
            )

    @property
    def _names(self) -> list[str]:
        return ["original"] if self.is_tensor else [f"original{i}" for i in range(self.ntensors)]

    def originals(self) -> list[Tensor]:
        """What is trained."""
        return [getattr(self, name) for name in self._names]

    def right_inverse(self, value: Tensor) -> None:
        """Set the originals so that the tensor becomes ``value``."""
        made: Any = value
        with no_grad():
            for m in reversed(list(self._modules.values())):
                inverse = getattr(m, "right_inverse", None)
                if inverse is None:
                    raise RuntimeError(f"{type(m).__name__} has no right_inverse: the tensor cannot be assigned to")
                made = inverse(made)
            for own, new in zip(self.originals(), _originals(made), strict=True):
                own.copy_(new)

    def forward(self) -> Any:  # Any: what the last parametrization gives
        """The tensor."""
        first, *rest = self._modules.values()
        assert first is not None
        value = first(*self.originals())
        for m in rest:
            assert m is not None
            value = m(value)
        return value


def _property(name: str) -> property:
    def get(self: Any) -> Any:
        made: ParametrizationList = self.parametrizations[name]
        kept = _cache.get()
        if kept is None:
            return made()
        key = (id(self), name)
        if key not in kept:
            kept[key] = made()
        return kept[key]

    return property(get, lambda self, value: self.parametrizations[name].right_inverse(value))


def _own_class(module: Module) -> None:
    """Give a module a class of its own, which properties can be added to."""
    base = type(module)

    def __reduce_ex__(self: Any, protocol: SupportsIndex) -> tuple[Any, ...]:
        return _with_own_class, (base, tuple(self.parametrizations)), self.__getstate__()

    body = {"__module__": base.__module__, "__reduce_ex__": __reduce_ex__, "_parametrized_base": base}
    module.__class__ = type(f"Parametrized{base.__name__}", (base,), body)


def _with_own_class(base: type[Module], names: Iterable[str]) -> Module:
    """An empty module of type ``base`` whose tensors of these names are computed: for copies and pickles."""
    module = base.__new__(base)
    _own_class(module)
    for name in names:
        setattr(type(module), name, _property(name))
    return module


def _parametrizations(module: Module) -> Any:
    return module._modules["parametrizations"]


def is_parametrized(module: Module, tensor_name: str | None = None) -> bool:
    """Whether a module has parametrized tensors, or this one."""
    made = module._modules.get("parametrizations")
    if not isinstance(made, ModuleDict):
        return False
    return len(made) > 0 if tensor_name is None else tensor_name in made


def register_parametrization(
    module: Module, tensor_name: str, parametrization: Module, *, unsafe: bool = False
) -> Module:
    """Compute a parameter or buffer by ``parametrization`` from here on; several go one after another.

    ``parametrization.right_inverse``, where there is one, makes the first originals and allows assignment.

    >>> class Symmetric(fb.nn.Module):
    ...     def forward(self, x):
    ...         return x.triu() + x.triu(1).transpose(-1, -2)
    >>> m = register_parametrization(fb.nn.Linear(3, 3), "weight", Symmetric())
    >>> bool((m.weight == m.weight.T).all())
    True
    """
    if is_parametrized(module, tensor_name):
        made = _parametrizations(module)[tensor_name]
        made.add_module(str(len(made)), parametrization)
        made._check(made.originals()[0])
        return module
    registry = next((r for r in (module._parameters, module._buffers) if r.get(tensor_name) is not None), None)
    if registry is None:
        raise ValueError(
            f"module {type(module).__name__} does not have a parameter or a buffer with name {tensor_name!r}"
        )
    original: Any = registry[tensor_name]
    made = ParametrizationList([parametrization], original, unsafe)
    if not is_parametrized(module):
        _own_class(module)
        module.add_module("parametrizations", ModuleDict())
    structure.remove(registry, tensor_name)
    module._non_persistent_buffers_set.discard(tensor_name)
    _parametrizations(module)[tensor_name] = made
    setattr(type(module), tensor_name, _property(tensor_name))
    return module


def remove_parametrizations(module: Module, tensor_name: str, leave_parametrized: bool = True) -> Module:
    """Make a tensor an ordinary one again: as it is computed now, or (False) the original."""
    if not is_parametrized(module, tensor_name):
        raise ValueError(f"module {type(module).__name__} does not have a parametrization on {tensor_name!r}")
    made: ParametrizationList = _parametrizations(module)[tensor_name]
    originals = made.originals()
    if not leave_parametrized and not made.is_tensor:
        raise ValueError("leave_parametrized=False needs a parametrization with one original")
    with no_grad():
        value = made().detach() if leave_parametrized else originals[0].detach()
    del _parametrizations(module)[tensor_name]
    delattr(type(module), tensor_name)
    if isinstance(originals[0], Parameter):
        module.register_parameter(tensor_name, Parameter(value.clone(), originals[0].requires_grad))
    else:
        module.register_buffer(tensor_name, value.clone())
    if not len(_parametrizations(module)):
        structure.remove(module._modules, "parametrizations")
        module.__class__ = type(module)._parametrized_base  # type: ignore[attr-defined]
    return module


def type_before_parametrizations(module: Module) -> type:
    """The class of a module, parametrized or not.

    >>> type_before_parametrizations(fb.nn.utils.parametrizations.weight_norm(fb.nn.Linear(2, 2))).__name__
    'Linear'
    """
    found: type = getattr(type(module), "_parametrized_base", type(module))
    return found if is_parametrized(module) else type(module)


def transfer_parametrizations_and_params(
    from_module: Module, to_module: Module, tensor_name: str | None = None
) -> Module:
    """Give ``to_module`` the parametrizations of another module, or of one of its tensors, and their originals.

    >>> a, b = fb.nn.utils.parametrizations.weight_norm(fb.nn.Linear(2, 2)), fb.nn.Linear(2, 2)
    >>> bool((transfer_parametrizations_and_params(a, b).weight == a.weight).all())
    True
    """
    if not is_parametrized(from_module):
        return to_module
    for name in [tensor_name] if tensor_name is not None else list(_parametrizations(from_module)):
        made: ParametrizationList = _parametrizations(from_module)[name]
        if not hasattr(to_module, name):
            setattr(to_module, name, Parameter(getattr(from_module, name).detach().clone()))
        for i in range(len(made)):
            register_parametrization(to_module, name, made[i], unsafe=made.unsafe)
        taken = _parametrizations(to_module)[name]
        for own, value in made._parameters.items():
            structure.put(taken._parameters, own, value)
        for own, kept in made._buffers.items():
            structure.put(taken._buffers, own, kept)
    return to_module


explain_functions(
    globals(),
    "is_parametrized register_parametrization remove_parametrizations transfer_parametrizations_and_params",
    wrap=checking,
)
check_constructors(ParametrizationList)
