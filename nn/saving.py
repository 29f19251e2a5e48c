"""state_dict and load_state_dict: values by path, and errors that say what does not fit and why."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

from flambeau.core.state import no_grad
from flambeau.core.tensor import Tensor
from flambeau.nn.hooks import Hooks
from flambeau.nn.parameter import Parameter, is_lazy

EXTRA = "_extra_state"


class Saved(Protocol):
    """A module, as saving and loading see it."""

    _parameters: dict[str, Parameter | None]
    _buffers: dict[str, Tensor | None]
    _transient: set[str]
    _state_dict_hooks: Hooks
    _state_dict_pre_hooks: Hooks
    _load_pre_hooks: Hooks
    _load_post_hooks: Hooks

    @property
    def _modules(self) -> Mapping[str, Saved | None]: ...
    def state_dict(
        self, *, destination: dict[str, Any] | None = ..., prefix: str = ..., keep_vars: bool = ...
    ) -> dict[str, Any]: ...
    def get_extra_state(self) -> Any: ...
    def set_extra_state(self, state: Any) -> None: ...


class IncompatibleKeys(NamedTuple):
    """What load_state_dict did not find in the dict, and what it found there too much."""

    missing_keys: list[str]
    unexpected_keys: list[str]

    def __repr__(self) -> str:
        if not self.missing_keys and not self.unexpected_keys:
            return "<All keys matched successfully>"
        return f"IncompatibleKeys(missing_keys={self.missing_keys}, unexpected_keys={self.unexpected_keys})"


def _own_state(module: Saved) -> dict[str, Tensor]:
    """The module's own parameters and persistent buffers."""
    kept: dict[str, Tensor] = {n: p for n, p in module._parameters.items() if p is not None}
    kept |= {n: b for n, b in module._buffers.items() if b is not None and n not in module._transient}
    return kept


def get_extra_state(self: Saved) -> Any:  # Any: whatever the module wants to keep
    """More to save with the module; override together with set_extra_state."""
    raise RuntimeError("get_extra_state: override it to save more than parameters and buffers")


def set_extra_state(self: Saved, state: Any) -> None:  # Any: as in get_extra_state
    """Take back what get_extra_state gave."""
    raise RuntimeError("set_extra_state: override it together with get_extra_state")


def _has_extra(module: Saved) -> bool:
    return type(module).get_extra_state is not get_extra_state


def state_dict(module: Saved, destination: dict[str, Any], prefix: str, keep_vars: bool) -> dict[str, Any]:
    """Fill ``destination`` with the state of a module and everything below it."""
    for hook in list(module._state_dict_pre_hooks.values()):
        hook(module, prefix, keep_vars)
    for name, t in _own_state(module).items():
        destination[prefix + name] = t if keep_vars else t.detach()
    if _has_extra(module):
        destination[prefix + EXTRA] = module.get_extra_state()
    for name, child in module._modules.items():
        if child is not None:
            child.state_dict(destination=destination, prefix=f"{prefix}{name}.", keep_vars=keep_vars)
    for hook in list(module._state_dict_hooks.values()):
        hook(module, destination, prefix, {})
    return destination


class _Loading:
    """One load: what went wrong so far."""

    def __init__(self, state: dict[str, Any], strict: bool, assign: bool):
        self.state, self.strict, self.assign = state, strict, assign
        self.missing: list[str] = []
        self.unexpected: list[str] = []
        self.errors: list[str] = []

    def module(self, module: Saved, prefix: str) -> None:
        for hook in list(module._load_pre_hooks.values()):
            hook(module, self.state, prefix, {}, self.strict, self.missing, self.unexpected, self.errors)
        for name, t in _own_state(module).items():
            key = prefix + name
            if key not in self.state:
                self.missing.append(key)
            else:
                self._tensor(module, name, key, t, self.state[key])
        self._extra(module, prefix)
        for name, child in module._modules.items():
            if child is not None:
                self.module(child, f"{prefix}{name}.")
        keys = IncompatibleKeys(self.missing, self.unexpected)
        for hook in list(module._load_post_hooks.values()):
            hook(module, keys)

    def _extra(self, module: Saved, prefix: str) -> None:
        if not _has_extra(module):
            return
        if prefix + EXTRA in self.state:
            module.set_extra_state(self.state[prefix + EXTRA])
        else:
            self.missing.append(prefix + EXTRA)

    def _tensor(self, module: Saved, name: str, key: str, own: Tensor, value: Any) -> None:
        if not isinstance(value, Tensor):
            self.errors.append(f"{key}: expected a tensor, got {type(value).__name__}")
            return
        if is_lazy(own):
            own.materialize(tuple(value.shape))  # type: ignore[attr-defined]
        if not own.shape and tuple(value.shape) == (1,):
            value = value[0]  # files of old had no numbers
        if tuple(value.shape) != tuple(own.shape):
            self.errors.append(
                f"size mismatch for {key}: copying a param with shape {tuple(value.shape)} from checkpoint, "
                f"the shape in current model is {tuple(own.shape)}"
            )
        elif not self.assign:
            try:
                with no_grad():
                    own.copy_(value)
            except Exception as error:  # a dtype or device that cannot be copied from
                self.errors.append(f"{key}: {type(error).__name__}: {error}")
        elif isinstance(own, Parameter):
            taken = value if isinstance(value, Parameter) else Parameter(value, own.requires_grad)
            module._parameters[name] = taken
        else:
            module._buffers[name] = value


def load_state_dict(module: Saved, state: Mapping[str, Any], strict: bool, assign: bool) -> IncompatibleKeys:
    """Load, and raise one error with everything that does not fit."""
    if not isinstance(state, Mapping):
        raise TypeError(f"load_state_dict: expected a dict of tensors, got {type(state).__name__}")
    run = _Loading(dict(state), strict, assign)
    run.module(module, "")
    own = module.state_dict(keep_vars=True)
    others = [k for k in run.state if not isinstance(k, str)]
    if others:
        kinds = ", ".join(sorted({type(k).__name__ for k in others}))
        run.errors.append(f"keys must be paths such as 'layer.weight'; {len(others)} are of type {kinds}")
    run.unexpected += [k for k in run.state if isinstance(k, str) and k not in own]
    messages = list(run.errors)
    if strict:
        if run.unexpected:
            messages.insert(0, "Unexpected key(s) in state_dict: " + ", ".join(f'"{k}"' for k in run.unexpected) + ".")
        if run.missing:
            messages.insert(0, "Missing key(s) in state_dict: " + ", ".join(f'"{k}"' for k in run.missing) + ".")
        messages += _advice(run.missing, run.unexpected)
    if messages:
        raise RuntimeError(f"Error(s) in loading state_dict for {type(module).__name__}:\n\t" + "\n\t".join(messages))
    return IncompatibleKeys(run.missing, run.unexpected)


def _advice(missing: list[str], unexpected: list[str]) -> list[str]:
    """What the keys that were found look like."""
    if not missing or not unexpected:
        return []
    head = unexpected[0].split(".")[0] + "."
    if all(k.startswith(head) for k in unexpected) and {k.removeprefix(head) for k in unexpected} >= set(missing):
        return [
            f'Every key of the dict starts with "{head}": nn.utils.consume_prefix_in_state_dict_if_present removes it.'
        ]
    pairs = [(m, difflib.get_close_matches(m, unexpected, 1)) for m in missing]
    close = [f'"{found[0]}" for "{m}"' for m, found in pairs if found]
    return ["Similar: the dict has " + ", ".join(close[:5]) + "."] if close else []
