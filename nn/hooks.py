"""What modules do around forward: hooks, backward hooks, and the note on errors that names the module."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

from flambeau.core.autograd.function import Function
from flambeau.core.blame import explained, meaning
from flambeau.core.graph import Handle, check_hook
from flambeau.core.state import current, is_grad_enabled
from flambeau.core.tape.modes import module_path
from flambeau.core.tensor import Tensor
from flambeau.core.tree import flatten, unflatten

Hooks = dict[int, Callable[..., Any]]
#: Hooks on every module: (kind, hook).
EVERYWHERE: dict[int, Any] = {}


def add(hooks: Hooks, hook: Callable[..., Any], prepend: bool = False) -> Handle:
    """Enter a hook, in front of the others if asked; the handle removes it."""
    handle = Handle.into(hooks, hook)
    if prepend:
        key = next(reversed(hooks))
        others = {k: v for k, v in hooks.items() if k != key}
        hooks.clear()
        hooks.update({key: hook, **others})
    return handle


def _everywhere(kind: str) -> list[Callable[..., Any]]:
    return [hook for k, hook in EVERYWHERE.values() if k == kind]


def _register(kind: str, hook: Callable[..., Any]) -> Handle:
    handle = Handle.into(EVERYWHERE, hook)
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
    places = [i for i, v in enumerate(leaves) if isinstance(v, Tensor) and v.requires_grad]
    if not places or not is_grad_enabled():
        return value, False
    tensors = [i for i, v in enumerate(leaves) if isinstance(v, Tensor)]

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
    _forward_pre_hooks: Hooks
    _backward_hooks: Hooks
    _backward_pre_hooks: Hooks

    @property
    def forward(self) -> Callable[..., Any]: ...
    def named_modules(self) -> Iterable[tuple[str, Called]]: ...
    def _head(self) -> str: ...


class Flow:
    """One call of a module with full backward hooks: what flows back at its outputs and at its inputs."""

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


def _flow(module: Called) -> Flow:
    """What calls the module's own hooks and those on every module, whichever there are then."""
    return Flow(
        module, lambda: [*_everywhere("backward_pre"), *module._backward_pre_hooks.values()],
        lambda: [*_everywhere("backward"), *module._backward_hooks.values()],
    )  # fmt: skip


def call_with_hooks(module: Called, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Forward with every kind of hook around it."""
    for hook in [*_everywhere("forward_pre"), *module._forward_pre_hooks.values()]:
        args, kwargs = _before(module, hook, args, kwargs)
    own = module._backward_hooks or module._backward_pre_hooks
    around = _flow(module) if own or _everywhere("backward") or _everywhere("backward_pre") else None
    if around is not None:
        args = around.at_inputs(args)
    try:
        result = module.forward(*args, **kwargs)
    except Exception:
        for hook in [*_everywhere("forward"), *module._forward_hooks.values()]:
            if getattr(hook, "always", False):
                hook(module, args, kwargs, None)
        raise
    for hook in [*_everywhere("forward"), *module._forward_hooks.values()]:
        replaced = hook(module, args, kwargs, result)
        result = result if replaced is None else replaced
    return result if around is None else around.at_outputs(result)


def _before(
    module: Called, hook: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
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


class ForwardHook:
    """A hook in one form: ``(module, args, kwargs[, result])``, whichever of them the user's takes."""

    def __init__(self, hook: Callable[..., Any], with_kwargs: bool, always: bool = False):
        check_hook(hook)
        self.hook, self.with_kwargs, self.always = hook, with_kwargs, always

    def __call__(self, module: Called, args: Any, kwargs: Any, *result: Any) -> Any:
        if self.with_kwargs:
            return self.hook(module, args, kwargs, *result)
        return self.hook(module, args, *result)


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
    """The hooks of one module, and how they are registered."""

    _backward_hooks: Hooks
    _backward_pre_hooks: Hooks
    _forward_hooks: Hooks
    _forward_pre_hooks: Hooks
    _state_dict_hooks: Hooks
    _state_dict_pre_hooks: Hooks
    _load_pre_hooks: Hooks
    _load_post_hooks: Hooks
    _hooked: bool  # whether a call must look at hooks at all

    def __init__(self) -> None:
        self.__dict__.update({name: {} for name in _KINDS}, _hooked=False)

    def _hook(self, registry: Hooks, hook: Callable[..., Any], prepend: bool = False) -> Handle:
        self.__dict__["_hooked"] = True
        return add(registry, hook, prepend)

    def register_forward_pre_hook(
        self, hook: Callable[..., Any], *, prepend: bool = False, with_kwargs: bool = False
    ) -> Handle:
        """Call ``hook(module, args[, kwargs])`` before forward; what it returns replaces the arguments."""
        return self._hook(self._forward_pre_hooks, ForwardHook(hook, with_kwargs), prepend)

    def register_forward_hook(
        self, hook: Callable[..., Any], *, prepend: bool = False, with_kwargs: bool = False, always_call: bool = False
    ) -> Handle:
        """Call ``hook(module, args[, kwargs], output)`` after forward; what it returns replaces the output."""
        return self._hook(self._forward_hooks, ForwardHook(hook, with_kwargs, always_call), prepend)

    def register_full_backward_pre_hook(self, hook: Callable[..., Any], prepend: bool = False) -> Handle:
        """Call ``hook(module, grad_output)`` when the gradients of the outputs are there; it may return others."""
        return self._hook(self._backward_pre_hooks, hook, prepend)

    def register_full_backward_hook(self, hook: Callable[..., Any], prepend: bool = False) -> Handle:
        """Call ``hook(module, grad_input, grad_output)`` when the inputs' gradients are there; it may return others."""
        return self._hook(self._backward_hooks, hook, prepend)

    def register_state_dict_pre_hook(self, hook: Callable[..., Any]) -> Handle:
        """Call ``hook(module, prefix, keep_vars)`` before this module's part of state_dict."""
        return add(self._state_dict_pre_hooks, hook)

    def register_state_dict_post_hook(self, hook: Callable[..., Any]) -> Handle:
        """Call ``hook(module, state_dict, prefix, local_metadata)`` after it; it changes the dict in place."""
        return add(self._state_dict_hooks, hook)

    def register_load_state_dict_pre_hook(self, hook: Callable[..., Any]) -> Handle:
        """Call ``hook(module, state_dict, prefix, metadata, strict, missing, unexpected, errors)`` before loading."""
        return add(self._load_pre_hooks, hook)

    def register_load_state_dict_post_hook(self, hook: Callable[..., Any]) -> Handle:
        """Call ``hook(module, incompatible_keys)`` after loading."""
        return add(self._load_post_hooks, hook)


_KINDS = [name for name in Hooked.__annotations__ if name.endswith("_hooks")]
