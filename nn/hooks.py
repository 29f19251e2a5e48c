"""What modules do around forward: hooks, backward hooks, and the note on errors that names the module."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Protocol

from flambeau.core.autograd.function import Function
from flambeau.core.blame import explained, meaning
from flambeau.core.capture import structure
from flambeau.core.graph import Handle, RemovableHandle, check_hook
from flambeau.core.state import current, is_grad_enabled
from flambeau.core.tape.modes import module_path
from flambeau.core.tensor import Tensor
from flambeau.core.tree import flatten, unflatten

Hooks = dict[int, Callable[..., Any]]
#: Hooks on every module: (kind, hook).
EVERYWHERE = structure.everywhere


#: What is asked before something is registered on any module, by the kind of it: ``hook(module, name, value)``.
ON_REGISTRATION: dict[str, dict[int, Any]] = {"parameter": {}, "buffer": {}, "module": {}}


class ModuleHandle(RemovableHandle):
    """Removes a hook of modules, which is a change of their structure."""

    __slots__ = ()

    def remove(self) -> None:
        """Take the hook out; a second call does nothing."""
        structure.moved()
        super().remove()


def add(hooks: Hooks, hook: Callable[..., Any], prepend: bool = False, *marks: dict[int, bool]) -> Handle:
    """Enter a hook, in front of the others if asked, and its number in each of ``marks``; the handle removes it."""
    structure.moved()
    handle = ModuleHandle.into(hooks, hook)
    key = next(reversed(hooks))
    if prepend:
        others = {k: v for k, v in hooks.items() if k != key}
        hooks.clear()
        hooks.update({key: hook, **others})
    for mark in marks:
        mark[key] = True
    return handle


def asked(kind: str, module: Any, name: str, value: Any) -> Any:  # Any: a module, a parameter, a buffer, or None
    """What to register in place of ``value``, as the hooks of ``register_module_{kind}_registration_hook`` want it."""
    for hook in list(ON_REGISTRATION[kind].values()):
        replaced = hook(module, name, value)
        value = value if replaced is None else replaced
    return value


def register_module_parameter_registration_hook(hook: Callable[..., Any]) -> Handle:
    """Call ``hook(module, name, parameter)`` before a parameter is registered; what it returns is taken instead."""
    return Handle.into(ON_REGISTRATION["parameter"], hook)


def register_module_buffer_registration_hook(hook: Callable[..., Any]) -> Handle:
    """Call ``hook(module, name, buffer)`` before a buffer is registered; what it returns is taken instead."""
    return Handle.into(ON_REGISTRATION["buffer"], hook)


def register_module_module_registration_hook(hook: Callable[..., Any]) -> Handle:
    """Call ``hook(module, name, submodule)`` before a child is registered; what it returns is taken instead."""
    return Handle.into(ON_REGISTRATION["module"], hook)


def _everywhere(kind: str) -> list[Any]:
    return [hook for k, hook in EVERYWHERE.values() if k == kind]


def _register(kind: str, hook: Callable[..., Any]) -> Handle:
    other = {"backward": "last_node", "last_node": "backward"}.get(kind)
    if other is not None and _everywhere(other):
        raise RuntimeError(
            "Cannot use both regular backward hooks and full backward hooks as a global Module hook; register those of "
            "one kind"
        )
    structure.moved()
    handle = ModuleHandle.into(EVERYWHERE, hook)
    EVERYWHERE[next(reversed(EVERYWHERE))] = (kind, hook)
    return handle


def register_module_forward_pre_hook(hook: Callable[..., Any]) -> Handle:
    """Call ``hook(module, args)`` before every module's forward; what it returns replaces the arguments."""
    return _register("forward_pre", ForwardHook(hook, False))


def register_module_forward_hook(
    hook: Callable[..., Any], *, with_kwargs: bool = False, always_call: bool = False
) -> Handle:
    """Call ``hook(module, args[, kwargs], output)`` after every module's forward; what it returns replaces the output.

    >>> seen = []
    >>> with fb.nn.hooks.register_module_forward_hook(lambda m, args, out: seen.append(type(m).__name__)):
    ...     _ = fb.nn.Sequential(fb.nn.ReLU())(fb.ones(1))
    >>> seen
    ['ReLU', 'Sequential']
    """
    return _register("forward", ForwardHook(hook, with_kwargs, always_call))


def register_module_full_backward_pre_hook(hook: Callable[..., Any]) -> Handle:
    """Call ``hook(module, grad_output)`` when the gradients of any module's outputs are there."""
    return _register("backward_pre", hook)


def register_module_full_backward_hook(hook: Callable[..., Any]) -> Handle:
    """Call ``hook(module, grad_input, grad_output)`` when the gradients of any module's inputs are there."""
    return _register("backward", hook)


def register_module_backward_hook(hook: Callable[..., Any]) -> Handle:
    """The hook of old on every module: ``hook(module, grad_input, grad_output)`` of the last op of its forward."""
    return _register("last_node", hook)


class _Boundary(Function):
    """The identity on several tensors, whose backward calls a function on all their gradients."""

    @staticmethod
    def forward(ctx: Any, seen: Callable[[tuple[Any, ...]], Any], *tensors: Any) -> Any:
        ctx.seen = seen
        ctx.set_materialize_grads(False)
        return tuple(t.view_as(t) for t in tensors)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        replaced = ctx.seen(grads)
        return (None, *(grads if replaced is None else replaced))


def _cross(value: Any, seen: Callable[[tuple[Any, ...]], Any]) -> tuple[Any, bool]:
    """``value`` with its tensors led through a boundary, and whether any of them wants a gradient."""
    leaves, structure = flatten(value)
    places = tuple([i for i, v in enumerate(leaves) if isinstance(v, Tensor) and v.requires_grad])
    if not places or not is_grad_enabled():
        return value, False
    tensors = tuple([i for i, v in enumerate(leaves) if isinstance(v, Tensor)])

    def among_all(grads: tuple[Any, ...]) -> Any:
        by_place = dict(zip(places, grads, strict=True))
        replaced = seen(tuple(by_place.get(i) for i in tensors))
        if replaced is None:
            return None
        return tuple(r for i, r in zip(tensors, replaced, strict=True) if i in by_place)

    crossed = _Boundary.apply(among_all, *(leaves[i] for i in places))
    for i, t in zip(places, crossed if isinstance(crossed, tuple) else (crossed,), strict=True):
        leaves[i] = t
    return unflatten(leaves, structure), True


class Called(Protocol):
    """A module, as its call sees it."""

    _hooked: bool
    _forward_hooks: Hooks
    _forward_hooks_with_kwargs: dict[int, bool]
    _forward_hooks_always_called: dict[int, bool]
    _forward_pre_hooks: Hooks
    _forward_pre_hooks_with_kwargs: dict[int, bool]
    _is_full_backward_hook: bool | None
    _backward_hooks: Hooks
    _backward_pre_hooks: Hooks

    @property
    def forward(self) -> Callable[..., Any]: ...
    def named_modules(self) -> Iterable[tuple[str, Called]]: ...
    def _head(self) -> str: ...


class Flow:
    """One call of a module with full backward hooks: what flows back at its outputs and at its inputs."""

    made_anew = True  # where a call is replayed, with the attributes that it had

    def __init__(
        self, module: Any, before: Callable[[], Iterable[Callable[..., Any]]],
        after: Callable[[], Iterable[Callable[..., Any]]],
    ):  # fmt: skip
        self.module, self.before, self.after = module, before, after
        self.outputs: tuple[Any, ...] | None = None
        self.inputs_want = False
        self.inputs = 0

    def at_inputs(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        self.inputs = sum(isinstance(a, Tensor) for a in flatten(args)[0])
        crossed, self.inputs_want = _cross(args, self._inputs_seen)
        return tuple(crossed)

    def at_outputs(self, result: Any) -> Any:
        return _cross(result, self._outputs_seen)[0]

    def _outputs_seen(self, grads: tuple[Any, ...]) -> Any:
        for hook in self.before():
            replaced = hook(self.module, grads)
            if replaced is not None:
                grads = replaced if isinstance(replaced, tuple) else (replaced,)
        self.outputs = grads
        if not self.inputs_want:  # nothing will arrive there
            self._call((None,) * self.inputs)
        return grads

    def _inputs_seen(self, grads: tuple[Any, ...]) -> Any:
        return self._call(grads)

    def _call(self, grads: tuple[Any, ...]) -> Any:
        changed = False
        for hook in self.after():
            replaced = hook(self.module, grads, self.outputs)
            if replaced is not None:
                grads, changed = replaced if isinstance(replaced, tuple) else (replaced,), True
        return grads if changed else None


class ForwardHook:
    """A hook and how it wants to be called: with the keyword arguments too, after a forward that raised too."""

    def __init__(self, hook: Callable[..., Any], with_kwargs: bool = False, always: bool = False):
        check_hook(hook)
        self.hook, self.with_kwargs, self.always = hook, with_kwargs, always

    def __call__(self, module: Called, args: Any, kwargs: Any, *result: Any) -> Any:
        if self.with_kwargs:
            return self.hook(module, args, kwargs, *result)
        return self.hook(module, args, *result)


def _before_forward(module: Called) -> list[ForwardHook]:
    own = module._forward_pre_hooks.items()
    with_kwargs = module._forward_pre_hooks_with_kwargs
    return [*_everywhere("forward_pre"), *(ForwardHook(hook, k in with_kwargs) for k, hook in own)]


def _after_forward(module: Called) -> list[ForwardHook]:
    own = module._forward_hooks.items()
    with_kwargs, always = module._forward_hooks_with_kwargs, module._forward_hooks_always_called
    return [*_everywhere("forward"), *(ForwardHook(hook, k in with_kwargs, k in always) for k, hook in own)]


def _flow(module: Called) -> Flow:
    """What calls the module's own hooks and those on every module, whichever there are then."""

    def after() -> list[Callable[..., Any]]:
        own = module._backward_hooks.values() if module._is_full_backward_hook is not False else ()
        return [*_everywhere("backward"), *own]

    return Flow(module, lambda: [*_everywhere("backward_pre"), *module._backward_pre_hooks.values()], after)


def call_with_hooks(module: Called, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Forward with every kind of hook around it."""
    for hook in _before_forward(module):
        args, kwargs = _before(module, hook, args, kwargs)
    old = _everywhere("last_node")
    if module._is_full_backward_hook is False:
        old += module._backward_hooks.values()
    own = module._backward_hooks and module._is_full_backward_hook is not False or module._backward_pre_hooks
    around = _flow(module) if own or _everywhere("backward") or _everywhere("backward_pre") else None
    if around is not None:
        args = around.at_inputs(args)
    try:
        result = module.forward(*args, **kwargs)
    except Exception:
        for hook in _after_forward(module):
            if hook.always:
                hook(module, args, kwargs, None)
        raise
    for hook in _after_forward(module):
        replaced = hook(module, args, kwargs, result)
        result = result if replaced is None else replaced
    if old:
        _hook_last_node(module, old, result)
    return result if around is None else around.at_outputs(result)


def _hook_last_node(module: Called, hooks: list[Callable[..., Any]], result: Any) -> None:
    """Backward hooks of the old kind see the gradients of the node that made the first tensor of a result."""
    first = next((v for v in flatten(result)[0] if isinstance(v, Tensor)), None)
    if first is not None and first.grad_fn is not None:
        for hook in hooks:
            first.grad_fn.register_hook(partial(hook, module))


def _before(
    module: Called, hook: ForwardHook, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    replaced = hook(module, args, kwargs)
    if replaced is None:
        return args, kwargs
    if not hook.with_kwargs:
        return replaced if isinstance(replaced, tuple) else (replaced,), kwargs
    if not (isinstance(replaced, tuple) and len(replaced) == 2):
        raise RuntimeError(
            f"forward pre-hook with kwargs must return None or (args, kwargs), got {type(replaced).__name__}"
        )
    return replaced


# -- where an error was, and where a nan came from ----------------------------------------------------
def explained_call(error: Exception, module: Called, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Exception | None:
    """What to raise for an error from the insides of a layer's own ``forward``; None for all others."""
    if meaning(error) is None:
        return None
    return explained(error, type(module).__name__, module.forward, args, kwargs)


def note_module(error: Exception, module: Called) -> None:
    """Say in a note in which module an error was raised; each module on the way out makes the path longer."""
    found = getattr(error, "_flambeau_module", None)
    if found is None:
        path, inner = "", module
    else:
        path, inner, last, note = found
        name = next((n for n, m in module.named_modules() if m is last), "")
        path = ".".join(filter(None, (name, path)))
        error.__notes__.remove(note)
    note = f"in {type(module).__name__}, module {path!r}: {inner._head()}" if path else f"in module {inner._head()}"
    error.add_note(note)
    try:
        error._flambeau_module = (path, inner, module, note)  # type: ignore[attr-defined]
    except AttributeError:  # an exception type with slots: the note stays as it is
        return


def name_in_parent(module: Called, running: list[Called]) -> str:
    """What the module that is running calls ``module``; its class name at the top."""
    if running:
        return next((n for n, m in running[-1].named_modules() if m is module), type(module).__name__)
    return type(module).__name__


def call_watched(module: Called, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Forward where something watches: the recorded nodes, the profiler and the like get to know the module."""
    state = current()
    if not (state.anomaly or state.watchers or state.layers):  # a transform, or hooks on saved values
        hooked = module._hooked or EVERYWHERE
        return call_with_hooks(module, args, kwargs) if hooked else module.forward(*args, **kwargs)
    module_path.append(name_in_parent(module, module_path.modules))
    module_path.modules.append(module)
    try:
        return call_with_hooks(module, args, kwargs)
    finally:
        module_path.modules.pop()
        module_path.pop()


# -- registering ---------------------------------------------------------------------------------------
class Hooked:
    """The hooks of one module, in dicts under the names that torch gives them, and how they are registered."""

    _backward_hooks: Hooks
    _backward_pre_hooks: Hooks
    _forward_hooks: Hooks
    _forward_hooks_with_kwargs: dict[int, bool]
    _forward_hooks_always_called: dict[int, bool]
    _forward_pre_hooks: Hooks
    _forward_pre_hooks_with_kwargs: dict[int, bool]
    _state_dict_hooks: Hooks
    _state_dict_pre_hooks: Hooks
    _load_state_dict_pre_hooks: Hooks
    _load_state_dict_post_hooks: Hooks
    _is_full_backward_hook: bool | None  # None: there is no backward hook yet
    _hooked: bool  # whether a call must look at hooks at all

    def _make_hooks(self) -> None:
        self.__dict__.update({name: OrderedDict() for name in _KINDS}, _hooked=False, _is_full_backward_hook=None)

    def _hook(
        self, registry: Hooks, hook: Callable[..., Any], prepend: bool = False, *marks: dict[int, bool]
    ) -> Handle:
        self.__dict__["_hooked"] = True
        return add(registry, hook, prepend, *marks)

    def _backward_hooks_are_full(self, full: bool) -> None:
        if self._is_full_backward_hook is (not full):
            raise RuntimeError(
                "Cannot use both regular backward hooks and full backward hooks on a single Module; register hooks of "
                "one kind"
            )
        self.__dict__["_is_full_backward_hook"] = full

    def register_forward_pre_hook(
        self, hook: Callable[..., Any], *, prepend: bool = False, with_kwargs: bool = False
    ) -> Handle:
        """Call ``hook(module, args[, kwargs])`` before forward; what it returns replaces the arguments."""
        marks = [self._forward_pre_hooks_with_kwargs] if with_kwargs else []
        return self._hook(self._forward_pre_hooks, hook, prepend, *marks)

    def register_forward_hook(
        self, hook: Callable[..., Any], *, prepend: bool = False, with_kwargs: bool = False, always_call: bool = False
    ) -> Handle:
        """Call ``hook(module, args[, kwargs], output)`` after forward; what it returns replaces the output."""
        marks = [self._forward_hooks_with_kwargs] if with_kwargs else []
        marks += [self._forward_hooks_always_called] if always_call else []
        return self._hook(self._forward_hooks, hook, prepend, *marks)

    def register_full_backward_pre_hook(self, hook: Callable[..., Any], prepend: bool = False) -> Handle:
        """Call ``hook(module, grad_output)`` when the gradients of the outputs are there; it may return others."""
        return self._hook(self._backward_pre_hooks, hook, prepend)

    def register_full_backward_hook(self, hook: Callable[..., Any], prepend: bool = False) -> Handle:
        """Call ``hook(module, grad_input, grad_output)`` when the inputs' gradients are there; it may return others."""
        self._backward_hooks_are_full(True)
        return self._hook(self._backward_hooks, hook, prepend)

    def register_backward_hook(self, hook: Callable[..., Any]) -> Handle:
        """The hook of old: ``hook(module, grad_input, grad_output)`` of the last op of forward, not of all of it.

        :meth:`register_full_backward_hook` is what its name promises.
        """
        self._backward_hooks_are_full(False)
        return self._hook(self._backward_hooks, hook)

    def register_state_dict_pre_hook(self, hook: Callable[..., Any]) -> Handle:
        """Call ``hook(module, prefix, keep_vars)`` before this module's part of state_dict."""
        return add(self._state_dict_pre_hooks, hook)

    def register_state_dict_post_hook(self, hook: Callable[..., Any]) -> Handle:
        """Call ``hook(module, state_dict, prefix, local_metadata)`` after it; it changes the dict in place."""
        check_hook(hook)
        return add(self._state_dict_hooks, InPlace(hook))

    def _register_state_dict_hook(self, hook: Callable[..., Any]) -> Handle:
        """The same, with a hook that may return another dict."""
        return add(self._state_dict_hooks, hook)

    def register_load_state_dict_pre_hook(self, hook: Callable[..., Any]) -> Handle:
        """Call ``hook(module, state_dict, prefix, metadata, strict, missing, unexpected, errors)`` before loading."""
        return self._register_load_state_dict_pre_hook(hook, with_module=True)

    def _register_load_state_dict_pre_hook(self, hook: Callable[..., Any], with_module: bool = False) -> Handle:
        """The same, by default with a hook that is not given the module."""
        check_hook(hook)
        return add(self._load_state_dict_pre_hooks, LoadHook(hook, with_module))

    def register_load_state_dict_post_hook(self, hook: Callable[..., Any]) -> Handle:
        """Call ``hook(module, incompatible_keys)`` after loading."""
        return add(self._load_state_dict_post_hooks, hook)


class LoadHook:
    """A hook before loading, which may do without the module."""

    def __init__(self, hook: Callable[..., Any], with_module: bool):
        self.hook, self.with_module = hook, with_module

    def __call__(self, module: object, *args: Any) -> None:
        self.hook(module, *args) if self.with_module else self.hook(*args)


class InPlace:
    """A hook after state_dict, which must not return anything."""

    def __init__(self, hook: Callable[..., Any]):
        self.hook = hook

    def __call__(self, *args: Any) -> None:
        if self.hook(*args) is not None:
            raise RuntimeError("a hook of register_state_dict_post_hook must return None: it changes the dict in place")


_KINDS = [name for name in Hooked.__annotations__ if name not in ("_hooked", "_is_full_backward_hook")]
