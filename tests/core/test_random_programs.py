"""Random programs of views, writes and arithmetic: values and two orders of gradients as PyTorch has them.

Where PyTorch refuses a program that flambeau follows (it keeps copies of what is overwritten), central differences
decide.
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import flambeau as fb

torch = pytest.importorskip("torch")

PROGRAMS, STEPS = 300, (3, 12)
Step = Callable[[Any, Any, Any, int], Any]  # (T, a tensor, another, a number) -> a new tensor, or None: it wrote
Program = list[tuple[str, float, float, int]]


def _at(t: Any, k: int) -> int:
    return int(k % t.dim())


def _rows(t: Any) -> bool:
    return t.dim() > 0 and t.shape[0] > 1


VIEWS: dict[str, Step] = {
    "select": lambda T, t, u, k: t.select(_at(t, k), 0) if t.dim() > 1 else None,
    "narrow": lambda T, t, u, k: t.narrow(0, 1, t.shape[0] - 1) if _rows(t) else None,
    "every second": lambda T, t, u, k: t[::2] if t.dim() else None,
    "permute": lambda T, t, u, k: t.permute(*reversed(range(t.dim()))) if t.dim() > 1 else None,
    "reshape": lambda T, t, u, k: t.reshape(-1),
    "unsqueeze": lambda T, t, u, k: t.unsqueeze(0),
    "squeeze": lambda T, t, u, k: t.squeeze(),
    "expand": lambda T, t, u, k: t.unsqueeze(0).expand(2, *t.shape) if t.numel() < 50 else None,
    "diagonal": lambda T, t, u, k: t.diagonal() if t.dim() > 1 else None,
    "as_strided": lambda T, t, u, k: t.as_strided((2,), (1,)) if t.dim() == 2 and t.is_contiguous() else None,
    "detach": lambda T, t, u, k: t.detach(),
}
COPIES: dict[str, Step] = {
    "mul": lambda T, t, u, k: t * (u if t.shape == u.shape else 1.5),
    "add": lambda T, t, u, k: t + (u if t.shape == u.shape else 1.5),
    "sin": lambda T, t, u, k: t.sin(),
    "index": lambda T, t, u, k: t[[0, -1]] if t.dim() else None,
    "mask": lambda T, t, u, k: t[t > 0.1],
    "clone": lambda T, t, u, k: t.clone(),
    "flip": lambda T, t, u, k: t.flip(0) if t.dim() else None,
    "cat": lambda T, t, u, k: T.cat([t, t]) if t.dim() and t.numel() < 50 else None,
    "stack": lambda T, t, u, k: T.stack([t, u]) if t.shape == u.shape and t.numel() < 50 else None,
    "matmul": lambda T, t, u, k: t @ t.T if t.dim() == 2 else None,
    "sum": lambda T, t, u, k: t.sum(_at(t, k)) if t.dim() else None,
    "cumsum": lambda T, t, u, k: t.cumsum(0) if t.dim() else None,
    "where": lambda T, t, u, k: T.where(t > u, t, u * 2) if t.shape == u.shape else None,
    "times detached": lambda T, t, u, k: t * t.detach(),
}


def _put(t: Any, index: Any, value: Any) -> None:
    t[index] = value


def _without_gradients(T: Any, t: Any) -> None:
    with T.no_grad():
        t.mul_(1.1)


WRITES: dict[str, Callable[[Any, Any, Any, int], Any]] = {
    "add_": lambda T, t, u, k: t.add_(u if t.shape == u.shape else 0.3),
    "mul_": lambda T, t, u, k: t.mul_(u if t.shape == u.shape else 0.7),
    "copy_": lambda T, t, u, k: t.copy_(u) if t.shape == u.shape else None,
    "lerp_": lambda T, t, u, k: t.lerp_(u, 0.3) if t.shape == u.shape else None,
    "addcmul_": lambda T, t, u, k: t.addcmul_(u, u, value=0.2) if t.shape == u.shape else None,
    "rows": lambda T, t, u, k: _put(t, slice(1, None), u.sum() if k % 2 else 0.25) if _rows(t) else None,
    "one row": lambda T, t, u, k: _put(t, k % t.shape[0], u.mean()) if t.dim() and t.shape[0] else None,
    "masked": lambda T, t, u, k: _put(t, t > 0.2, 0.5 if k % 2 else u.sum()),
    "listed": lambda T, t, u, k: _put(t, T.tensor([0, -1]), u.mean() * 2) if _rows(t) else None,
    "column": lambda T, t, u, k: _put(t, (slice(None), 0), t[:, -1] * 2) if t.dim() > 1 else None,
    "scatter_": lambda T, t, u, k: t.scatter_(0, T.tensor([0]), u.sum().reshape(1)) if t.dim() == 1 else None,
    "index_add_": lambda T, t, u, k: t.index_add_(0, T.tensor([0]), t[:1].clone()) if t.dim() else None,
    "masked_fill_": lambda T, t, u, k: t.masked_fill_(t < 0, 0.1),
    "relu_": lambda T, t, u, k: t.relu_(),
    "exp_": lambda T, t, u, k: t.clamp_(max=1.0).exp_(),
    "sigmoid_": lambda T, t, u, k: t.sigmoid_(),
    "square": lambda T, t, u, k: t.mul_(t),
    "tril_": lambda T, t, u, k: t.tril_() if t.dim() == 2 else None,
    "zero_": lambda T, t, u, k: t.zero_() if k % 3 == 0 else None,
    "no_grad": lambda T, t, u, k: _without_gradients(T, t),
}
NAMES = [*VIEWS, *COPIES, *WRITES]
#: Steps after which the gradient is not that of the values.
STOPS = {"detach", "times detached", "no_grad"}


def program(seed: int) -> tuple[Program, list[Any]]:
    """Steps and inputs, the same for one seed."""
    rng, numbers = random.Random(seed), np.random.default_rng(seed)
    steps = [(rng.choice(NAMES), rng.random(), rng.random(), rng.randrange(10**6)) for _ in range(rng.randint(*STEPS))]
    return steps, [numbers.uniform(-1, 1, (3, 4)) for _ in range(2)]


def loss_of(T: Any, steps: Program, *leaves: Any) -> Any:
    """A number that depends on every tensor of the program."""
    pool = [x * 1 for x in leaves]
    for name, a, b, k in steps:
        t, u = pool[int(a * len(pool))], pool[int(b * len(pool))]
        if name in WRITES:
            WRITES[name](T, t, u, k)
        elif (made := (VIEWS.get(name) or COPIES[name])(T, t, u, k)) is not None:
            pool.append(made)
    return sum((p.tanh() * (i + 1)).sum() for i, p in enumerate(pool))


def run(T: Any, steps: Program, inputs: list[Any]) -> tuple[float, list[Any]]:
    """The number, and its first and second derivatives."""
    leaves = [T.tensor(v, requires_grad=True) for v in inputs]
    loss = loss_of(T, steps, *leaves)
    first = T.autograd.grad(loss, leaves, allow_unused=True, create_graph=True)
    found = [np.zeros((3, 4)) if g is None else g.detach().numpy().copy() for g in first]
    live = [g for g in first if g is not None and g.requires_grad]
    second = T.autograd.grad(sum((g * g).sum() for g in live), leaves, allow_unused=True) if live else (None, None)
    found += [np.zeros((3, 4)) if g is None else g.detach().numpy().copy() for g in second]
    return float(loss), found


def check_by_differences(steps: Program, inputs: list[Any], gradients: list[Any]) -> None:
    """Where the function is smooth: differences over two distances agree."""
    for which, (i, j) in [(w, p) for w in range(2) for p in ((0, 0), (1, 2), (2, 3))]:

        def at(step: float, which: int = which, i: int = i, j: int = j) -> float:
            moved = [v.copy() for v in inputs]
            moved[which][i, j] += step
            return run(fb, steps, moved)[0]

        near, far = ((at(e) - at(-e)) / (2 * e) for e in (1e-6, 2e-6))
        if abs(near - far) < 1e-5 * (1 + abs(near)):
            np.testing.assert_allclose(gradients[which][i, j], near, 1e-4, 1e-4, err_msg=f"input {which}, {steps}")


@pytest.mark.parametrize("part", range(10))
def test_as_in_pytorch(part: int) -> None:
    size = PROGRAMS // 10
    for seed in range(part * size, (part + 1) * size):
        steps, inputs = program(seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                wanted = run(torch, steps, inputs)
            except RuntimeError:
                wanted = None
        try:
            value, gradients = run(fb, steps, inputs)
        except RuntimeError:
            assert wanted is None, f"PyTorch can run {steps}"
            continue
        if wanted is not None:
            np.testing.assert_allclose(value, wanted[0], 1e-9, err_msg=f"{seed}: {steps}")
            for found, frozen in zip(gradients, wanted[1], strict=True):
                np.testing.assert_allclose(found, frozen, 1e-7, 1e-8, err_msg=f"{seed}: {steps}")
        elif not any(name in STOPS for name, *_ in steps):
            check_by_differences(steps, inputs, gradients)


@pytest.mark.parametrize("part", range(5))
def test_under_transforms(part: int) -> None:
    """What a batch gives is what its elements give, its gradients too; forward mode agrees with them."""
    vmap, grad, jvp = fb.func.vmap, fb.func.grad, fb.func.jvp
    for seed in range(part * 40, (part + 1) * 40):
        steps, inputs = program(seed)
        steps = [s for s in steps if s[0] != "mask"]  # whose shape depends on the values

        def fn(x: Any, w: Any, steps: Program = steps) -> Any:
            return loss_of(fb, steps, x, w)

        gradient, batch = grad(fn, argnums=(0, 1)), [fb.tensor(np.stack([v, v / 2, -v])) for v in inputs]
        elements = [[x[i].clone() for x in batch] for i in range(3)]
        try:
            alone = [gradient(*e) for e in elements]
        except RuntimeError:
            continue
        wanted = [fb.stack([g[k] for g in alone]) for k in range(2)]
        close(vmap(fn)(*batch), fb.stack([fn(*e) for e in elements]), seed)
        for found in (vmap(gradient)(*batch), grad(lambda *b: vmap(fn)(*b).sum(), argnums=(0, 1))(*batch)):
            close(found[0], wanted[0], seed)
            close(found[1], wanted[1], seed)
        if not any(name in STOPS for name, *_ in steps):
            directions = [x.cos() for x in batch]
            along = vmap(lambda a, b, c, d: jvp(fn, (a, b), (c, d))[1])(*batch, *directions)
            products = sum((g * d).flatten(1).sum(1) for g, d in zip(wanted, directions, strict=True))
            close(along, products, seed)


def close(found: Any, wanted: Any, seed: int) -> None:
    np.testing.assert_allclose(
        found.detach().numpy(), wanted.detach().numpy(), 1e-8, 1e-9, err_msg=f"{seed}: {program(seed)[0]}"
    )
