"""What ``torch`` itself has beside flambeau's names."""

from __future__ import annotations

from flambeau.compat.namespace import VERSION

__version__ = f"{VERSION}+flambeau"
