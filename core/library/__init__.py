"""Ops of your own: the records that the built-in ops use, and torch's ``custom_op`` and ``Library`` on top of them."""

from __future__ import annotations

from flambeau.core.declare import composite, op
from flambeau.core.library.custom import CustomOp, custom_op, get_ctx, registered, registered_in
from flambeau.core.library.registering import (
    Library,
    define,
    fallthrough_kernel,
    impl,
    impl_abstract,
    register_autocast,
    register_autograd,
    register_fake,
    register_kernel,
    register_torch_dispatch,
    register_vmap,
)  # fmt: skip
from flambeau.core.library.schemas import infer_schema

__all__ = [
    "CustomOp", "Library", "composite", "custom_op", "define", "fallthrough_kernel", "get_ctx", "impl",
    "impl_abstract", "infer_schema", "op", "register_autocast", "register_autograd", "register_fake",
    "register_kernel", "register_torch_dispatch", "register_vmap", "registered", "registered_in",
]  # fmt: skip
