"""torch.distributed.checkpoint, under flambeau's own names."""

from flambeau.distributed.checkpoint import *  # noqa: F403
from flambeau.distributed.checkpoint import __all__ as __all__
