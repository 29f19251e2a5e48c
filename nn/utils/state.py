"""The names of a state dict."""

from __future__ import annotations

from typing import Any

from flambeau.core.blame import checking, explain_functions


def consume_prefix_in_state_dict_if_present(state_dict: dict[str, Any], prefix: str) -> None:
    """Remove ``prefix`` from the keys that have it, and from the paths of ``_metadata``, in place.

    >>> state = {"module.weight": 1}
    >>> fb.nn.utils.consume_prefix_in_state_dict_if_present(state, "module.")
    >>> state
    {'weight': 1}
    """
    for key in list(state_dict):
        if key.startswith(prefix):
            state_dict[key.removeprefix(prefix)] = state_dict.pop(key)
    metadata: dict[str, Any] = getattr(state_dict, "_metadata", {})
    for key in list(metadata):
        if key == prefix[:-1] or key.startswith(prefix):
            metadata[key[len(prefix) :]] = metadata.pop(key)


explain_functions(globals(), wrap=checking)
