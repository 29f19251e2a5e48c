"""Checkpointing: memory for time. Backward runs a part of the forward again instead of keeping its values.

T. Chen, B. Xu, C. Zhang and C. Guestrin, "Training deep nets with sublinear memory cost", arXiv:1604.06174.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Literal, TypeVar

from flambeau.core.blame import checking, explain_functions
from flambeau.core.dtype import DType
from flambeau.core.errors import GradientError
from flambeau.core.generator import default_generator, fork_rng
from flambeau.core.state import enable_grad
from flambeau.core.tape.modes import saved_tensors_hooks
from flambeau.core.tensor import Tensor
from flambeau.nn.module import Module

__all__ = ["checkpoint", "checkpoint_sequential"]

T = TypeVar("T")
Context = contextlib.AbstractContextManager[object]


def checkpoint(
    function: Callable[..., T], *args: object, use_reentrant: bool | None = None,
    context_fn: Callable[[], tuple[Context, Context]] | None = None, preserve_rng_state: bool = True,
    determinism_check: Literal["default", "none"] = "default", **kwargs: object,
) -> T:  # fmt: skip
    """``function(*args, **kwargs)``, of which backward computes again what it needs.

    Args:
        function: must compute the same when it is called again.
        use_reentrant: accepted for PyTorch's sake; both forms are this one, which also serves ``autograd.grad``.
        context_fn: gives two context managers, for the forward and for the time that it runs again.
        preserve_rng_state: the second run draws the random numbers of the first, so that dropout is the same.
        determinism_check: "default" raises when the second run keeps values of other shapes or dtypes; "none".

    >>> x = fb.tensor(1.0, requires_grad=True)
    >>> checkpoint(lambda t: t.exp().square(), x).backward()
    >>> round(x.grad.item(), 3)
    14.778
    """
    if determinism_check not in ("default", "none"):
        raise ValueError(f"checkpoint: determinism_check must be 'default' or 'none', got {determinism_check!r}")
    first, again = (contextlib.nullcontext(), contextlib.nullcontext()) if context_fn is None else context_fn()
    rng = default_generator.state if preserve_rng_state else None
    frame = _Frame(lambda: function(*args, **kwargs), again, rng, determinism_check == "default")
    with first, saved_tensors_hooks(frame.pack, frame.unpack):
        return function(*args, **kwargs)


def checkpoint_sequential(
    functions: Module | Iterable[Callable[[T], T]], segments: int, input: T, use_reentrant: bool | None = None,
    preserve_rng_state: bool = True,
) -> T:  # fmt: skip
    """A Sequential, or a list of functions, in ``segments`` parts of which all but the last are checkpointed."""
    steps: list[Callable[[T], T]] = list(functions.children() if isinstance(functions, Module) else functions)
    if not 1 <= segments <= len(steps):
        raise ValueError(f"checkpoint_sequential: segments must be from 1 to {len(steps)}, got {segments}")
    size = len(steps) // segments

    def run(start: int, stop: int) -> Callable[[T], T]:
        def part(value: T) -> T:
            for step in steps[start:stop]:
                value = step(value)
            return value

        return part

    for i in range(segments - 1):
        input = checkpoint(run(i * size, (i + 1) * size), input, preserve_rng_state=preserve_rng_state)
    return run((segments - 1) * size, len(steps))(input)


class _Enough(Exception):
    """Ends the second run: everything that was kept is there again."""


class _Frame:
    """One checkpointed call: how many values its graph keeps, and those of the second run until they are read."""

    def __init__(self, call: Callable[[], object], again: Context, rng: tuple[int, int] | None, check: bool):
        self.call, self.again, self.rng, self.check = call, again, rng, check
        self.kept: list[tuple[tuple[int, ...], DType]] = []  # shape and dtype of each
        self.values: dict[int, Tensor] = {}

    def pack(self, t: Tensor) -> int:
        self.kept.append((tuple(t.shape), t.dtype))
        return len(self.kept) - 1

    def unpack(self, place: int) -> Tensor:
        if place not in self.values:
            self._run_again()
        # Freed when read: if the graph is kept, the next backward runs the function once more.
        return self.values.pop(place)

    def _run_again(self) -> None:
        found: list[Tensor] = []

        def collect(t: Tensor) -> int:
            found.append(t)
            if len(found) == len(self.kept):
                raise _Enough
            return len(found) - 1

        with (
            contextlib.suppress(_Enough),
            self._same_numbers(),
            self.again,
            enable_grad(),
            saved_tensors_hooks(collect, lambda i: found[i]),
        ):
            self.call()
        kept = [(tuple(t.shape), t.dtype) for t in found]
        if len(kept) != len(self.kept) or (self.check and kept != self.kept):
            raise GradientError(
                "checkpoint: the function computed something else when it ran again: at first it kept "
                f"{len(self.kept)} values {self.kept[:4]}, then {len(kept)} {kept[:4]}. It must do the same each time "
                "(the same branches and modes; preserve_rng_state=True for random numbers)"
            )
        self.values = dict(enumerate(found))

    @contextlib.contextmanager
    def _same_numbers(self) -> Iterator[None]:
        if self.rng is None:
            yield
            return
        with fork_rng():
            default_generator.state = self.rng
            yield


explain_functions(globals(), "checkpoint checkpoint_sequential", wrap=checking)
