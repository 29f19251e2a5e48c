"""Ops of neural networks that a backend may fuse; each has a body of simpler ops and a gradient of its own.

``flambeau.nn.functional`` gives them torch's signatures.
"""

from flambeau.core.ops.nn import (
    activation,
    attention,
    conv,
    ctc,
    distance,
    grid,
    loss,
    norm,
    pool,
    recurrent,
    resample,
    softmax,
    sparse,
    step,
)  # fmt: skip

__all__ = ["activation", "attention", "conv", "ctc", "distance", "grid", "loss", "norm", "pool", "recurrent",
           "resample", "softmax", "sparse", "step"]  # fmt: skip
