"""Helpers for modules and their parameters."""

from __future__ import annotations

# isort: off
from flambeau.core.blame import checking, explain_functions
from flambeau.nn.module import Module
from flambeau.nn.utils import parametrizations, parametrize, rnn
from flambeau.nn.utils.clip import (
    clip_grad_norm_, clip_grad_value_, clip_grads_with_norm_, get_total_norm, parameters_to_vector,
    vector_to_parameters,
)  # fmt: skip
from flambeau.nn.utils.parametrizations import spectral_norm, weight_norm
from flambeau.nn.utils.state import consume_prefix_in_state_dict_if_present


def remove_weight_norm(module: Module, name: str = "weight") -> Module:
    """Make a weight under :func:`weight_norm` an ordinary parameter with its present value.

    >>> layer = fb.nn.utils.remove_weight_norm(fb.nn.utils.weight_norm(fb.nn.Linear(2, 3)))
    >>> [name for name, _ in layer.named_parameters()]
    ['bias', 'weight']
    """
    return parametrize.remove_parametrizations(module, name)


__all__ = [
    "clip_grad_norm_", "clip_grad_value_", "clip_grads_with_norm_", "consume_prefix_in_state_dict_if_present",
    "get_total_norm", "parameters_to_vector", "parametrizations", "parametrize", "remove_weight_norm", "rnn",
    "spectral_norm", "vector_to_parameters", "weight_norm",
]  # fmt: skip

explain_functions(globals(), wrap=checking)
