"""state_dict and load_state_dict: values by path, and errors that say what does not fit and why."""

from __future__ import annotations

import difflib
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, NamedTuple

from flambeau.core.capture import structure
from flambeau.core.state import no_grad
from flambeau.core.tensor import Tensor
from flambeau.nn.hooks import Hooked
from flambeau.nn.parameter import Parameter, is_lazy

EXTRA = "_extra_state"


class IncompatibleKeys(NamedTuple):
    """What load_state_dict did not find in the dict, and what it found there too much."""

    missing_keys: list[str]
    unexpected_keys: list[str]

    def __repr__(self) -> str:
        if not self.missing_keys and not self.unexpected_keys:
            return "<All keys matched successfully>"
        return f"IncompatibleKeys(missing_keys={self.missing_keys}, unexpected_keys={self.unexpected_keys})"

    def __str__(self) -> str:
        return repr(self)


def _extra_is_own(module: Saved) -> bool:
    return type(module).get_extra_state is not Saved.get_extra_state


class Saved(Hooked):
    """The part of a module that writes its state to a dict, and reads it from one.

    A class whose state changed its form counts ``_version`` up, and overrides ``_load_from_state_dict``, which gets
    the version that a dict was written with as ``local_metadata.get("version")``.
    """

    _version: int = 1
    _parameters: dict[str, Parameter | None]
    _buffers: dict[str, Tensor | None]
    _modules: dict[str, Any]
    _non_persistent_buffers_set: set[str]

    def get_extra_state(self) -> Any:  # Any: whatever the module wants to keep
        """More to save with the module; override together with set_extra_state."""
        raise RuntimeError("get_extra_state: override it to save more than parameters and buffers")

    def set_extra_state(self, state: Any) -> None:  # Any: as in get_extra_state
        """Take back what get_extra_state gave."""
        raise RuntimeError("set_extra_state: override it together with get_extra_state")

    def _own_state(self) -> dict[str, Tensor]:
        """The module's own parameters and persistent buffers."""
        kept: dict[str, Tensor] = {n: p for n, p in self._parameters.items() if p is not None}
        left_out = self._non_persistent_buffers_set
        return kept | {n: b for n, b in self._buffers.items() if b is not None and n not in left_out}

    # -- writing ---------------------------------------------------------------------------------
    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        """Enter the module's own state, without its children's."""
        for name, t in self._own_state().items():
            destination[prefix + name] = t if keep_vars or is_lazy(t) else t.detach()
        if _extra_is_own(self):
            destination[prefix + EXTRA] = self.get_extra_state()

    def state_dict(
        self, *args: Any, destination: dict[str, Any] | None = None, prefix: str = "", keep_vars: bool = False
    ) -> dict[str, Any]:  # Any: tensors, and what get_extra_state gives
        """Parameters and persistent buffers by path; detached unless ``keep_vars``, and sharing the module's memory.

        Given by position, the arguments are those of old: destination, prefix, keep_vars.

        >>> list(fb.nn.Linear(2, 3).state_dict())
        ['weight', 'bias']
        """
        if args:
            given = dict(zip(("destination", "prefix", "keep_vars"), args, strict=False))
            destination, prefix = given.get("destination", destination), given.get("prefix", prefix)
            keep_vars = given.get("keep_vars", keep_vars)
        found: Any = destination if destination is not None else _blank()
        metadata = {"version": self._version}
        if hasattr(found, "_metadata"):
            found._metadata[prefix[:-1]] = metadata
        for hook in list(self._state_dict_pre_hooks.values()):
            hook(self, prefix, keep_vars)
        self._save_to_state_dict(found, prefix, keep_vars)
        for name, child in self._modules.items():
            if child is not None:
                child.state_dict(destination=found, prefix=f"{prefix}{name}.", keep_vars=keep_vars)
        for hook in list(self._state_dict_hooks.values()):
            replaced = hook(self, found, prefix, metadata)
            found = found if replaced is None else replaced
        state: dict[str, Any] = found
        return state

    # -- reading ---------------------------------------------------------------------------------
    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, local_metadata: dict[str, Any], strict: bool,
        missing_keys: list[str], unexpected_keys: list[str], error_msgs: list[str],
    ) -> None:  # fmt: skip
        """Take over the module's own state, and add to the lists what does not fit; children come after this."""
        for hook in list(self._load_state_dict_pre_hooks.values()):
            hook(self, state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs)
        own = self._own_state()
        for name, t in own.items():
            key = prefix + name
            if key in state_dict:
                assign = local_metadata.get("assign_to_params_buffers", False)
                problem = _taken_over(self, name, key, t, state_dict[key], assign)
                error_msgs += [problem] if problem else []
            elif strict:
                missing_keys.append(key)
        if _extra_is_own(self):
            if prefix + EXTRA in state_dict:
                self.set_extra_state(state_dict[prefix + EXTRA])
            elif strict:
                missing_keys.append(prefix + EXTRA)
        if strict:
            known = {*own, EXTRA} if _extra_is_own(self) else set(own)
            unexpected_keys += [k for k in state_dict if self._is_unexpected(k, prefix, known)]

    def _is_unexpected(self, key: Any, prefix: str, known: set[str]) -> bool:
        if not isinstance(key, str) or not key.startswith(prefix):
            return False
        name, dot, _ = key[len(prefix) :].partition(".")
        return name not in self._modules if dot else name not in known

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> IncompatibleKeys:
        """Copy values by path into the parameters and buffers (``assign``: put the tensors in their place).

        With ``strict`` a missing or unexpected key raises RuntimeError; a wrong shape always does.

        >>> layer = fb.nn.Linear(2, 3)
        >>> layer.load_state_dict(fb.nn.Linear(2, 3).state_dict())
        <All keys matched successfully>
        """
        if not isinstance(state_dict, Mapping):
            raise TypeError(f"load_state_dict: expected a dict of tensors, got {type(state_dict).__name__}")
        found = IncompatibleKeys([], [])
        errors: list[str] = []
        metadata = getattr(state_dict, "_metadata", {})
        given = _blank(state_dict)
        given._metadata = OrderedDict(metadata)
        others = [k for k in given if not isinstance(k, str)]
        _load(self, given, "", metadata, assign, found, errors)
        if others:
            kinds = ", ".join(sorted({type(k).__name__ for k in others}))
            errors.append(f"keys must be paths such as 'layer.weight'; {len(others)} are of type {kinds}")
        messages = (
            [*_complaints(found), *errors, *_advice(found.missing_keys, found.unexpected_keys)] if strict else errors
        )
        if messages:
            raise RuntimeError(f"Error(s) in loading state_dict for {type(self).__name__}:\n\t" + "\n\t".join(messages))
        return found


def _blank(values: Mapping[str, Any] | None = None) -> Any:
    """A dict that has, as torch's, the version of each module's part by path in ``_metadata``."""
    made: Any = OrderedDict(values or {})
    made._metadata = OrderedDict()
    return made


def _load(
    module: Saved, state: dict[str, Any], prefix: str, metadata: Mapping[str, Any], assign: bool,
    found: IncompatibleKeys, errors: list[str],
) -> None:  # fmt: skip
    """A module and those below it. Which keys lack is found out always, and told whether ``strict`` or not."""
    local = dict(metadata.get(prefix[:-1], {}))
    if assign:
        local["assign_to_params_buffers"] = True
    module._load_from_state_dict(state, prefix, local, True, found.missing_keys, found.unexpected_keys, errors)
    for name, child in module._modules.items():
        if child is not None:
            below = f"{prefix}{name}."
            part = {k: v for k, v in state.items() if isinstance(k, str) and k.startswith(below)}
            _load(child, part, below, metadata, assign, found, errors)
    for hook in list(module._load_state_dict_post_hooks.values()):
        if hook(module, found) is not None:
            raise RuntimeError("a hook after load_state_dict must return None: it changes the lists of keys in place")


def _taken_over(module: Saved, name: str, key: str, own: Tensor, value: Any, assign: bool) -> str:
    """Take ``value`` over; what is wrong with it, if something is."""
    if not isinstance(value, Tensor):
        return f"{key}: expected a tensor, got {type(value).__name__}"
    if is_lazy(value):  # there is nothing to take over
        return "" if is_lazy(own) else f"{key}: it has no shape yet, the module's own has: {tuple(own.shape)}"
    if is_lazy(own):
        own.materialize(tuple(value.shape))
    if not own.shape and tuple(value.shape) == (1,):
        value = value[0]  # files of old had no numbers
    if tuple(value.shape) != tuple(own.shape):
        return (
            f"size mismatch for {key}: copying a param with shape {tuple(value.shape)} from checkpoint, "
            f"the shape in current model is {tuple(own.shape)}"
        )
    if not assign:
        try:
            with no_grad():
                own.copy_(value)
        except Exception as error:  # a dtype or device that cannot be copied from
            return f"{key}: {type(error).__name__}: {error}"
    elif isinstance(own, Parameter):
        taken = value if isinstance(value, Parameter) else Parameter(value, own.requires_grad)
        setattr(module, name, taken.requires_grad_(own.requires_grad))
    else:
        structure.put(module._buffers, name, value)
    return ""


def _complaints(found: IncompatibleKeys) -> list[str]:
    said = []
    for keys, what in ((found.missing_keys, "Missing"), (found.unexpected_keys, "Unexpected")):
        if keys:
            said.append(f"{what} key(s) in state_dict: " + ", ".join(f'"{k}"' for k in keys) + ".")
    return said


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
