"""torch.distributed.fsdp, under flambeau's own names."""

from flambeau.distributed.fsdp import *  # noqa: F403
from flambeau.distributed.fsdp import __all__ as __all__
