"""torch's database of ops under the transforms of flambeau.func: vmap against a loop, forward mode against reverse.

``python -m tests.ops.op_transforms [NAME ...]`` prints what differs, and how many entries agree.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch.testing._internal.common_methods_invocations import op_db

import flambeau as fb
from flambeau.core.tree import flatten, unflatten
from tests.ops.op_database import UNDETERMINED, attempt, called, counterpart, found, in_flambeau, samples, said, title

BATCH = 2
Function = Callable[..., Any]


class Differs(AssertionError):
    """What is under a transform is not what is without it."""


class Call:
    """One sample of an entry as a function of its tensors."""

    def __init__(self, info: Any, fn: Any, sample: Any):
        given, self.structure = flatten(counterpart((sample.input, tuple(sample.args), dict(sample.kwargs))))
        self.process = in_flambeau(sample.output_process_fn_grad)
        self.fn, self.given = fn, given
        self.places = [i for i, v in enumerate(given) if isinstance(v, fb.Tensor) and v.ndim < 6]
        self.floating = [i for i in self.places if given[i].dtype.category >= 2]

    def of(self, places: Sequence[int], floating: bool = False) -> Function:
        def run(*xs: fb.Tensor) -> tuple[fb.Tensor, ...]:
            given = list(self.given)
            for i, x in zip(places, xs, strict=True):
                given[i] = x
            first, args, kw = unflatten(given, self.structure)
            out, _ = flatten(self.process(self.fn(first, *args, **kw)))
            return tuple(o for o in out if isinstance(o, fb.Tensor) and (not floating or o.dtype.category >= 2))

        return run

    def batch(self, i: int, dim: int) -> fb.Tensor:
        """Different elements, each of them valid where the given one is."""
        x = self.given[i].detach()
        other = x * 0.75 if x.dtype.category >= 2 else x.clone()
        return fb.stack([x, other], dim)


def close(got: Any, wanted: Any, text: str, tolerance: float = 1e-7) -> None:
    if len(got) != len(wanted):
        raise Differs(f"{text}: {len(got)} results, not {len(wanted)}")
    for g, w in zip(got, wanted, strict=True):
        if tuple(g.shape) != tuple(w.shape) or g.dtype is not w.dtype:
            raise Differs(f"{text}: {g.dtype}{list(g.shape)}, not {w.dtype}{list(w.shape)}")
        a, b = (np.asarray(t.detach().numpy()) for t in (g, w))
        scale = max(1.0, float(np.abs(b[np.isfinite(b)]).max(initial=0)) if b.dtype.kind in "fc" else 1.0)
        if not np.allclose(a, b, tolerance, tolerance * scale, equal_nan=True):
            raise Differs(f"{text}: off by {np.nanmax(np.abs(a.astype(complex) - b.astype(complex))):.3g}")


def weights(x: fb.Tensor, seed: int) -> fb.Tensor:
    rng = np.random.default_rng(seed)
    values = rng.standard_normal(tuple(x.shape))
    if x.is_complex():
        values = values + 1j * rng.standard_normal(tuple(x.shape))
    return fb.tensor(values).to(x.dtype)


# -- vmap --------------------------------------------------------------------------------------------
def mapped(call: Call) -> None:
    """All operands mapped, then each alone, with the batch in front or behind; a batch of batches."""
    ways = {tuple(call.places): 0, (call.places[0],): -1, (call.places[-1],): 0}
    for places, dim in ways.items():
        fn = call.of(places)
        stacked = [call.batch(i, dim) for i in places]
        loop = [fn(*[x.select(dim, b).clone() for x in stacked]) for b in range(BATCH)]
        if not loop[0]:
            return
        if any(a.shape != b.shape for a, b in zip(*loop, strict=True)):
            continue
        wanted = [fb.stack(list(column)) for column in zip(*loop, strict=True)]
        close(fb.vmap(fn, in_dims=dim)(*stacked), wanted, f"vmap over {places} at {dim}")
    nested = fb.vmap(fb.vmap(fn, dim), 0)(*[fb.stack([x, x]) for x in stacked])
    close(nested, [fb.stack([w, w]) for w in wanted], "vmap of vmap")


# -- derivatives -------------------------------------------------------------------------------------
def products(call: Call) -> tuple[Function, list[fb.Tensor], list[fb.Tensor]]:
    fn = call.of(call.floating, floating=True)
    xs = [call.given[i].detach() for i in call.floating]
    return fn, xs, [weights(x, i) for i, x in enumerate(xs)]


def inner(xs: Any, ys: Any) -> float:
    return sum(float((x * y.conj()).real.sum()) if x.is_complex() else float((x * y).sum()) for x, y in zip(xs, ys, strict=True))


def forward_mode(call: Call) -> None:
    """<u, J t> is <Jᴴ u, t>, and forward mode leaves the values alone."""
    fn, xs, ts = products(call)
    value, moved = fb.func.jvp(fn, tuple(xs), tuple(ts))
    plain, pull = fb.func.vjp(fn, *xs)
    close(value, plain, "the value of jvp")
    us = tuple(weights(o, 7 + i) for i, o in enumerate(plain))
    a, b = inner(moved, us), inner(pull(us), ts)
    if not np.isclose(a, b, 1e-7, 1e-7 * max(1, abs(b)), equal_nan=True):
        raise Differs(f"jvp {a:.9g}, vjp {b:.9g}")


def per_sample(call: Call) -> None:
    """vmap of grad and of jvp against loops."""
    fn, xs, ts = products(call)
    batches = [call.batch(i, 0) for i in call.floating]
    for name, derived in (("grad", gradient(fn, len(xs))), ("jvp", lambda *a: fb.func.jvp(fn, a, tuple(ts))[1])):
        loop = [derived(*[x[b].clone() for x in batches]) for b in range(BATCH)]
        close(fb.vmap(derived)(*batches), [fb.stack(list(c)) for c in zip(*loop, strict=True)], f"vmap of {name}", 1e-6)


def gradient(fn: Function, count: int) -> Function:
    def total(*xs: fb.Tensor) -> fb.Tensor:
        outs = [fb.view_as_real(o.resolve_conj()) if o.is_complex() else o for o in fn(*xs)]
        return sum((o * o * weights(o, 3).to(o.dtype)).sum().double() for o in outs)  # type: ignore[return-value]

    return fb.func.grad(total, argnums=tuple(range(count)))


def second(call: Call) -> None:
    """Hessian-vector products: forward over reverse, reverse over forward, reverse over reverse."""
    fn, xs, ts = products(call)

    def total(*xs: fb.Tensor) -> fb.Tensor:
        outs = [fb.view_as_real(o) if o.is_complex() else o for o in fn(*xs)]
        return sum((o * o * weights(o, 3)).sum().double() for o in outs)  # type: ignore[return-value]

    nums = tuple(range(len(xs)))
    first = fb.func.grad(total, argnums=nums)
    one = fb.func.jvp(first, tuple(xs), tuple(ts))[1]
    two = fb.func.vjp(first, *xs)[1](tuple(ts))
    three = fb.func.grad(lambda *a: fb.func.jvp(total, a, tuple(ts))[1], argnums=nums)(*xs)
    close(one, two, "forward over reverse", 1e-6)
    close(three, two, "reverse over forward", 1e-6)


def run(info: Any, count: int = 3, kinds: Sequence[str] = ("mapped", "forward_mode", "per_sample", "second")) -> Iterator[str]:
    """What differs of one entry: a line for each."""
    fn = found(info)
    dtype = next((d for d in (torch.float64, torch.complex128, torch.int64, torch.bool) if info.supports_dtype(d, "cpu")), None)
    if fn is None or dtype is None or info.name in UNDETERMINED:
        return
    for sample in islice(samples(info, dtype), count):
        call, failed = attempt(Call, info, fn, sample)
        if failed is not None or not call.places:
            continue
        with fb.no_grad():
            out, failed = attempt(call.of(()))
        if failed is not None or not out:
            continue
        for kind in kinds:
            if kind != "mapped" and not (info.supports_autograd and call.floating and any(o.dtype.category >= 2 for o in out)):
                continue
            _, error = attempt(globals()[kind], call)
            if error is not None:
                yield f"{title(info)}: {kind}: {called(sample, dtype)}: {said(error)}"


def main(names: list[str]) -> None:
    entries = differ = 0
    import time
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for info in op_db:
            if names and not any(n in (info.name, title(info)) for n in names):
                continue
            t0 = time.time()
            lines = list(run(info))
            entries, differ = entries + 1, differ + bool(lines)
            for line in lines:
                print(line, flush=True)
            if time.time() - t0 > 3:
                print(f"   SLOW {title(info)} {time.time()-t0:.1f}", flush=True)
    print(f"{entries - differ} of {entries} entries agree")


if __name__ == "__main__":
    main(sys.argv[1:])
