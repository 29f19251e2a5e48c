"""Helpers for modules and their parameters."""

from __future__ import annotations

import warnings

# isort: off
from flambeau.core.blame import checking, explain_functions, users_level
from flambeau.core.tensor import Tensor
from flambeau.nn.utils import fusion, parametrizations, parametrize, prune, rnn, stateless
from flambeau.nn.utils.clip import (
    Tensors, clip_grad_norm_, clip_grad_value_, clip_grads_with_norm_, get_total_norm, parameters_to_vector,
    vector_to_parameters,
)  # fmt: skip
from flambeau.nn.utils.fusion import (
    fuse_conv_bn_eval, fuse_conv_bn_weights, fuse_linear_bn_eval, fuse_linear_bn_weights,
)  # fmt: skip
from flambeau.nn.utils.layout import (
    convert_conv2d_weight_memory_format, convert_conv3d_weight_memory_format, skip_init,
)  # fmt: skip
from flambeau.nn.utils.spectral_norm import remove_spectral_norm, spectral_norm
from flambeau.nn.utils.weight_norm import remove_weight_norm, weight_norm
from flambeau.nn.utils.state import consume_prefix_in_state_dict_if_present


def clip_grad_norm(
    parameters: Tensors, max_norm: float, norm_type: float = 2.0, error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:  # fmt: skip
    """The old name of :func:`clip_grad_norm_`, which it calls with a FutureWarning."""
    warnings.warn("clip_grad_norm is now deprecated in favor of clip_grad_norm_.", FutureWarning,
                  stacklevel=users_level())  # fmt: skip
    return clip_grad_norm_(parameters, max_norm, norm_type, error_if_nonfinite, foreach)


__all__ = [
    "clip_grad_norm", "clip_grad_norm_", "clip_grad_value_", "clip_grads_with_norm_",
    "consume_prefix_in_state_dict_if_present", "convert_conv2d_weight_memory_format",
    "convert_conv3d_weight_memory_format", "fuse_conv_bn_eval", "fuse_conv_bn_weights", "fuse_linear_bn_eval",
    "fuse_linear_bn_weights", "fusion", "get_total_norm", "parameters_to_vector", "parametrizations", "parametrize",
    "prune", "remove_spectral_norm", "remove_weight_norm", "rnn", "skip_init", "spectral_norm", "stateless",
    "vector_to_parameters", "weight_norm",
]  # fmt: skip

explain_functions(globals(), wrap=checking)
