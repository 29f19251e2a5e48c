"""flambeau: PyTorch's way of working on hardware of your own choice."""

from __future__ import annotations

from pathlib import Path as _Path

__version__ = "0.1.0"

# In a checkout the subpackages stand beside this folder (core/, nn/, ...); an installed copy has them inside.
_root = _Path(__file__).resolve().parent.parent
if not (_Path(__file__).parent / "core").is_dir() and (_root / "core" / "dtype.py").is_file():
    __path__.append(str(_root))
