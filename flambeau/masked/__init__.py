"""Functions over the elements that a mask lets count, and tensors with a mask: ``flambeau.masked``.

A mask is True where an element counts, and broadcasts to the input. Where no element counts, a reduction gives its
identity (0 of a sum, the dtype's least number of a maximum), a mean or variance nan.

>>> x = fb.tensor([[1.0, 2.0], [3.0, 4.0]])
>>> fb.masked.mean(x, 1, mask=fb.tensor([[True, False], [True, True]]))
tensor([1.0000, 3.5000])
"""

from flambeau.core.methods import give_homes as _give_homes
from flambeau.masked.functions import (
    amax,
    amin,
    argmax,
    argmin,
    cumprod,
    cumsum,
    log_softmax,
    logaddexp,
    logsumexp,
    mean,
    median,
    norm,
    normalize,
    prod,
    softmax,
    softmin,
    std,
    sum,
    var,
)
from flambeau.masked.tensor import MaskedTensor, as_masked_tensor, is_masked_tensor, masked_tensor

__all__ = [
    "MaskedTensor", "amax", "amin", "argmax", "argmin", "as_masked_tensor", "cumprod", "cumsum", "is_masked_tensor",
    "log_softmax", "logaddexp", "logsumexp", "masked_tensor", "mean", "median", "norm", "normalize", "prod", "softmax",
    "softmin", "std", "sum", "var",
]  # fmt: skip

_give_homes(__name__, {name: globals()[name] for name in __all__})
