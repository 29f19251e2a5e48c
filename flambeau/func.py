"""Function transforms, as in torch.func."""

from flambeau.core.ops.rearrange import rearrange
from flambeau.core.transforms.func import (
    debug_unwrap,
    functionalize,
    grad,
    grad_and_value,
    hessian,
    jacfwd,
    jacrev,
    jvp,
    linearize,
    vjp,
    vmap,
)
from flambeau.nn.functional_call import functional_call, stack_module_state
from flambeau.nn.module import Module
from flambeau.nn.norm import _BatchNorm

__all__ = [
    "debug_unwrap", "functional_call", "functionalize", "grad", "grad_and_value", "hessian", "jacfwd", "jacrev", "jvp",
    "linearize", "rearrange", "replace_all_batch_norm_modules_", "stack_module_state", "vjp", "vmap",
]  # fmt: skip


def replace_all_batch_norm_modules_(root: Module) -> Module:
    """Make every batch norm in ``root`` keep no running statistics, which are written to and cannot be mapped over.

    >>> layer = fb.func.replace_all_batch_norm_modules_(fb.nn.BatchNorm1d(2))
    >>> layer.running_mean is None, layer.track_running_stats
    (True, False)
    """
    for module in root.modules():
        if isinstance(module, _BatchNorm):
            module.running_mean = module.running_var = module.num_batches_tracked = None
            module.track_running_stats = False
    return root
