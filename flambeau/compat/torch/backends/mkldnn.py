"""oneDNN, which flambeau does not use. The switches are kept; nothing depends on them."""

from __future__ import annotations

from contextlib import AbstractContextManager
from types import SimpleNamespace

from flambeau.compat.flags import Silent, switched
from flambeau.compat.unchanged import no

__all__ = [
    "VERBOSE_OFF", "VERBOSE_ON", "VERBOSE_ON_CREATION", "allow_tf32", "conv", "deterministic", "enabled", "flags",
    "fp32_precision", "is_available", "matmul", "rnn", "verbose",
]  # fmt: skip

VERBOSE_OFF, VERBOSE_ON, VERBOSE_ON_CREATION = 0, 1, 2

enabled = True
deterministic = False
allow_tf32 = True
fp32_precision = "none"
conv, rnn, matmul = (SimpleNamespace(fp32_precision="none") for _ in range(3))
is_available = is_acl_available = no


def flags(
    enabled: bool | None = False, deterministic: bool | None = False, allow_tf32: bool | None = True,
    fp32_precision: str | None = "none",
) -> AbstractContextManager[None]:  # fmt: skip
    """Other switches inside a ``with`` block."""
    return switched(
        __name__, enabled=enabled, deterministic=deterministic, allow_tf32=allow_tf32, fp32_precision=fp32_precision
    )


class verbose(Silent):  # PyTorch's name
    """A block in which oneDNN would tell what it does; RuntimeError unless it is to be silent."""

    library = "oneDNN"
