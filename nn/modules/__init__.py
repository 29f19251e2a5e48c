"""Where torch keeps what modules are made of: ``nn.modules.module`` and ``nn.modules.utils``."""

from __future__ import annotations

from flambeau.nn.modules import module, utils

__all__ = ["module", "utils"]
