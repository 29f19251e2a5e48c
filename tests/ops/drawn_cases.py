"""Indexing, promotion, shapes and reductions in the torch API, of arguments drawn at random, the same in every run."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

import numpy as np

from tests.recorded import Case, answer

CASES: dict[str, Case] = {}
EACH = 50  # so many draws make a case
Draw = Callable[[np.random.Generator], tuple[Any, ...]]
INTEGERS, REALS = (np.uint8, np.int16, np.int64), (np.float32, np.float64)
DTYPES = (np.bool_, *INTEGERS, *REALS, np.complex64)


def drawn(count: int, draw: Draw, but: tuple[int, ...] = ()) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Enter ``fn(T, *draw(rng))``, ``count`` times ``but`` for some numbers."""

    def enter(fn: Callable[..., Any]) -> Callable[..., Any]:
        for start in range(0, count, EACH):
            numbers = [n for n in range(start, start + EACH) if n not in but]
            CASES[f"{fn.__name__} {start}"] = lambda T, numbers=numbers: _answers(T, fn, draw, numbers)
        return fn

    return enter


def _answers(T: Any, fn: Callable[..., Any], draw: Draw, numbers: list[int]) -> dict[str, Any]:
    found = {}
    for number in numbers:
        given = draw(np.random.default_rng([zlib.crc32(fn.__name__.encode()), number]))
        one = answer(T, lambda T, given=given: fn(T, *given))
        found[f"{number} of {', '.join(map(_brief, given))}"] = "raises" if _raises(one) else one
    return found


def _raises(one: Any) -> bool:
    return isinstance(one, dict) and "raises" in one and bool(
        {"RuntimeError", "TypeError", "ValueError", "IndexError"}.intersection(one["raises"])
    )  # fmt: skip


def _brief(value: Any) -> str:
    return f"{value.dtype} {value.tolist()}" if isinstance(value, np.ndarray) else repr(value)


# -- what is drawn -----------------------------------------------------------------------------------
def shape(rng: Any, dims: int = 3, low: int = 0, side: int = 3, least: int = 0) -> tuple[int, ...]:
    return tuple(rng.integers(low, side + 1, rng.integers(least, dims + 1)).tolist())


def array(rng: Any, dtypes: Any = DTYPES, of: tuple[int, ...] | None = None) -> Any:
    """Small whole numbers, so that sums are exact."""
    dtype = dtypes[rng.integers(len(dtypes))]
    return rng.integers(0, 2 if dtype is np.bool_ else 6, shape(rng) if of is None else of).astype(dtype)


def filled(rng: Any, dtypes: Any = DTYPES) -> Any:
    """With elements: PyTorch does not look at indices of nothing."""
    return array(rng, dtypes, shape(rng, low=1))


def index(rng: Any) -> tuple[Any, ...]:
    entries = [_entry(rng) for _ in range(rng.integers(0, 4))]
    return tuple(e for i, e in enumerate(entries) if e is not Ellipsis or not any(v is Ellipsis for v in entries[:i]))


def _entry(rng: Any) -> Any:
    def end() -> int | None:
        return None if rng.random() < 0.3 else int(rng.integers(-4, 5))

    kinds: tuple[Callable[[], Any], ...] = (
        lambda: int(rng.integers(-3, 3)),
        lambda: slice(end(), end(), None if rng.random() < 0.3 else int(rng.integers(1, 4))),
        lambda: None,
        lambda: Ellipsis,
        lambda: bool(rng.integers(2)),
        lambda: rng.integers(-2, 2, rng.integers(1, 4)).tolist(),
        lambda: rng.integers(-2, 2, shape(rng, 2, 0, 2)),
        lambda: rng.integers(0, 2, shape(rng, 2, 1, 3, 1)).astype(bool),
    )
    return kinds[rng.integers(len(kinds))]()


def tensors(T: Any, index: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(T.tensor(v) if isinstance(v, np.ndarray) else v for v in index)


#: Draws of wrong indices for no elements, at which PyTorch does not look.
UNSEEN = {"indexing": (195,), "assignment": (103,)}


# -- indexing ----------------------------------------------------------------------------------------
@drawn(300, lambda rng: (filled(rng), index(rng)), UNSEEN["indexing"])
def indexing(T: Any, x: Any, index: Any) -> Any:
    return T.tensor(x)[tensors(T, index)]


@drawn(
    200, lambda rng: (filled(rng, (np.int64, np.float32)), index(rng), int(rng.integers(0, 10))), UNSEEN["assignment"]
)
def assignment(T: Any, x: Any, index: Any, value: int) -> Any:
    t = T.tensor(x)
    t[tensors(T, index)] = value
    return t


@drawn(100, lambda rng: (filled(rng, (np.float64,)), index(rng)))
def gradients_of_indexing(T: Any, x: Any, index: Any) -> Any:
    t = T.tensor(x).requires_grad_()
    part = t[tensors(T, index)]
    (part * part).sum().backward()
    return t.grad


# -- arithmetic --------------------------------------------------------------------------------------
def choice(rng: Any, *values: Any) -> Any:
    return values[rng.integers(len(values))]


def _pair(rng: Any) -> tuple[Any, ...]:
    name = choice(rng, "add", "mul", "true_divide", "eq")
    x, y = array(rng, of=(3,)), array(rng, of=choice(rng, (), (3,)))
    return x, np.asarray(np.maximum(y, name == "true_divide"), y.dtype), name


def _number(rng: Any) -> tuple[Any, ...]:
    x = array(rng, of=(3,))
    y = choice(rng, bool(rng.integers(2)), int(rng.integers(-3, 4)), float(np.float16(rng.uniform(-2, 2))), 1 + 2j)
    names = ("__add__", "__radd__", "__mul__", "__truediv__", "__pow__")
    usable = not isinstance(y, complex) and y > 0 and x.dtype != bool  # division and powers of what is left
    return x if x.dtype == bool else x + 1, y, choice(rng, *names[: 5 if usable else 3])


@drawn(200, _pair)
def promotion_of_tensors(T: Any, x: Any, y: Any, name: str) -> Any:
    return getattr(T, name)(T.tensor(x), T.tensor(y))


@drawn(200, _number)
def promotion_of_numbers(T: Any, x: Any, y: Any, name: str) -> Any:
    return getattr(T.tensor(x), name)(y)


@drawn(100, lambda rng: (array(rng, INTEGERS, (3,)), array(rng, INTEGERS, (3,)),
                         choice(rng, "floor_divide", "remainder", "fmod")))  # fmt: skip
def division_of_integers(T: Any, x: Any, y: Any, name: str) -> Any:
    """With a 0 among the divisors it raises."""
    return getattr(T, name)(T.tensor(x), T.tensor(y))


# -- shapes and reductions ---------------------------------------------------------------------------
def _sizes(rng: Any, low: int = -2) -> tuple[Any, ...]:
    """In half of them the sizes may well fit."""
    x = array(rng, (np.float32,))
    fitting = [s for s in rng.permutation(x.shape).tolist() if rng.random() < 0.8]
    return x, [*fitting, -1] if rng.random() < 0.5 else rng.integers(low, 5, rng.integers(0, 4)).tolist()


@drawn(150, _sizes)
def reshape(T: Any, x: Any, sizes: Any) -> Any:
    return T.tensor(x).reshape(sizes)


@drawn(150, _sizes)
def view(T: Any, x: Any, sizes: Any) -> Any:
    return T.tensor(x).view(sizes)


def _expanded(rng: Any) -> tuple[Any, ...]:
    """No size of 0 or -2, of which PyTorch makes tensors of negative sizes."""
    x = array(rng, (np.float32,))
    sizes = [choice(rng, n, -1, 3) if n != 1 else choice(rng, 1, 2, 3, -1) for n in x.shape]
    return x, [n or 1 for n in rng.integers(1, 3, rng.integers(0, 2)).tolist() + sizes]


@drawn(150, _expanded)
def expand(T: Any, x: Any, sizes: Any) -> Any:
    return T.tensor(x).expand(sizes)


def _reduction(rng: Any) -> tuple[Any, ...]:
    """None that flambeau takes and PyTorch does not."""
    names = {"sum", "prod", "mean", "any", "all", "amax", "amin", "argmax", "logsumexp", "nansum", "median", "std"}
    x = array(rng)
    dim = choice(rng, None, int(rng.integers(-3, 4)), rng.integers(-2, 3, rng.integers(0, 3)).tolist())
    if x.dtype == bool:
        names -= {"argmax", "median"}
    if dim is None:
        names -= {"logsumexp", "median", "prod"}
    if isinstance(dim, list):
        names -= {"argmax", "median", "prod"}
    if x.dtype.kind == "c":
        names -= {"nansum", "std"} if x.size else {"nansum", "std", "amax", "amin"}
    if dim == []:
        names -= {"logsumexp", "median", "std"}
    return x, choice(rng, *sorted(names)), dim, bool(rng.integers(2))


@drawn(300, _reduction)
def reduction(T: Any, x: Any, name: str, dim: Any, keepdim: bool) -> Any:
    return getattr(T, name)(T.tensor(x), dim=dim, keepdim=keepdim)
