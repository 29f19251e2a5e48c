"""cuDNN, which flambeau's cuda backend does not use. The switches are kept; nothing depends on them."""

from __future__ import annotations

from contextlib import AbstractContextManager
from types import SimpleNamespace

from flambeau.compat.flags import switched
from flambeau.compat.unchanged import no
from flambeau.core.tensor import Tensor

__all__ = [
    "allow_tf32", "benchmark", "benchmark_limit", "conv", "deterministic", "enabled", "flags", "fp32_precision",
    "is_acceptable", "is_available", "rnn", "set_flags", "version",
]  # fmt: skip

enabled = True
benchmark = deterministic = False
allow_tf32 = True
benchmark_limit: int | None = None
fp32_precision = "none"
conv, rnn = SimpleNamespace(fp32_precision="none"), SimpleNamespace(fp32_precision="none")
is_available = no


def version() -> int | None:
    """None: there is none."""
    return None


def is_acceptable(tensor: Tensor) -> bool:
    """False: no tensor is computed with by cuDNN."""
    return False


def flags(
    enabled: bool | None = False, benchmark: bool | None = False, benchmark_limit: int | None = 10,
    deterministic: bool | None = False, allow_tf32: bool | None = True, fp32_precision: str | None = "none",
) -> AbstractContextManager[None]:  # fmt: skip
    """Other switches inside a ``with`` block."""
    return switched(
        __name__, enabled=enabled, benchmark=benchmark, benchmark_limit=benchmark_limit, deterministic=deterministic,
        allow_tf32=allow_tf32, fp32_precision=fp32_precision,
    )  # fmt: skip


def set_flags(**values: bool | int | str | None) -> None:
    """Set switches by name; those that are None stay."""
    globals().update({name: value for name, value in values.items() if value is not None})
