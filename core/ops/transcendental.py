"""Special functions that torch keeps in ``torch.special``: Bessel, Airy, incomplete gamma, the normal distribution.

Their expressions stand in :mod:`flambeau.core.special`. The Bessel functions have gradients here, which they lack in
torch.
"""

from __future__ import annotations

import math
from typing import Final

from flambeau.core.declare import OpFunction
from flambeau.core.ops.elementwise import (
    FLOATS,
    binary,
    cos_p,
    elementwise,
    exp_p,
    i0_p,
    i1_p,
    lgamma_p,
    log_p,
    unary,
    where,
)
from flambeau.core.record import real_floating
from flambeau.core.tensor import Tensor

_SQRT2: Final = math.sqrt(2)


def over(value: Tensor, x: Tensor, at_zero: float) -> Tensor:
    """``value / x``, and ``at_zero`` at 0."""
    return where(x == 0, at_zero, value / where(x == 0, 1.0, x))


# Below a record is a row of a table: what it computes, then what it is called for.
# fmt: off

# -- Bessel functions --------------------------------------------------------------------------------
bessel_j0_p = unary("bessel_j0", lambda g, x: -g * bessel_j1_p(x), dtype=real_floating, public=False, inplace=False,
    doc="the Bessel function of the first kind, of order 0",
    example="fb.special.bessel_j0(fb.tensor([0.0, 1.0])) -> tensor([1.0000, 0.7652])")
bessel_j1_p: OpFunction[Tensor] = unary("bessel_j1", lambda g, x, out: g * (bessel_j0_p(x) - over(out, x, 0.5)),
    dtype=real_floating, public=False, inplace=False,
    doc="the Bessel function of the first kind, of order 1",
    example="fb.special.bessel_j1(fb.tensor([0.0, 1.0])) -> tensor([0.0000, 0.4401])")
bessel_y0_p = unary("bessel_y0", lambda g, x: -g * bessel_y1_p(x), dtype=real_floating, public=False, inplace=False,
    doc="the Bessel function of the second kind, of order 0; nan below 0",
    example="fb.special.bessel_y0(fb.tensor([1.0, 2.0])) -> tensor([0.0883, 0.5104])")
bessel_y1_p: OpFunction[Tensor] = unary("bessel_y1", lambda g, x, out: g * (bessel_y0_p(x) - out / x),
    dtype=real_floating, public=False, inplace=False,
    doc="the Bessel function of the second kind, of order 1; nan below 0",
    example="fb.special.bessel_y1(fb.tensor([1.0, 2.0])) -> tensor([-0.7812, -0.1070])")
modified_bessel_i0_p = unary("modified_bessel_i0", lambda g, x: g * i1_p(x), "i0(x)",
    dtype=real_floating, public=False, inplace=False,
    doc="the modified Bessel function of the first kind, of order 0, as i0",
    example="fb.special.modified_bessel_i0(fb.tensor([0.0, 1.0])) -> tensor([1.0000, 1.2661])")
modified_bessel_i1_p = unary("modified_bessel_i1", lambda g, x, out: g * (i0_p(x) - over(out, x, 0.5)), "i1(x)",
    dtype=real_floating, public=False, inplace=False,
    doc="the modified Bessel function of the first kind, of order 1, as i1",
    example="fb.special.modified_bessel_i1(fb.tensor([0.0, 1.0])) -> tensor([0.0000, 0.5652])")
modified_bessel_k0_p = unary("modified_bessel_k0", lambda g, x: -g * modified_bessel_k1_p(x),
    dtype=real_floating, public=False, inplace=False,
    doc="the modified Bessel function of the second kind, of order 0; nan below 0",
    example="fb.special.modified_bessel_k0(fb.tensor([1.0, 2.0])) -> tensor([0.4210, 0.1139])")
modified_bessel_k1_p: OpFunction[Tensor] = unary("modified_bessel_k1",
    lambda g, x, out: -g * (modified_bessel_k0_p(x) + out / x), dtype=real_floating, public=False, inplace=False,
    doc="the modified Bessel function of the second kind, of order 1; nan below 0",
    example="fb.special.modified_bessel_k1(fb.tensor([1.0, 2.0])) -> tensor([0.6019, 0.1399])")
scaled_modified_bessel_k0_p = unary("scaled_modified_bessel_k0",
    lambda g, x, out: g * (out - scaled_modified_bessel_k1_p(x)), dtype=real_floating, public=False, inplace=False,
    doc="modified_bessel_k0(input) * exp(input)",
    example="fb.special.scaled_modified_bessel_k0(fb.tensor([1.0, 2.0])) -> tensor([1.1445, 0.8416])")
scaled_modified_bessel_k1_p: OpFunction[Tensor] = unary("scaled_modified_bessel_k1",
    lambda g, x, out: g * (out - scaled_modified_bessel_k0_p(x) - out / x),
    dtype=real_floating, public=False, inplace=False,
    doc="modified_bessel_k1(input) * exp(input)",
    example="fb.special.scaled_modified_bessel_k1(fb.tensor([1.0, 2.0])) -> tensor([1.6362, 1.0335])")
spherical_bessel_j0_p = unary("spherical_bessel_j0", lambda g, x, out: g * over(cos_p(x) - out, x, 0.0),
    "where(x == 0, 1, where(abs(x) == inf, 0, sin(x) / x))", dtype=real_floating, public=False, inplace=False,
    doc="the spherical Bessel function of the first kind, of order 0: sin(input) / input",
    example="fb.special.spherical_bessel_j0(fb.tensor([0.0, 1.0])) -> tensor([1.0000, 0.8415])")
airy_ai_p = unary("airy_ai", dtype=real_floating, public=False, inplace=False, differentiable=False,
    doc="the Airy function Ai",
    example="fb.special.airy_ai(fb.tensor([0.0, 1.0])) -> tensor([0.3550, 0.1353])")

# -- the normal distribution -------------------------------------------------------------------------
erfcx_p: OpFunction[Tensor] = unary("erfcx", lambda g, x, out: g * (2 * x * out - 2 / math.sqrt(math.pi)),
    dtype=real_floating, public=False, inplace=False,
    doc="erfc(input) * exp(input²), without underflow on the way",
    example="fb.special.erfcx(fb.tensor([0.0, 10.0])) -> tensor([1.0000, 0.0561])")
entr_p = unary("entr", lambda g, x: -g * (log_p(x) + 1), "where(x == 0, 0, where(x < 0, -inf, -x * log(x)))",
    dtype=real_floating, public=False, inplace=False,
    doc="-input * log(input), 0 at 0 and -inf below",
    example="fb.special.entr(fb.tensor([0.0, 0.5])) -> tensor([0.0000, 0.3466])")
ndtr_p = unary("ndtr", lambda g, x: g * exp_p(-0.5 * x * x) * (1 / math.sqrt(2 * math.pi)),
    dtype=real_floating, public=False, inplace=False,
    doc="the area under the standard normal density from -inf to input",
    example="fb.special.ndtr(fb.tensor([0.0, 1.0])) -> tensor([0.5000, 0.8413])")
ndtri_p = unary("ndtri", lambda g, out: g * exp_p(0.5 * out * out) * math.sqrt(2 * math.pi),
    dtype=real_floating, public=False, inplace=False,
    doc="the inverse of ndtr, on [0, 1]",
    example="fb.special.ndtri(fb.tensor([0.5, 0.975])) -> tensor([0.0000, 1.9600])")
log_ndtr_p = unary("log_ndtr", lambda g, x: g * math.sqrt(2 / math.pi) / erfcx_p(x * (-1 / _SQRT2)),
    dtype=real_floating, public=False, inplace=False,
    doc="the logarithm of ndtr(input), also where that underflows",
    example="fb.special.log_ndtr(fb.tensor([0.0, -40.0])) -> tensor([-6.9315e-01, -8.0461e+02])")
xlog1py_p: OpFunction[Tensor] = binary("xlog1py",
    lambda g, x, y: where((x == 0) & (y <= -1), 0.0, xlog1py_p(g, y)), lambda g, x, y: g * x / (y + 1),
    "where(y != y, y, where(x == 0, 0, x * log1p(y)))", dtype=real_floating, public=False, inplace=False,
    doc="input * log1p(other), 0 where input is 0",
    example="fb.special.xlog1py(fb.tensor([0.0, 2.0]), fb.tensor([-1.0, 1.0])) -> tensor([0.0000, 1.3863])")


# -- the incomplete gamma functions ------------------------------------------------------------------
def _density(x: Tensor, y: Tensor) -> Tensor:
    """Of the gamma distribution of shape ``x`` at ``y``."""
    return exp_p((x - 1) * log_p(y) - y - lgamma_p(x))


igamma_p = elementwise("igamma(x: Tensor, y: Tensor) -> Tensor", dtype=FLOATS,
    vjp=dict(y=lambda g, x, y: g * _density(x, y)),
    doc="the regularized lower incomplete gamma function of the shape input, from 0 to other",
    example="fb.igamma(fb.tensor([1.0]), fb.tensor([1.0])) -> tensor([0.6321])")
igammac_p = elementwise("igammac(x: Tensor, y: Tensor) -> Tensor", dtype=FLOATS,
    vjp=dict(y=lambda g, x, y: -g * _density(x, y)),
    doc="the regularized upper incomplete gamma function: 1 - igamma(input, other)",
    example="fb.igammac(fb.tensor([1.0]), fb.tensor([1.0])) -> tensor([0.3679])")
# fmt: on
