"""How a thread's backward works: what of torch's switches there is to choose here."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Self

from flambeau.core.errors import GradientError


class _Policy(threading.local):
    """A thread's choices."""

    layout = True  # whether a gradient gets the strides of its tensor
    threads = True


policy = _Policy()


class _Choice:
    """Sets one of the choices at once; as a context manager, until its end."""

    name: str

    def __init__(self, mode: bool):
        if not isinstance(mode, bool):
            raise TypeError(f"{type(self).__name__}: expects a bool, got {mode!r} ({type(mode).__name__})")
        self.prev: bool = getattr(policy, self.name)
        self.mode = mode
        setattr(policy, self.name, mode)

    def clone(self) -> Self:
        """Another one of the same mode, which sets it at once."""
        return type(self)(self.mode)

    def __enter__(self) -> Self:
        setattr(policy, self.name, self.mode)
        return self

    def __exit__(self, *exc: object) -> None:
        setattr(policy, self.name, self.prev)


class set_multithreading_enabled(_Choice):
    """Whether backward may use other threads; the engine here walks in the calling thread either way.

    >>> with fb.autograd.set_multithreading_enabled(False):
    ...     fb.autograd.is_multithreading_enabled()
    False
    """

    name = "threads"


class enforce_grad_layout_policy(_Choice):
    """Whether ``grad`` gets the strides of its tensor, at the cost of a copy where it came in others.

    >>> x = fb.zeros(3, 2).t().requires_grad_()
    >>> with fb.autograd.enforce_grad_layout_policy(False):
    ...     (x * fb.ones(2, 3)).sum().backward()
    >>> x.grad.stride()
    (3, 1)
    """

    name = "layout"

    def __init__(self, enable: bool = True):
        super().__init__(enable)


def is_multithreading_enabled() -> bool:
    """Whether backward may use other threads in this thread."""
    return policy.threads


def is_view_replay_enabled() -> bool:
    """Whether a view of a changed base is made again by its own ops: always, here."""
    return True


class _Callbacks(threading.local):
    """What is to be called when the backward that runs in this thread is done; None where none runs."""

    waiting: list[Callable[[], object]] | None = None
    outermost: list[Callable[[], object]] | None = None  # where one runs in another, of the one that was called first


callbacks = _Callbacks()


def queue_callback(callback: Callable[[], object], outermost: bool = False) -> None:
    """Call ``callback`` when the backward that runs now is done, with ``outermost`` the one around it, if any."""
    if callbacks.waiting is None:
        raise GradientError("queue_callback: final callbacks can only be installed during backward pass")
    if not callable(callback):
        raise TypeError(f"queue_callback: expects a function, got {type(callback).__name__}")
    waiting = callbacks.waiting
    if outermost and callbacks.outermost is not None:
        waiting = callbacks.outermost
    waiting.append(callback)
