"""Special functions: ``flambeau.special``."""

from flambeau.core.blame import explain_imported as _explain_imported
from flambeau.core.methods import give_homes, named, taking_out
from flambeau.core.ops.arithmetic import rounded as round
from flambeau.core.ops.nn.softmax import log_softmax, softmax
from flambeau.core.ops.reduce import logsumexp
from flambeau.core.ops.special import i0e_p as i0e
from flambeau.core.ops.special import i1e_p as i1e
from flambeau.core.ops.special import logit, mvlgamma, polygamma
from flambeau.core.ops.special import zeta_p as zeta

from flambeau.core.ops.elementwise import (  # isort: skip
    digamma_p as digamma, erf_p as erf, erfc_p as erfc, erfinv_p as erfinv, exp2_p as exp2, expm1_p as expm1,
    i0_p as i0, i1_p as i1, lgamma_p as lgamma, log1p_p as log1p, sigmoid_p as sigmoid, sinc_p as sinc,
    xlogy_p as xlogy,
)  # fmt: skip
from flambeau.core.ops.polynomials import (  # isort: skip
    chebyshev_polynomial_t, chebyshev_polynomial_u, chebyshev_polynomial_v, chebyshev_polynomial_w,
    hermite_polynomial_h, hermite_polynomial_he, laguerre_polynomial_l, legendre_polynomial_p,
    shifted_chebyshev_polynomial_t, shifted_chebyshev_polynomial_u, shifted_chebyshev_polynomial_v,
    shifted_chebyshev_polynomial_w,
)  # fmt: skip
from flambeau.core.ops.transcendental import (  # isort: skip
    airy_ai_p as airy_ai, bessel_j0_p as bessel_j0, bessel_j1_p as bessel_j1, bessel_y0_p as bessel_y0,
    bessel_y1_p as bessel_y1, entr_p as entr, erfcx_p as erfcx, igamma_p as igamma, igammac_p as igammac,
    log_ndtr_p as log_ndtr, modified_bessel_i0_p as modified_bessel_i0, modified_bessel_i1_p as modified_bessel_i1,
    modified_bessel_k0_p as modified_bessel_k0, modified_bessel_k1_p as modified_bessel_k1, ndtr_p as ndtr,
    ndtri_p as ndtri, scaled_modified_bessel_k0_p as scaled_modified_bessel_k0,
    scaled_modified_bessel_k1_p as scaled_modified_bessel_k1, spherical_bessel_j0_p as spherical_bessel_j0,
    xlog1py_p as xlog1py,
)  # fmt: skip

psi, expit, gammaln = named("psi", digamma), named("expit", sigmoid), named("gammaln", lgamma)
gammainc, gammaincc = named("gammainc", igamma), named("gammaincc", igammac)

__all__ = [
    "airy_ai", "bessel_j0", "bessel_j1", "bessel_y0", "bessel_y1", "chebyshev_polynomial_t", "chebyshev_polynomial_u",
    "chebyshev_polynomial_v", "chebyshev_polynomial_w", "digamma", "entr", "erf", "erfc", "erfcx", "erfinv", "exp2",
    "expit", "expm1", "gammainc", "gammaincc", "gammaln", "hermite_polynomial_h", "hermite_polynomial_he", "i0",
    "i0e", "i1", "i1e", "laguerre_polynomial_l", "legendre_polynomial_p", "log1p", "log_ndtr", "log_softmax", "logit",
    "logsumexp", "modified_bessel_i0", "modified_bessel_i1", "modified_bessel_k0", "modified_bessel_k1",
    "multigammaln", "ndtr", "ndtri", "polygamma", "psi", "round", "scaled_modified_bessel_k0",
    "scaled_modified_bessel_k1", "shifted_chebyshev_polynomial_t", "shifted_chebyshev_polynomial_u",
    "shifted_chebyshev_polynomial_v", "shifted_chebyshev_polynomial_w", "sinc", "softmax", "spherical_bessel_j0",
    "xlog1py", "xlogy", "zeta",
]  # fmt: skip

multigammaln = named("multigammaln", mvlgamma)
for _name in (
    "chebyshev_polynomial_t", "chebyshev_polynomial_u", "chebyshev_polynomial_v", "chebyshev_polynomial_w",
    "hermite_polynomial_h", "hermite_polynomial_he", "laguerre_polynomial_l", "legendre_polynomial_p", "log_softmax",
    "logsumexp", "shifted_chebyshev_polynomial_t", "shifted_chebyshev_polynomial_u", "shifted_chebyshev_polynomial_v",
    "shifted_chebyshev_polynomial_w", "softmax",
):  # fmt: skip
    globals()[_name] = taking_out(_name, globals()[_name])
_explain_imported(globals())
give_homes(__name__, {name: globals()[name] for name in __all__})
