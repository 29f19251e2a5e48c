"""Module: a tree of parameters, buffers and other modules with a forward function, as in torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar, ParamSpec, Protocol, Self, TypeVar

from flambeau.core.capture import structure
from flambeau.core.registry import hint_of_device
from flambeau.core.state import get
from flambeau.core.tensor import Tensor
from flambeau.nn import hooks, saving
from flambeau.nn.hooks import EVERYWHERE, ON_REGISTRATION, asked
from flambeau.nn.moving import Moved
from flambeau.nn.parameter import Buffer, Parameter

P = ParamSpec("P")
R = TypeVar("R", covariant=True)
T = TypeVar("T", bound=Tensor)
_REGISTRIES = ("_parameters", "_buffers", "_modules")


def _no_module(value: Any) -> str:
    """Why an object cannot be a child module, and what would help."""
    hint = ""
    if isinstance(value, (list, tuple)):
        hint = "; unpack it with *, or make a ModuleList"
    elif callable(value) and not isinstance(value, type):
        hint = "; call functions in forward, or take the layer of this name"
    elif isinstance(value, type):
        hint = f"; make one with {value.__name__}(...)"
    return f"{getattr(value, '__name__', type(value).__name__)} is not a Module{hint}"


class HasForward(Protocol[P, R]):
    """A module, to a type checker: calling it takes and gives what its own ``forward`` does."""

    @property
    def forward(self) -> Callable[P, R]: ...


class _NoAttribute:
    """The text of an error that most often nobody reads (hasattr): written when asked for."""

    def __init__(self, owner: str, name: str):
        self.owner, self.name = owner, name

    def __str__(self) -> str:
        hint = hint_of_device(self.name, f'; use .to("{self.name}")')
        return f"{self.owner!r} object has no attribute {self.name!r}{hint}"

    __repr__ = __str__


def _unwritten(self: Module, *args: Any, **kwargs: Any) -> Any:  # Any: so that every module can name its own
    """What the module computes; every module defines its own."""
    raise NotImplementedError(f'Module [{type(self).__name__}] is missing the required "forward" function')


#: The dict that ``state_dict`` fills, for annotations of classes that define it anew.
T_destination = TypeVar("T_destination", bound=dict[str, Any])


class Module(saving.Saved, Moved):
    """The base of everything that has parameters.

    Assigning a Parameter, a Buffer or a Module to an attribute registers it.

    >>> class Doubling(fb.nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.scale = fb.nn.Parameter(fb.tensor(2.0))
    ...     def forward(self, x):
    ...         return x * self.scale
    >>> [name for name, _ in Doubling().named_parameters()]
    ['scale']
    """

    T_destination = T_destination

    _is_module: ClassVar[bool] = True  # for those who must not import this module
    training: bool
    call_super_init: bool = False  # whether __init__ goes on to the next class, with its arguments
    dump_patches: bool = False
    _compiled_call_impl: Callable[..., Any] | None = None  # what compile() made of forward

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # Any: for the next class, if there is to be one
        if not self.call_super_init and (args or kwargs):
            given = f"an unexpected argument {next(iter(kwargs))!r}" if kwargs else f"{len(args)} positional arguments"
            raise TypeError(f"{type(self).__name__}.__init__() got {given} in Module.__init__, which takes none")
        self._make()
        if self.call_super_init:
            super().__init__(*args, **kwargs)

    def _make(self) -> None:
        put = self.__dict__.__setitem__
        put("training", True)
        for name in _REGISTRIES:
            put(name, {})
        put("_non_persistent_buffers_set", set())
        self._make_hooks()

    # -- the call --------------------------------------------------------------------------------
    forward: Callable[..., Any] = _unwritten

    def __call__(self: HasForward[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        module: Any = self  # a Module too: a type cannot say that it is both
        result: R
        try:
            state = get()
            if state is not None and not state.plain:
                result = hooks.call_watched(module, args, kwargs)
            elif module._hooked or EVERYWHERE:
                result = hooks.call_with_hooks(module, args, kwargs)
            else:
                result = self.forward(*args, **kwargs)
            return result
        except Exception as error:
            if clear := hooks.explained_call(error, module, args, kwargs):
                hooks.note_module(clear, module)
                raise clear from clear.__cause__
            hooks.note_module(error, module)
            raise

    _call_impl = _wrapped_call_impl = __call__

    # -- attributes ------------------------------------------------------------------------------
    if not TYPE_CHECKING:  # a type checker shall find a name that is not there; classes declare what they register

        def __getattr__(self, name: str) -> Any:
            d = self.__dict__
            if "_modules" in d:
                for registry in (d["_parameters"], d["_buffers"], d["_modules"]):
                    if name in registry:
                        return registry[name]
            elif name != "__setstate__":
                raise AttributeError(f"{type(self).__name__}: call super().__init__() before using {name!r}")
            raise AttributeError(_NoAttribute(type(self).__name__, name))

        def __setattr__(self, name: str, value: Any) -> None:
            d = self.__dict__
            if isinstance(value, Parameter):
                self._forget(name, "_parameters")
                self.register_parameter(name, value)
            elif isinstance(value, Module):
                self._forget(name, "_modules")
                child = asked("module", self, name, value) if ON_REGISTRATION["module"] else value
                structure.put(d["_modules"], name, child)
            elif isinstance(value, Buffer):
                self._forget(name, "_buffers")
                self.register_buffer(name, value, value.persistent)
            elif "_parameters" in d and name in d["_parameters"]:
                if value is not None:
                    raise TypeError(
                        f"cannot assign {type(value).__name__} as parameter {name!r} of {type(self).__name__} "
                        "(flambeau.nn.Parameter or None expected)"
                    )
                structure.put(d["_parameters"], name, None)
            elif "_modules" in d and name in d["_modules"]:
                if value is not None:
                    raise TypeError(
                        f"cannot assign {type(value).__name__} as child module {name!r} (Module or None expected)"
                    )
                structure.put(d["_modules"], name, None)
            elif "_buffers" in d and name in d["_buffers"]:
                if value is not None and not isinstance(value, Tensor):
                    raise TypeError(
                        f"cannot assign {type(value).__name__} as buffer {name!r} (Tensor or None expected)"
                    )
                buffer = asked("buffer", self, name, value) if ON_REGISTRATION["buffer"] else value
                structure.put(d["_buffers"], name, buffer)
            else:
                old = d.get(name, d)
                if old is not value and not structure.same(old, value):
                    structure.moved_attribute(name)
                object.__setattr__(self, name, value)

    def _forget(self, name: str, but: str) -> None:
        """Remove ``name`` wherever it is registered, other than in ``but``."""
        d = self.__dict__
        if "_modules" not in d:
            raise AttributeError(f"{type(self).__name__}: call super().__init__() before assigning {name!r}")
        d.pop(name, None)
        for registry in _REGISTRIES:
            if registry != but:
                d[registry].pop(name, None)
        if but != "_buffers":
            d["_non_persistent_buffers_set"].discard(name)

    def __delattr__(self, name: str) -> None:
        for registry in _REGISTRIES:
            if name in self.__dict__[registry]:
                structure.remove(self.__dict__[registry], name)
                self._non_persistent_buffers_set.discard(name)
                return
        structure.moved_attribute(name)
        object.__delattr__(self, name)

    def __dir__(self) -> list[str]:
        return sorted({*object.__dir__(self), *self._parameters, *self._modules, *self._buffers})

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._make()
        structure.moved()
        self.__dict__.update(state)

    def _may_register(self, kind: str, name: str, registry: str) -> None:
        if registry not in self.__dict__:
            raise AttributeError(
                f"cannot register {kind} {name!r} before {type(self).__name__} called super().__init__()"
            )
        if not isinstance(name, str):
            raise TypeError(f"{kind} name must be a string, got {type(name).__name__}")
        if not name or "." in name:
            raise KeyError(f'{kind} name must not be empty or contain ".", got {name!r}')
        d = self.__dict__
        taken = name in d or hasattr(type(self), name) or any(name in d[r] for r in _REGISTRIES)
        if taken and name not in d[registry]:
            raise KeyError(f"attribute {name!r} already exists")

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Add a parameter (or a place for one) under ``name``."""
        self._may_register("parameter", name, "_parameters")
        if param is not None and not isinstance(param, Parameter):
            raise TypeError(
                f"cannot assign {type(param).__name__} as parameter {name!r} (flambeau.nn.Parameter or None expected)"
            )
        if param is not None and not param.is_leaf:
            raise ValueError(f"cannot register parameter {name!r}: it is computed from other tensors; make it a leaf")
        made = asked("parameter", self, name, param) if ON_REGISTRATION["parameter"] else param
        structure.put(self._parameters, name, made)

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Add a tensor that moves with the module, and is saved with it if ``persistent``, but is not trained."""
        self._may_register("buffer", name, "_buffers")
        if tensor is not None and not isinstance(tensor, Tensor):
            raise TypeError(f"cannot assign {type(tensor).__name__} as buffer {name!r} (Tensor or None expected)")
        made = asked("buffer", self, name, tensor) if ON_REGISTRATION["buffer"] else tensor
        structure.put(self._buffers, name, made)
        (self._non_persistent_buffers_set.discard if persistent else self._non_persistent_buffers_set.add)(name)

    def add_module(self, name: str, module: Module | None) -> None:
        """Add a child module under ``name``."""
        self._may_register("module", name, "_modules")
        if module is not None and not isinstance(module, Module):
            raise TypeError(f"{type(self).__name__}: {_no_module(module)}")
        made = asked("module", self, name, module) if ON_REGISTRATION["module"] else module
        structure.put(self._modules, name, made)

    register_module = add_module

    # -- the tree --------------------------------------------------------------------------------
    def named_modules(
        self, memo: set[Module] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Module]]:
        """This module and everything below it, by path."""
        memo = set() if memo is None else memo
        if self in memo:
            return
        if remove_duplicate:
            memo.add(self)
        yield prefix, self
        for name, child in self._modules.items():
            if child is not None:
                yield from child.named_modules(memo, f"{prefix}.{name}" if prefix else name, remove_duplicate)

    def modules(self) -> Iterator[Module]:
        """This module and everything below it, each once."""
        return (m for _, m in self.named_modules())

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The modules directly below, each once."""
        seen: set[Module] = set()
        for name, child in self._modules.items():
            if child is not None and child not in seen:
                seen.add(child)
                yield name, child

    def children(self) -> Iterator[Module]:
        """The modules directly below, each once."""
        return (m for _, m in self.named_children())

    def _named_members(
        self, get_members_fn: Callable[[Any], Iterable[tuple[str, Any]]], prefix: str = "", recurse: bool = True,
        remove_duplicate: bool = True,
    ) -> Iterator[tuple[str, Any]]:  # fmt: skip
        """What ``get_members_fn`` gives of each module, by path."""
        seen: dict[int, Any] = {}  # kept alive, so that ids stay theirs: members may be made for the asking
        modules = self.named_modules(prefix=prefix, remove_duplicate=remove_duplicate) if recurse else [(prefix, self)]
        for path, module in modules:
            for name, member in get_members_fn(module):
                if member is None or id(member) in seen:
                    continue
                if remove_duplicate:
                    seen[id(member)] = member
                yield (f"{path}.{name}" if path else name), member

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """Parameters by path, each once unless told otherwise."""
        return self._named_members(lambda m: m._parameters.items(), prefix, recurse, remove_duplicate)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """Parameters, each once."""
        return (p for _, p in self.named_parameters(recurse=recurse))

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        """Buffers by path, each once unless told otherwise."""
        return self._named_members(lambda m: m._buffers.items(), prefix, recurse, remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """Buffers, each once."""
        return (b for _, b in self.named_buffers(recurse=recurse))

    def get_submodule(self, target: str) -> Module:
        """The module at a path such as ``"layers.0.norm"``; "" is this one."""
        module: Module = self
        for i, name in enumerate(target.split(".") if target else ()):
            found = module._modules.get(name)
            if found is None:
                at = ".".join(target.split(".")[:i]) or type(self).__name__
                raise AttributeError(
                    f"get_submodule({target!r}): {at} has no submodule {name!r}; it has "
                    f"{', '.join(module._modules) or 'none'}"
                )
            module = found
        return module

    def set_submodule(self, target: str, module: Module, strict: bool = False) -> None:
        """Put ``module`` at a path whose parent exists; with ``strict`` there must be a module already."""
        parent, _, name = target.rpartition(".")
        if not name:
            raise ValueError("set_submodule: the target must name a submodule")
        if not isinstance(module, Module):
            raise TypeError(f"set_submodule: {type(module).__name__} is not a Module subclass")
        owner = self.get_submodule(parent)
        if strict and name not in owner._modules:
            raise AttributeError(f"set_submodule({target!r}): {type(owner).__name__} has no submodule {name!r}")
        setattr(owner, name, module)

    def get_parameter(self, target: str) -> Parameter:
        """The parameter at a path."""
        return _member(self, target, "parameter", lambda owner: owner._parameters)

    def get_buffer(self, target: str) -> Tensor:
        """The buffer at a path."""
        return _member(self, target, "buffer", lambda owner: owner._buffers)

    # -- change in place -------------------------------------------------------------------------
    def apply(self, fn: Callable[[Module], Any]) -> Self:
        """Call ``fn`` on every module, children first."""
        for child in self.children():
            child.apply(fn)
        fn(self)
        return self

    def train(self, mode: bool = True) -> Self:
        """Set training mode, which dropout and batch norm look at."""
        if not isinstance(mode, bool):
            raise ValueError(f"training mode is expected to be boolean, got {mode!r}")
        self.training = mode
        for child in self.children():  # by their own method: classes override it
            child.train(mode)
        return self

    def eval(self) -> Self:
        """Set evaluation mode."""
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Whether the parameters want gradients."""
        for p in self.parameters():
            p.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of the parameters, or set them to zero."""
        for p in self.parameters():
            if p.grad is not None:
                if set_to_none:
                    p.grad = None
                else:
                    p.grad = p.grad.detach().zero_()

    def compile(self, **kwargs: Any) -> None:  # Any: each the argument of compile of that name
        """Have ``forward`` recorded and replayed from now on, with the arguments of ``flambeau.compile``.

        The module stays what it is, its hooks run in each call, and copies and pickles of it are not compiled.

        >>> layer = fb.nn.Linear(2, 1)
        >>> layer.compile()
        >>> for _ in range(5):
        ...     y = layer(fb.ones(2))
        >>> layer.forward.explain().replayed
        2
        """
        from flambeau.core.capture.asked import Asked, compiled, original  # lazy for start-up

        asked = Asked(**kwargs)
        forward = original(self.forward)
        self.__dict__.pop("_compiled_call_impl", None)
        if asked.disable:
            self.__dict__["forward"] = forward
        else:
            self._compiled_call_impl = self.__dict__["forward"] = compiled(forward, asked)

    def __getstate__(self) -> dict[str, Any]:
        state = dict(self.__dict__)
        if state.pop("_compiled_call_impl", None) is not None:
            forward = state.pop("forward")._torchdynamo_orig_callable
            if getattr(forward, "__self__", None) is not self:  # it was the object's own before, too
                state["forward"] = forward
        return state

    # -- text ------------------------------------------------------------------------------------
    def extra_repr(self) -> str:
        """What stands in the brackets of this module's repr."""
        return ""

    def _differing(self, **usual: object) -> list[str]:
        """``name=value`` for those options that are not as usual."""
        return [f"{name}={getattr(self, name)}" for name, value in usual.items() if getattr(self, name) != value]

    def _get_name(self) -> str:
        return type(self).__name__

    def _head(self) -> str:
        """The module on one line, without its children."""
        return f"{self._get_name()}({self.extra_repr()})"

    def _children_text(self) -> list[str]:
        return [f"({name}): " + repr(m).replace("\n", "\n  ") for name, m in self._modules.items()]

    def __repr__(self) -> str:
        extra = self.extra_repr().split("\n") if self.extra_repr() else []
        children = self._children_text()
        if not children and len(extra) <= 1:
            return f"{self._get_name()}({''.join(extra)})"
        return f"{self._get_name()}(\n  " + "\n  ".join([*extra, *children]) + "\n)"


def _member(module: Module, target: str, kind: str, registry: Callable[[Module], dict[str, T | None]]) -> T:
    parent, _, name = target.rpartition(".")
    found = registry(module.get_submodule(parent)).get(name)
    if found is None:
        raise AttributeError(f"get_{kind}({target!r}): {parent or type(module).__name__} has no {kind} {name!r}")
    return found
