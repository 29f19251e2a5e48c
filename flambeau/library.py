"""Ops of your own, and kernels for ops that exist."""

from flambeau.core.library import CustomOp, composite, custom_op, op, opcheck, register_kernel

__all__ = ["CustomOp", "composite", "custom_op", "op", "opcheck", "register_kernel"]
