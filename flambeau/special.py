"""Special functions: ``flambeau.special``."""

from flambeau.core.blame import explain_imported as _explain_imported
from flambeau.core.methods import give_homes
from flambeau.core.ops.arithmetic import rounded as round
from flambeau.core.ops.reduce import logsumexp
from flambeau.core.ops.special import i0e_p as i0e
from flambeau.core.ops.special import i1e_p as i1e
from flambeau.core.ops.special import logit, polygamma
from flambeau.core.ops.special import zeta_p as zeta

from flambeau.core.ops.elementwise import (  # isort: skip
    digamma_p as digamma, erf_p as erf, erfc_p as erfc, erfinv_p as erfinv, exp2_p as exp2, expm1_p as expm1,
    i0_p as i0, i1_p as i1, lgamma_p as lgamma, log1p_p as log1p, sigmoid_p as sigmoid, sinc_p as sinc,
    xlogy_p as xlogy,
)  # fmt: skip

psi, expit, gammaln = digamma, sigmoid, lgamma

__all__ = [
    "digamma", "erf", "erfc", "erfinv", "exp2", "expit", "expm1", "gammaln", "i0", "i0e", "i1", "i1e", "log1p", "logit",
    "logsumexp", "polygamma", "psi", "round", "sinc", "xlogy", "zeta",
]  # fmt: skip

_explain_imported(globals())
give_homes(__name__, {name: globals()[name] for name in __all__})
