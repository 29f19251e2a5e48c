"""torch's database of ops under the transforms of flambeau.func: vmap against a loop, forward mode against reverse.

``python -m tests.ops.op_transforms [NAME ...]`` prints what differs, and how many entries agree. Where an op cannot be
mapped over, as where its shape depends on values, torch must refuse it too.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch.testing._internal.common_methods_invocations import op_db

import flambeau as fb
from flambeau.core.tree import flatten, unflatten
from tests.ops.op_database import RANDOM, UNWRITTEN, attempt, called, on_cpu, said, samples, title
from tests.ops.torch_counterparts import counterpart, found, in_flambeau

BATCH = 2
Function = Callable[..., Any]
#: Whose forward mode is not the transpose of reverse mode, in torch neither: a gradient that leaves out the padding,
#: places that are written twice, a matrix that must be symmetric.
APART = frozenset({
    "nn.functional.embedding", "nn.functional.max_unpool1d", "nn.functional.max_unpool2d",
    "nn.functional.max_unpool3d",
})  # fmt: skip
#: Without second derivatives where the samples are.
ONCE = frozenset({"linalg.norm.subgradients_at_zero"})
#: Have a -inf or nan where all is masked, at which forward mode has nan, as in torch.
MASKED = frozenset({
    "masked.log_softmax", "masked.logaddexp", "masked.mean", "masked.softmax", "masked.softmin",
})  # fmt: skip
#: Has sparse results or gradients, of which torch has neither a vmap nor a forward mode.
SPARSE = frozenset({"to_sparse"})
#: Read memory by strides, which a batch behind changes.
STRIDED = frozenset({"as_strided", "as_strided_copy", "as_strided_scatter"})


class DiffersError(AssertionError):
    """What is under a transform is not what is without it."""


class Call:
    """One sample of an entry as a function of its tensors."""

    def __init__(self, info: Any, fn: Any, sample: Any):
        whole = (sample.input, tuple(sample.args), dict(sample.kwargs))
        self.info, self.fn = info, fn
        self.around = around(info)
        self.theirs, self.their_structure = flatten(whole)
        self.given, self.structure = flatten(counterpart(whole))
        self.process, self.their_process = in_flambeau(sample.output_process_fn_grad), sample.output_process_fn_grad
        self.places = [i for i, v in enumerate(self.given) if isinstance(v, fb.Tensor) and v.ndim < 6]
        self.random = info.name in RANDOM
        self.sparse = sample.kwargs.get("sparse", False)
        self.floating = [i for i in self.places if self.given[i].dtype.category >= 2]

    @property
    def randomness(self) -> Literal["same", "error"]:
        return "same" if self.random else "error"

    def of(self, places: Sequence[int], floating: bool = False) -> Function:
        def run(*xs: fb.Tensor) -> tuple[fb.Tensor, ...]:
            given = list(self.given)
            for i, x in zip(places, xs, strict=True):
                given[i] = x
            first, args, kw = unflatten(given, self.structure)
            if self.random:  # the same numbers each time: a function of its tensors
                fb.manual_seed(0)
            made = self.around(self.fn, first, *args, **kw) if floating else self.fn(first, *args, **kw)
            out, _ = flatten(self.process(made))
            return tuple(o for o in out if isinstance(o, fb.Tensor) and (not floating or o.dtype.category >= 2))

        return run

    def refused(self, places: Sequence[int], dim: int) -> bool:
        """Whether torch cannot map over the same tensors."""

        def run(*xs: Any) -> Any:
            given = list(self.theirs)
            for i, x in zip(places, xs, strict=True):
                given[i] = x
            first, args, kw = unflatten(given, self.their_structure)
            return self.their_process(self.info.op(first, *args, **kw))

        stacked = [torch.stack([self.theirs[i].detach()] * BATCH, dim) for i in places]
        return attempt(torch.vmap(run, in_dims=dim), *stacked)[1] is not None

    def batch(self, i: int, dim: int) -> fb.Tensor:
        """Different elements, each of them valid where the given one is."""
        x = self.given[i].detach()
        other = x * 0.75 if x.dtype.category >= 2 else x.clone()
        return fb.stack([x, other], dim)


def around(info: Any) -> Function:
    """What torch's own checks of derivatives put around an op, such as that a matrix is Hermitian."""
    if info.name in MASKED:
        return unmasked
    return applied if info.name.startswith("masked.") else in_flambeau(info.gradcheck_wrapper)


def applied(fn: Function, *args: Any, **kw: Any) -> Any:
    return fn(*args, **kw)


def unmasked(fn: Function, *args: Any, **kw: Any) -> Any:
    """Zeros for what all of is masked, whose derivatives count as little as its values."""
    out, structure = flatten(fn(*args, **kw))
    return unflatten([fb.where(o.isfinite(), o, fb.zeros_like(o)) for o in out], structure)


def close(got: Any, wanted: Any, text: str, tolerance: float = 1e-7, least: float = 0.0) -> None:
    if len(got) != len(wanted):
        raise DiffersError(f"{text}: {len(got)} results, not {len(wanted)}")
    for g, w in zip(got, wanted, strict=True):
        if tuple(g.shape) != tuple(w.shape) or g.dtype is not w.dtype:
            raise DiffersError(f"{text}: {g.dtype}{list(g.shape)}, not {w.dtype}{list(w.shape)}")
        a, b = (np.asarray(t.detach().numpy()) for t in (g, w))
        scale = max(1.0, float(np.abs(b[np.isfinite(b)]).max(initial=0)) if b.dtype.kind in "fc" else 1.0)
        if not np.allclose(a, b, tolerance, max(tolerance * scale, least), equal_nan=True):
            raise DiffersError(f"{text}: off by {np.nanmax(np.abs(a.astype(complex) - b.astype(complex))):.3g}")


def weights(x: fb.Tensor, seed: int) -> fb.Tensor:
    rng = np.random.default_rng(seed)
    values = rng.standard_normal(tuple(x.shape))
    if x.is_complex():
        values = values + 1j * rng.standard_normal(tuple(x.shape))
    return fb.tensor(values).to(x.dtype)


# -- vmap --------------------------------------------------------------------------------------------
def mapped(call: Call) -> None:
    """All operands mapped, then one alone, with the batch in front or behind; a batch of batches."""
    behind = 0 if call.info.name in STRIDED else -1
    ways = {(tuple(call.places), 0), ((call.places[0],), behind), ((call.places[-1],), 0)}
    for places, dim in ways:
        fn = call.of(places)
        stacked = [call.batch(i, dim) for i in places]
        loop = [fn(*[x.select(dim, b).clone() for x in stacked]) for b in range(BATCH)]
        if not loop[0] or any(a.shape != b.shape for a, b in zip(*loop, strict=True)):
            continue
        wanted = [fb.stack(list(column)) for column in zip(*loop, strict=True)]
        out, refused = attempt(fb.vmap(fn, dim, randomness=call.randomness), *stacked)
        if refused is None:
            close(out, wanted, f"vmap over {places} at {dim}")
            twice = fb.vmap(fb.vmap(fn, dim, randomness=call.randomness), randomness=call.randomness)
            nested = twice(*[fb.stack([x, x]) for x in stacked])
            close(nested, [fb.stack([w, w]) for w in wanted], f"vmap of vmap over {places}")
        elif not call.refused(places, dim):
            raise refused


# -- derivatives -------------------------------------------------------------------------------------
def products(call: Call, places: Sequence[int]) -> tuple[Function, list[fb.Tensor], list[fb.Tensor]]:
    xs = [call.given[i].detach() for i in places]
    return call.of(places, floating=True), xs, [weights(x, i) for i, x in enumerate(xs)]


def inner(xs: Any, ys: Any) -> float:
    pairs = zip(xs, ys, strict=True)
    return sum(float((x * y.conj()).real.sum()) if x.is_complex() else float((x * y).sum()) for x, y in pairs)


def forward_mode(call: Call) -> None:
    """<u, J t> is <Jᴴ u, t>, for all inputs and for each alone, and forward mode leaves the values alone."""
    for places in dict.fromkeys([tuple(call.floating), *((i,) for i in call.floating)]):
        fn, xs, ts = products(call, places)
        value, moved = fb.func.jvp(fn, tuple(xs), tuple(ts))
        plain, pull = fb.func.vjp(fn, *xs)
        close(value, plain, "the value of jvp")
        us = tuple(weights(o, 7 + i) for i, o in enumerate(plain))
        a, b = inner(moved, us), inner(pull(us), ts)
        if not np.isclose(a, b, 1e-7, 1e-7 * max(1, abs(b)), equal_nan=True):
            raise DiffersError(f"over {places} jvp {a:.9g}, vjp {b:.9g}")


def _total(fn: Function) -> Function:
    def total(*xs: fb.Tensor) -> fb.Tensor:
        outs = [fb.view_as_real(o) if o.is_complex() else o for o in fn(*xs)]
        return sum((o * o * weights(o, 3)).sum().double() for o in outs)  # type: ignore[return-value]

    return total


def per_sample(call: Call) -> None:
    """vmap of grad and of jvp against loops."""
    fn, xs, ts = products(call, call.floating)
    batches = [call.batch(i, 0) for i in call.floating]
    gradient = fb.func.grad(_total(fn), argnums=tuple(range(len(xs))))
    for name, derived in (("grad", gradient), ("jvp", lambda *a: fb.func.jvp(fn, a, tuple(ts))[1])):
        loop = [derived(*[x[b].clone() for x in batches]) for b in range(BATCH)]
        together = fb.vmap(derived, randomness=call.randomness)(*batches)
        close(together, [fb.stack(list(c)) for c in zip(*loop, strict=True)], f"vmap of {name}", 1e-6)


def second(call: Call) -> None:
    """Hessian-vector products: forward over reverse, reverse over forward, reverse over reverse."""
    fn, xs, ts = products(call, call.floating)
    total, nums = _total(fn), tuple(range(len(xs)))
    first = fb.func.grad(total, argnums=nums)
    two = fb.func.vjp(first, *xs)[1](tuple(ts))
    # where the second derivative is tiny beside the first, it is what rounding leaves
    least = 1e-9 * max((float(g.abs().nan_to_num(0, 0, 0).max()) for g in first(*xs)), default=0.0)
    close(fb.func.jvp(first, tuple(xs), tuple(ts))[1], two, "forward over reverse", 1e-6, least)
    turned = fb.func.grad(lambda *a: fb.func.jvp(total, a, tuple(ts))[1], argnums=nums)(*xs)
    close(turned, two, "reverse over forward", 1e-6, least)


def run(info: Any, count: int = 3) -> Iterator[str]:
    """What differs of one entry: a line for each."""
    fn = found(info)
    if fn is None or info.name in UNWRITTEN:
        return
    for dtype in _dtypes(info):
        for sample in samples(info, dtype, count):
            yield from _differing(info, fn, sample)


def _dtypes(info: Any) -> list[torch.dtype]:
    """The first of these that the op takes, and complex numbers where it is differentiated for them."""
    every = (torch.float64, torch.complex128, torch.int64, torch.bool)
    taken = [d for d in every if info.supports_dtype(d, "cpu")]
    smooth = info.supports_autograd and torch.complex128 in info.supported_backward_dtypes("cpu")
    return [d for d in taken if d is taken[0] or d is torch.complex128 and smooth]


def _differing(info: Any, fn: Function, sample: Any) -> Iterator[str]:
    call, failed = attempt(Call, info, fn, sample)
    if failed is not None or not call.places or any(_sparse(v) for v in call.given):
        return
    with fb.no_grad():
        out, failed = attempt(call.of(()))
    if failed is not None or not out:  # what the database of ops itself finds
        return
    for kind in _kinds(info, call, out):
        _, error = attempt(kind, call)
        if error is not None:
            yield f"{title(info)}: {kind.__name__}: {called(sample)}: {said(error)}"


def _sparse(value: Any) -> bool:
    """No operand of a transform: torch maps over none, either."""
    return isinstance(value, fb.Tensor) and value.layout is not fb.strided


def _kinds(info: Any, call: Call, out: Sequence[fb.Tensor]) -> list[Callable[[Call], None]]:
    name = title(info)
    smooth = [o for o in out if o.dtype.category >= 2]
    known = not any(call.given[i].isnan().any() for i in call.floating)
    exact = all(o.dtype.to_real() is fb.float64 for o in smooth)
    filled = all(call.given[i].numel() for i in call.floating)
    if not (info.supports_autograd and call.floating and smooth and exact and filled):
        return [mapped]
    if name in SPARSE or call.sparse:
        return [mapped, forward_mode]
    if name in APART:
        return [mapped, per_sample]
    return [mapped, per_sample, forward_mode, *([second] if known and name not in ONCE else [])]


def main(names: list[str]) -> None:
    entries = differ = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for info in op_db:
            if not on_cpu(info) or names and not any(n in (info.name, title(info)) for n in names):
                continue
            lines = list(run(info))
            entries, differ = entries + 1, differ + bool(lines)
            for line in lines:
                print(line, flush=True)
    print(f"{entries - differ} of {entries} entries agree")


if __name__ == "__main__":
    main(sys.argv[1:])
