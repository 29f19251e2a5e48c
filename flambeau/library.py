"""Ops of your own, kernels for ops that exist, and the check of such an op."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flambeau.core.dtype import float64
from flambeau.core.library import CustomOp, composite, custom_op, op, register_kernel
from flambeau.core.tensor import Tensor
from flambeau.gradcheck import gradcheck

__all__ = ["CustomOp", "composite", "custom_op", "op", "opcheck", "register_kernel"]


def opcheck(
    custom: CustomOp[..., Any], args: Sequence[Any], kwargs: dict[str, Any] | None = None, *,
    raise_exception: bool = True,
) -> dict[str, str]:  # fmt: skip
    """Check a custom op on sample arguments: inputs unchanged, fake shapes true, gradient right.

    Returns the outcome by test; AssertionError at the first failure unless ``raise_exception`` is False.
    """
    tests = {"test_schema": _unchanged, "test_faketensor": _fake, "test_autograd": _gradient}
    outcome = {}
    for name, test in tests.items():
        try:
            test(custom, list(args), kwargs or {})
            outcome[name] = "SUCCESS"
        except Exception as error:
            if raise_exception:
                raise AssertionError(f"opcheck: {name} failed for {custom.name}: {error}") from error
            outcome[name] = f"{type(error).__name__}: {error}"
    return outcome


def _unchanged(custom: CustomOp[..., Any], args: list[Any], kwargs: dict[str, Any]) -> None:
    before = [a.detach().clone() if isinstance(a, Tensor) else a for a in args]
    custom(*args, **kwargs)
    for i, (a, b) in enumerate(zip(args, before, strict=True)):
        if isinstance(a, Tensor) and not bool(((a.detach() == b) | (a.detach() != a.detach())).all()):
            raise AssertionError(f"argument {i} was changed by the op; custom ops must not write to their inputs")


def _fake(custom: CustomOp[..., Any], args: list[Any], kwargs: dict[str, Any]) -> None:
    if "meta" not in custom._kernels:
        return
    real = custom(*args, **kwargs)
    fake = custom(*[a.detach().to("meta") if isinstance(a, Tensor) else a for a in args], **kwargs)
    for r, f in zip(
        real if isinstance(real, tuple) else (real,), fake if isinstance(fake, tuple) else (fake,), strict=True
    ):
        if tuple(r.shape) != tuple(f.shape) or r.dtype is not f.dtype:
            raise AssertionError(f"register_fake gives {f.dtype} {tuple(f.shape)}, the op {r.dtype} {tuple(r.shape)}")


def _gradient(custom: CustomOp[..., Any], args: list[Any], kwargs: dict[str, Any]) -> None:
    wanted = [i for i, a in enumerate(args) if isinstance(a, Tensor) and a.requires_grad]
    if not wanted:
        return
    precise = [
        a.detach().to(float64).requires_grad_(a.requires_grad) if isinstance(a, Tensor) and a.is_floating_point() else a
        for a in args
    ]
    gradcheck(lambda *xs: custom(*xs, **kwargs), precise)
