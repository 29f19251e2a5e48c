"""Special functions: ``flambeau.special``."""

from flambeau.core.ops.arithmetic import round
from flambeau.core.ops.elementwise import (
    digamma,
    erf,
    erfc,
    erfinv,
    exp2,
    expm1,
    i0,
    i1,
    lgamma,
    log1p,
    sigmoid,
    sinc,
    xlogy,
)
from flambeau.core.ops.reduce import logsumexp_ as logsumexp
from flambeau.core.ops.special import i0e, i1e, logit, polygamma, zeta

psi, expit, gammaln = digamma, sigmoid, lgamma

__all__ = [
    "digamma", "erf", "erfc", "erfinv", "exp2", "expit", "expm1", "gammaln", "i0", "i0e", "i1", "i1e", "log1p", "logit",
    "logsumexp", "polygamma", "psi", "round", "sinc", "xlogy", "zeta",
]  # fmt: skip
