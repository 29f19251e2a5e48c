"""Ops of your own, kernels for ops that exist, and the check of such an op."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

from flambeau.core.dtype import float64
from flambeau.core.library import (
    CustomOp,
    Library,
    composite,
    custom_op,
    define,
    fallthrough_kernel,
    get_ctx,
    impl,
    impl_abstract,
    infer_schema,
    op,
    register_autocast,
    register_autograd,
    register_fake,
    register_kernel,
    register_torch_dispatch,
    register_vmap,
    registered,
)  # fmt: skip
from flambeau.core.library.registering import find
from flambeau.core.tensor import Tensor
from flambeau.gradcheck import gradcheck

__all__ = [
    "CustomOp", "Library", "composite", "custom_op", "define", "fallthrough_kernel", "get_ctx", "impl",
    "impl_abstract", "infer_schema", "op", "opcheck", "register_autocast", "register_autograd", "register_fake",
    "register_kernel", "register_torch_dispatch", "register_vmap", "registered",
]  # fmt: skip

_TORCH_TESTS: Final = ("test_autograd_registration", "test_aot_dispatch_static", "test_aot_dispatch_dynamic")


def opcheck(
    op: Any, args: Sequence[Any], kwargs: dict[str, Any] | None = None, *,
    test_utils: str | Sequence[str] | None = None, raise_exception: bool = True,
    atol: float | None = None, rtol: float | None = None,
) -> dict[str, str]:  # fmt: skip  # Any: a CustomOp, its name, or what torch.ops has of it; its arguments
    """Check a custom op on sample arguments: inputs unchanged, fake shapes true, gradient right.

    ``test_utils`` chooses some of "test_schema", "test_faketensor" and "test_autograd"; torch's other names stand for
    the last. ``atol`` and ``rtol`` are for the gradient. Returns the outcome by test; AssertionError at the first
    failure unless ``raise_exception`` is False.
    """
    custom = find(op, "opcheck")
    close: dict[str, Any] = {name: value for name, value in (("atol", atol), ("rtol", rtol)) if value is not None}
    gradient = partial(_gradient, **close)
    tests: dict[str, Callable[..., None]] = {
        "test_schema": _unchanged, "test_faketensor": _fake, "test_autograd": gradient,
    }  # fmt: skip
    if isinstance(test_utils, str):
        test_utils = (test_utils,)
    unknown = set(test_utils or ()) - {*tests, *_TORCH_TESTS}
    if unknown:
        raise ValueError(f"opcheck: test_utils may name {', '.join([*tests, *_TORCH_TESTS])}; got {sorted(unknown)}")
    outcome = {}
    for name in test_utils or tests:
        try:
            tests.get(name, tests["test_autograd"])(custom, list(args), kwargs or {})
            outcome[name] = "SUCCESS"
        except Exception as error:
            if raise_exception:
                raise AssertionError(f"opcheck: {name} failed for {custom.name}: {error}") from error
            outcome[name] = f"{type(error).__name__}: {error}"
    return outcome


def _unchanged(custom: CustomOp[..., Any], args: list[Any], kwargs: dict[str, Any]) -> None:
    written = [a.mutated for a in custom.schema.arguments]
    before = [a.detach().clone() if isinstance(a, Tensor) else a for a in args]
    custom(*args, **kwargs)
    for i, (a, b) in enumerate(zip(args, before, strict=True)):
        if written[i] or not isinstance(a, Tensor):
            continue
        if not bool(((a.detach() == b) | (a.detach() != a.detach())).all()):
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


def _gradient(custom: CustomOp[..., Any], args: list[Any], kwargs: dict[str, Any], **close: Any) -> None:
    wanted = [i for i, a in enumerate(args) if isinstance(a, Tensor) and a.requires_grad]
    if not wanted:
        return
    precise = [
        a.detach().to(float64).requires_grad_(a.requires_grad) if isinstance(a, Tensor) and a.is_floating_point() else a
        for a in args
    ]
    gradcheck(lambda *xs: custom(*xs, **kwargs), precise, **close)
