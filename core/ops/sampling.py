"""Distributions: masks, counts, categories, and the samplers that fill a tensor in place.

Gradients with respect to their parameters are zeros. What is drawn comes from :mod:`flambeau.core.ops.random`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from flambeau.core import dtype as dt
from flambeau.core import state
from flambeau.core.creation import full_at, zeros_like
from flambeau.core.device import DeviceLike
from flambeau.core.dtype import DType, DTypeLike
from flambeau.core.errors import ArgumentError, DTypeError, ShapeError
from flambeau.core.from_data import finished
from flambeau.core.keys import precise
from flambeau.core.memory_format import Layout
from flambeau.core.ops import random, storage
from flambeau.core.ops.arithmetic import clamp
from flambeau.core.ops.elementwise import (
    abs_p,
    ceil_p,
    exp_p,
    floor_p,
    lgamma_p,
    log1p_p,
    log_p,
    maximum_p,
    sqrt_p,
    tan_p,
    where,
)
from flambeau.core.ops.expand import broadcast_tensors
from flambeau.core.ops.search import searchsorted
from flambeau.core.out import check_out, deliver
from flambeau.core.public import public
from flambeau.core.random import Philox
from flambeau.core.tensor import Tensor


def _compute_dtype(x: Tensor) -> DType:
    """The floating dtype to sample in."""
    return x.dtype if x.dtype.category == dt.FLOATING else dt.get_default_dtype()


def _check(name: str, x: Tensor, holds: Callable[[Tensor], Tensor], text: str) -> None:
    """ValueError unless every element passes; tensors inside transforms have no values to look at."""
    if x._key.level is None and not bool(holds(x).all()):
        raise ArgumentError(f"{name}: {text}")


# -- new tensors -------------------------------------------------------------------------------------
@public()
def bernoulli(
    input: Tensor, p: float | None = None, *, generator: Philox | None = None, out: Tensor | None = None
) -> Tensor:
    """Ones with the probability that each element of ``input`` says (or with ``p`` for all), else zeros.

    Of the shape and dtype of ``input``; ValueError where a probability is not in [0, 1].

    >>> fb.bernoulli(fb.tensor([0.0, 1.0]))
    tensor([0., 1.])
    """
    with state.no_grad():
        mask = _bernoulli_mask(input, input if p is None else p, generator)
        drawn = storage.cast_p(mask, dtype=input.dtype)
    return deliver("bernoulli", _flat(drawn, input), out)


def _flat(drawn: Tensor, *parameters: Tensor | float) -> Tensor:
    """What was drawn, with a gradient of zeros towards the tensors that the distribution was given."""
    for p in parameters:
        if isinstance(p, Tensor) and p.requires_grad and state.is_grad_enabled():
            drawn = where(full_at(drawn, (), True, dt.bool_), drawn, p)
    return drawn


def _bernoulli_mask(like: Tensor, p: Tensor | float, generator: Philox | None) -> Tensor:
    """A mask of the shape of ``like``."""
    if not isinstance(p, Tensor):
        if not 0 <= p <= 1:
            raise ArgumentError(f"bernoulli: p must be in [0, 1], got {p}")
        return random.below(float(p), tuple(like.shape), like.device, generator)
    if p.dtype.category != dt.FLOATING:
        raise DTypeError(f"bernoulli: probabilities must be floating point, got {p.dtype}")
    _check("bernoulli", p, lambda p: (p >= 0) & (p <= 1), "expects all probabilities to be in [0, 1]")
    compute = dt.float64 if p.dtype is dt.float64 else dt.float32
    return random.uniform(tuple(like.shape), compute, like.device, generator) < p.detach()


@public(method=False)
def normal(
    mean: Tensor | float, std: Tensor | float = 1.0, size: int | Sequence[int] | None = None, *,
    generator: Philox | None = None, out: Tensor | None = None, dtype: DTypeLike | None = None,
    device: DeviceLike = None, layout: Layout | None = None, pin_memory: bool = False, requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """Normal numbers with means and standard deviations from tensors or numbers; two numbers need a ``size``.

    >>> fb.normal(fb.tensor([1.0, 2.0]), 0.0)
    tensor([1., 2.])
    """
    parameters = mean, std
    # a sample has no derivative in forward mode either, which no_grad does not end
    mean, std = (v.detach() if isinstance(v, Tensor) else v for v in parameters)
    with state.no_grad():
        if isinstance(std, Tensor):
            _check("normal", std, lambda s: s >= 0, "expects all elements of std to be at least 0")
        elif std < 0:
            raise ArgumentError(f"normal: expects std to be at least 0, got {std}")
        if isinstance(mean, Tensor):
            z = random.randn_like(mean * 0 + std if isinstance(std, Tensor) else mean, generator=generator)
        elif isinstance(std, Tensor):
            z = random.randn_like(std, generator=generator)
        elif size is not None:
            z = random.randn(size, generator=generator, dtype=dtype, device=device)
        else:
            raise TypeError("normal: two numbers for mean and std need a size")
        drawn = z * std + mean
    check_out("normal", dtype, out)
    return finished(deliver("normal", _flat(drawn, *parameters), out), requires_grad, pin_memory, layout)


@public()
def multinomial(
    input: Tensor, num_samples: int, replacement: bool = False, *, generator: Philox | None = None, out: Tensor | None =
    None,
) -> Tensor:  # fmt: skip
    """Indices (n,) or (rows, n) of categories drawn with the weights in ``input``, a vector or rows of them.

    Without ``replacement`` no category comes twice, so there must be as many with a positive weight.

    >>> fb.multinomial(fb.tensor([0.0, 1.0]), 3, replacement=True)
    tensor([1, 1, 1])
    """
    if input.ndim not in (1, 2):
        raise ShapeError(f"multinomial: input must be a vector or a matrix of weights, got shape {tuple(input.shape)}")
    if input.dtype.category != dt.FLOATING:
        raise DTypeError(f"multinomial: weights must be floating point, got {input.dtype}")
    if not num_samples > 0 or (not replacement and num_samples > input.shape[-1]):
        raise ArgumentError(
            f"multinomial: cannot draw {num_samples} of {input.shape[-1]} categories "
            f"{'with' if replacement else 'without'} replacement"
        )
    with state.no_grad():
        weights = input.detach()
        _check("multinomial", weights, lambda w: (w >= 0) & (w < math.inf), "weights must be finite and at least 0")
        enough = 1 if replacement else num_samples
        _check(
            "multinomial", (weights > 0).sum(-1), lambda n: n >= enough, f"needs {enough} positive weights in each row"
        )
        draw = _with_replacement if replacement else _without_replacement
        return deliver("multinomial", draw(weights, num_samples, generator), out)


def _with_replacement(weights: Tensor, count: int, generator: Philox | None) -> Tensor:
    """The category in whose share of the total a uniform number falls."""
    shares = weights.to(dt.float64 if weights.dtype is dt.float64 else dt.float32).cumsum(-1)
    total = shares[..., -1:]
    u = random.uniform((*weights.shape[:-1], count), shares.dtype, weights.device, generator)
    return searchsorted(shares, where(u * total < total, u * total, 0.0), right=True)


def _without_replacement(weights: Tensor, count: int, generator: Philox | None) -> Tensor:
    """The largest of weight / exponential (Efraimidis and Spirakis, "Weighted random sampling with a reservoir",
    2006)."""
    compute = dt.float64 if weights.dtype is dt.float64 else dt.float32
    u = random.uniform(tuple(weights.shape), compute, weights.device, generator)
    waits = maximum_p(-log_p(1.0 - u), dt.finfo(u._key.stored).tiny)
    return (weights / waits).topk(count, -1).indices


@public(method=False)
def poisson(input: Tensor, generator: Philox | None = None) -> Tensor:
    """Poisson numbers with the rates in ``input``, a floating tensor, whose dtype they have.

    >>> fb.poisson(fb.zeros(2))
    tensor([0., 0.])
    """
    if input.dtype.category != dt.FLOATING:
        raise DTypeError(f"poisson: rates must be floating point, got {input.dtype}")
    return _flat(_poisson(input, generator), input)


def _poisson(input: Tensor, generator: Philox | None) -> Tensor:
    with state.no_grad():
        rate = input.detach()
        _check("poisson", rate, lambda r: r >= 0, "rates must be at least 0")
        if precise(rate.device) is not dt.float64:  # on the host: the same numbers everywhere
            return _poisson(rate.to("cpu"), generator).to(input.device)
        rate = storage.cast_p(rate, dtype=dt.float64)
        small = _small_poisson(where(rate < 10, rate, 0.0), generator)
        return storage.cast_p(
            where(rate < 10, small, _large_poisson(maximum_p(rate, 10.0), generator)), dtype=input.dtype
        )


def _small_poisson(rate: Tensor, generator: Philox | None) -> Tensor:
    """Rates below 10: how many of the summed probabilities stay under one uniform number."""
    u = random.precisely_uniform(tuple(rate.shape), rate.device, generator)
    term = exp_p(-rate)
    total, count = term, zeros_like(rate)
    for i in range(1, 60):
        count = count + (u >= total)
        term = term * rate / i
        total = total + term
    return count


def _large_poisson(rate: Tensor, generator: Philox | None) -> Tensor:
    """Rates from 10: transformed rejection (Hörmann, "The transformed rejection method for generating Poisson
    random variables", 1993), as many rounds as leave one in 10**12 without a number; that one gets the mode.
    """
    root = sqrt_p(rate)
    b = 0.931 + 2.53 * root
    a = -0.059 + 0.02483 * b
    inverse_alpha = 1.1239 + 1.1328 / (b - 3.4)
    bound = 0.9277 - 3.6224 / (b - 2)
    found = floor_p(rate)
    missing = rate == rate
    for _ in range(24):
        u = random.precisely_uniform(tuple(rate.shape), rate.device, generator) - 0.5
        v = 1.0 - random.precisely_uniform(tuple(rate.shape), rate.device, generator)
        distance = 0.5 - abs_p(u)
        k = floor_p((2 * a / distance + b) * u + rate + 0.43)
        sure = (distance >= 0.07) & (v <= bound)
        possible = (k >= 0) & ((distance >= 0.013) | (v <= distance))
        density = k * log_p(rate) - rate - lgamma_p(where(k < 0, 0.0, k) + 1)
        accepted = sure | (possible & (log_p(v * inverse_alpha / (a / (distance * distance) + b)) <= density))
        found = where(missing & accepted, k, found)
        missing = missing & ~accepted
    return found


@public(method=False)
def binomial(count: Tensor, prob: Tensor, generator: Philox | None = None) -> Tensor:
    """How many of ``count`` trials succeed, each with probability ``prob``: floating tensors of one dtype, broadcast.

    Counts are rounded down, and a negative one gives 0.

    >>> fb.binomial(fb.tensor([4.0, 4.0]), fb.tensor([0.0, 1.0]))
    tensor([0., 4.])
    """
    for name, t in (("count", count), ("prob", prob)):
        if t.dtype.category != dt.FLOATING:
            raise ArgumentError(f"binomial: {name} must be floating point, got {t.dtype}")
    if count.dtype is not prob.dtype:
        raise DTypeError(f"binomial: count and prob must be of one dtype, got {count.dtype} and {prob.dtype}")
    with state.no_grad():
        device, dtype = count.device, count.dtype
        if precise(device) is not dt.float64:  # on the host: the same numbers everywhere
            return binomial(count.to("cpu"), prob.to("cpu"), generator).to(device)
        n, p = (storage.cast_p(t.detach(), dtype=dt.float64) for t in broadcast_tensors(count, prob))
        n, p = maximum_p(floor_p(n), 0.0), clamp(p, 0.0, 1.0)
        turned = p > 0.5
        q = where(turned, 1 - p, p)
        large = n * q >= 10
        few = _few_successes(where(large, 0.0, n), where(large, 0.0, q), generator)
        many = _many_successes(where(large, n, 100.0), where(large, q, 0.5), generator)
        found = where(large, many, few)
        return storage.cast_p(where(turned, n - found, found), dtype=dtype)


def _few_successes(n: Tensor, p: Tensor, generator: Philox | None) -> Tensor:
    """A mean below 10, p up to 1/2: how many of the summed probabilities stay under one uniform number."""
    u = random.precisely_uniform(tuple(n.shape), n.device, generator)
    term, odds = exp_p(n * log1p_p(-p)), p / (1 - p)
    total, count = term, n * 0 + p * 0
    for i in range(1, 70):
        count = count + ((u >= total) & (count < n))
        term = term * odds * (n - i + 1) / i
        total = total + term
    return count


def _many_successes(n: Tensor, p: Tensor, generator: Philox | None) -> Tensor:
    """A mean from 10, p up to 1/2: transformed rejection (Hörmann, "The generation of binomial random variates",
    1993), as many rounds as leave one in 10**12 without a number; that one gets the mode.
    """
    spread = sqrt_p(n * p * (1 - p))
    b = 1.15 + 2.53 * spread
    a = -0.0873 + 0.0248 * b + 0.01 * p
    scale, bound = (2.83 + 5.1 / b) * spread, 0.92 - 4.2 / b
    odds, mode = log_p(p / (1 - p)), floor_p((n + 1) * p)
    height = lgamma_p(mode + 1) + lgamma_p(n - mode + 1)
    found, missing = mode, n == n
    for _ in range(24):
        u = random.precisely_uniform(tuple(n.shape), n.device, generator) - 0.5
        v = 1.0 - random.precisely_uniform(tuple(n.shape), n.device, generator)
        distance = 0.5 - abs_p(u)
        k = floor_p((2 * a / distance + b) * u + n * p + 0.5)
        inside = (k >= 0) & (k <= n)
        safe = where(inside, k, mode)
        density = height - lgamma_p(safe + 1) - lgamma_p(n - safe + 1) + (safe - mode) * odds
        fits = log_p(v * scale / (a / (distance * distance) + b)) <= density
        accepted = inside & (((distance >= 0.07) & (v <= bound)) | fits)
        found = where(missing & accepted, k, found)
        missing = missing & ~accepted
        if n._key.level is None and not bool(missing.any()):
            break
    return found


# -- in place ----------------------------------------------------------------------------------------
def _fill(name: str, x: Tensor, sample: Callable[[DType], Tensor]) -> Tensor:
    """Write a sample, made in a floating dtype, to ``x``."""
    if x.dtype.category < dt.FLOATING:
        raise DTypeError(f"{name}: not implemented for {x.dtype.name}; it fills floating point tensors")
    with state.no_grad():
        found = sample(_compute_dtype(x))
    return x.copy_(found)


def _uniform(x: Tensor, dtype: DType, generator: Philox | None) -> Tensor:
    return random.uniform(tuple(x.shape), dtype, x.device, generator)


@public()
def uniform_(
    self: Tensor, low: float = 0.0, high: float = 1.0, *, generator: Philox | None = None, **kw: float
) -> Tensor:
    """Fill with uniform numbers in [low, high); torch's names ``from`` and ``to`` work as keywords.

    >>> fb.empty(2).uniform_().shape
    flambeau.Size([2])
    """
    low, high = kw.pop("from", low), kw.pop("to", high)
    if kw:
        raise TypeError(f"uniform_: unexpected arguments {sorted(kw)}; it takes from, to and generator")
    if low > high:
        raise ArgumentError(f"uniform_: from must be at most to, got {low} and {high}")
    shape = tuple(self.shape)
    if self.dtype.category == dt.FLOATING:
        low, high, count = float(low), float(high), random.words_for(shape, self.dtype)
        if random.drawn_into(self, "uniform_numbers", count, low, high, generator, "uniform_"):
            return self
    return _fill("uniform_", self, lambda d: random.uniform(shape, d, self.device, generator, low, high))


@public()
def normal_(self: Tensor, mean: float = 0.0, std: float = 1.0, *, generator: Philox | None = None) -> Tensor:
    """Fill with normal numbers.

    >>> fb.empty(2).normal_().shape
    flambeau.Size([2])
    """
    if std < 0:
        raise ArgumentError(f"normal_: expects std to be at least 0, got {std}")
    if self.dtype.category == dt.COMPLEX:
        return self.copy_(random.randn_like(self, generator=generator) * std + mean)
    shape = tuple(self.shape)
    if self.dtype.category == dt.FLOATING:
        mean, std, count = float(mean), float(std), random.normal_words(shape, self.dtype)
        if random.drawn_into(self, "normal_numbers", count, mean, std, generator, "normal_"):
            return self
    return _fill("normal_", self, lambda d: random.standard_normal(shape, d, self.device, generator, mean, std))


@public()
def log_normal_(self: Tensor, mean: float = 1.0, std: float = 2.0, *, generator: Philox | None = None) -> Tensor:
    """Fill with exponentials of normal numbers of this mean and standard deviation."""
    if std <= 0:
        raise ArgumentError(f"log_normal_: expects std to be above 0, got {std}")
    shape = tuple(self.shape)
    return _fill(
        "log_normal_", self, lambda d: exp_p(random.standard_normal(shape, d, self.device, generator, mean, std))
    )


@public()
def exponential_(self: Tensor, lambd: float = 1.0, *, generator: Philox | None = None) -> Tensor:
    """Fill with exponential numbers of rate ``lambd``."""
    if lambd <= 0:
        raise ArgumentError(f"exponential_: expects lambd to be above 0, got {lambd}")
    return _fill("exponential_", self, lambda d: log_p(1.0 - _uniform(self, d, generator)) / -lambd)


@public()
def geometric_(self: Tensor, p: float, *, generator: Philox | None = None) -> Tensor:
    """Fill with the number of trials, at least 1, up to the first success of probability ``p``; ints too."""
    if not 0 < p < 1:
        raise ArgumentError(f"geometric_: expects p to be in (0, 1), got {p}")
    with state.no_grad():
        u = _uniform(self, _compute_dtype(self), generator)
        found = maximum_p(ceil_p(log_p(1.0 - u) / math.log1p(-p)), 1.0)
    return self.copy_(found)


@public()
def cauchy_(self: Tensor, median: float = 0.0, sigma: float = 1.0, *, generator: Philox | None = None) -> Tensor:
    """Fill with Cauchy numbers."""
    if sigma <= 0:
        raise ArgumentError(f"cauchy_: expects sigma to be above 0, got {sigma}")
    return _fill("cauchy_", self, lambda d: tan_p((_uniform(self, d, generator) - 0.5) * math.pi) * sigma + median)


@public()
def bernoulli_(self: Tensor, p: Tensor | float = 0.5, *, generator: Philox | None = None) -> Tensor:
    """Fill with ones of probability ``p``, a number or a tensor, else zeros.

    >>> fb.empty(2).bernoulli_(1.0)
    tensor([1., 1.])
    """
    with state.no_grad():
        mask = _bernoulli_mask(self, p, generator)
    return self.copy_(mask)


@public()
def random_(
    self: Tensor, low: int | None = None, high: int | None = None, *, generator: Philox | None = None, **kw: int | None
) -> Tensor:
    """Fill with whole numbers in [low, high): ``random_()``, ``random_(high)``, ``random_(low, high)``.

    Without bounds: from 0 to the largest of the dtype, for floating dtypes to the largest exact whole number.

    >>> fb.empty(2).random_(1)
    tensor([0., 0.])
    """
    low, high = kw.pop("from", low), kw.pop("to", high)
    if kw:
        raise TypeError(f"random_: unexpected argument {sorted(kw)[0]!r}")
    if high is None:
        low, high = (
            (0, _largest(self._key.stored if self._key.dtype.category else self.dtype) + 1) if low is None else (0, low)
        )
    low = 0 if low is None else low
    random.check_span("random_", low, high)
    low, high = int(low), int(high)
    if self.dtype.category < dt.COMPLEX and random.drawn_into(
        self, "integer_numbers", 2 * self.numel(), low, high, generator, "random_"
    ):
        return self
    return self.copy_(random.integers(low, high, tuple(self.shape), dt.int64, self.device, generator))


def _largest(d: DType) -> int:
    if d.category == dt.BOOL:
        return 1
    if d.category == dt.INTEGER:
        return min(dt.iinfo(d).max, dt.iinfo(dt.int64).max)
    return int(2 / dt.finfo(d).eps)
