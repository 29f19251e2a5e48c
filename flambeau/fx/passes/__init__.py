"""What is done with graphs: shapes found, modules split."""

from __future__ import annotations

from flambeau.fx.passes import shape_prop, split_module

__all__ = ["shape_prop", "split_module"]
