"""Special functions: ``flambeau.special``."""

from flambeau.core.ops.arithmetic import rounded as round
from flambeau.core.ops.elementwise import (
    digamma_p as digamma,
)
from flambeau.core.ops.elementwise import (
    erf_p as erf,
)
from flambeau.core.ops.elementwise import (
    erfc_p as erfc,
)
from flambeau.core.ops.elementwise import (
    erfinv_p as erfinv,
)
from flambeau.core.ops.elementwise import (
    exp2_p as exp2,
)
from flambeau.core.ops.elementwise import (
    expm1_p as expm1,
)
from flambeau.core.ops.elementwise import (
    i0_p as i0,
)
from flambeau.core.ops.elementwise import (
    i1_p as i1,
)
from flambeau.core.ops.elementwise import (
    lgamma_p as lgamma,
)
from flambeau.core.ops.elementwise import (
    log1p_p as log1p,
)
from flambeau.core.ops.elementwise import (
    sigmoid_p as sigmoid,
)
from flambeau.core.ops.elementwise import (
    sinc_p as sinc,
)
from flambeau.core.ops.elementwise import (
    xlogy_p as xlogy,
)
from flambeau.core.ops.reduce import logsumexp as logsumexp
from flambeau.core.ops.special import i0e_p as i0e
from flambeau.core.ops.special import i1e_p as i1e
from flambeau.core.ops.special import logit, polygamma
from flambeau.core.ops.special import zeta_p as zeta

psi, expit, gammaln = digamma, sigmoid, lgamma

__all__ = [
    "digamma", "erf", "erfc", "erfinv", "exp2", "expit", "expm1", "gammaln", "i0", "i0e", "i1", "i1e", "log1p", "logit",
    "logsumexp", "polygamma", "psi", "round", "sinc", "xlogy", "zeta",
]  # fmt: skip
