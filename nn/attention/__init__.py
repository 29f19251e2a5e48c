"""Attention: masks that depend on positions, functions of scores, and which of its computations is used."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from flambeau.nn.attention import bias, flex_attention
from flambeau.nn.functional.attention_ways import SDPBackend, Ways, inside

__all__ = [
    "SDPBackend", "activate_flash_attention_impl", "bias", "current_flash_attention_impl", "flex_attention",
    "list_flash_attention_impls", "register_flash_attention_impl", "restore_flash_attention_impl", "sdpa_kernel",
]  # fmt: skip

WARN_FOR_UNFUSED_KERNELS = False
_implementations: dict[str, Callable[..., object]] = {}
_active: list[str] = []


@contextmanager
def sdpa_kernel(backends: SDPBackend | Sequence[SDPBackend], set_priority: bool = False) -> Iterator[None]:
    """Inside, scaled_dot_product_attention computes in one of these ways; with ``set_priority``, the first of them.

    With none of them, or with ERROR alone, it raises RuntimeError.

    >>> with fb.nn.attention.sdpa_kernel(fb.nn.attention.SDPBackend.MATH):
    ...     fb.nn.functional.scaled_dot_product_attention(fb.ones(1, 2, 4), fb.ones(1, 3, 4), fb.ones(1, 3, 5)).shape
    flambeau.Size([1, 2, 5])
    """
    chosen = [backends] if isinstance(backends, SDPBackend) else list(backends)
    if not all(isinstance(b, SDPBackend) for b in chosen):
        raise TypeError(f"sdpa_kernel: backends must be SDPBackend or a list of them, got {backends!r}")
    usable = [b for b in chosen if b is not SDPBackend.ERROR]
    token = inside.set(Ways(frozenset(usable), set_priority and usable[:1] == [SDPBackend.MATH]))
    try:
        yield
    finally:
        inside.reset(token)


def register_flash_attention_impl(impl: str, *, register_fn: Callable[..., object]) -> None:
    """Enter a function that puts kernels of attention into place; :func:`activate_flash_attention_impl` calls it."""
    _implementations[impl] = register_fn


def list_flash_attention_impls() -> list[str]:
    """The names that were registered.

    >>> fb.nn.attention.list_flash_attention_impls()
    []
    """
    return sorted(_implementations)


def activate_flash_attention_impl(impl: str) -> None:
    """Let a registered function put its kernels into place; ValueError for a name that nobody registered."""
    if impl not in _implementations:
        known = ", ".join(list_flash_attention_impls()) or "none"
        raise ValueError(f"activate_flash_attention_impl: {impl!r} is not registered; there are: {known}")
    restore_flash_attention_impl()
    _handles.append(_implementations[impl]())
    _active.append(impl)


_handles: list[object] = []


def restore_flash_attention_impl(_raise_warn: bool = True) -> None:
    """Take what was activated out of its place again."""
    while _handles:
        remove = getattr(_handles.pop(), "remove", None)
        if remove is not None:
            remove()
    _active.clear()


def current_flash_attention_impl() -> str | None:
    """The name of what is active, or None.

    >>> fb.nn.attention.current_flash_attention_impl()
    """
    return _active[-1] if _active else None
