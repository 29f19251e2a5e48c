"""Every op of the database under transforms of transforms: what a batch gives is what its elements give one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import numpy as np
import pytest

import flambeau as fb
from flambeau.core import dtype as dt
from flambeau.core.record import Op
from flambeau.plugins.conformance.opdb import Sample
from flambeau.plugins.conformance.opdb.run import as_tuple, dtypes_of, samples_of
from tests.ops.test_opdb import OPS, as_function, differentiable_places, with_samples

BATCH, SAMPLES = 3, 2
NAMES = with_samples(differentiable=True)
Case = tuple[Callable[..., Any], list[fb.Tensor], str]


def cases(op: Op) -> Iterator[Case]:
    """The op as a function of some operands, a batch of each, and a text: all operands mapped, then the first."""
    if dt.float64 not in dtypes_of(op):
        return
    variants = [islice(samples_of(op, dt.float64, v), SAMPLES) for v in range(BATCH)]
    for several in zip(*variants, strict=True):
        sample = several[0]
        places = differentiable_places(op, sample)
        if not sample.smooth or not places or not all(sample.args[i].size for i in places):
            continue
        for mapped in {tuple(places), (places[0],)}:
            yield _case(op, several, mapped)


def _case(op: Op, several: tuple[Sample, ...], mapped: tuple[int, ...]) -> Case:
    fn, _ = as_function(op, several[0], list(mapped))
    batches = [fb.tensor(np.stack([s.args[i] for s in several])) for i in mapped]
    return fn, batches, f"{op.name} of {several[0]} over operands {mapped}"


def element(batches: list[fb.Tensor], b: int) -> list[fb.Tensor]:
    return [x[b].clone() for x in batches]  # in memory of its own: as_strided sees the storage


def scalar(fn: Callable[..., Any]) -> Callable[..., Any]:
    """A number that depends on every result, with weights that detach() must hold fixed."""

    def total(*args: Any) -> Any:
        outs = [o.real * o.real + o.imag * o.imag if o.is_complex() else o for o in as_tuple(fn(*args))]
        return sum((o * o.detach().cos()).sum() for o in outs)

    return total


def close(found: Any, wanted: Any, text: str) -> None:
    for f, w in zip(as_tuple(found), as_tuple(wanted), strict=True):
        np.testing.assert_allclose(f.detach().numpy(), w.detach().numpy(), 1e-8, 1e-9, err_msg=text)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_of_a_batch(name: str) -> None:
    """vmap of grad and grad of vmap, against a loop."""
    for fn, batches, text in cases(OPS[name]):
        places = tuple(range(len(batches)))
        gradient = fb.func.grad(scalar(fn), argnums=places)
        loop = [gradient(*element(batches, b)) for b in range(BATCH)]
        wanted = tuple(fb.stack([one[k] for one in loop]) for k in places)
        close(fb.func.vmap(gradient)(*batches), wanted, f"vmap of the gradient of {text}")
        whole = lambda *xs, fn=fn: fb.func.vmap(scalar(fn))(*xs).sum()  # noqa: E731
        close(fb.func.grad(whole, argnums=places)(*batches), wanted, f"gradient of the vmap of {text}")


@pytest.mark.parametrize("name", NAMES)
def test_nested_batches_and_forward_mode(name: str) -> None:
    """vmap of vmap; forward mode over a batch, and a batch of forward modes."""
    for fn, batches, text in cases(OPS[name]):
        mapped, turned = fb.func.vmap(fn), [x.flip(0).clone() for x in batches]
        nested = fb.func.vmap(mapped)(*(fb.stack([x, y]) for x, y in zip(batches, turned, strict=True)))
        pairs = zip(as_tuple(mapped(*batches)), as_tuple(mapped(*turned)), strict=True)
        close(nested, tuple(fb.stack(list(pair)) for pair in pairs), f"vmap of vmap of {text}")
        tangents, count = [x.sin() for x in batches], len(batches)
        along = fb.func.vmap(lambda *a, fn=fn, n=count: fb.func.jvp(fn, a[:n], a[n:])[1])(*batches, *tangents)
        close(fb.func.jvp(mapped, tuple(batches), tuple(tangents))[1], along, f"forward mode over the vmap of {text}")
