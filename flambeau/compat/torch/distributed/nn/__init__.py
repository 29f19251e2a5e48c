"""Collectives through which gradients flow."""

from flambeau.compat.torch.distributed.nn.functional import *  # noqa: F403
from flambeau.compat.torch.distributed.nn.functional import __all__ as __all__
