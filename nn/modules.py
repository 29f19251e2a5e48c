"""Where torch keeps hooks on every module: ``nn.modules.module.register_module_forward_hook`` and its relatives."""

from __future__ import annotations

from flambeau.nn import hooks as module

__all__ = ["module"]
