"""The types of what functions with several results return: ``flambeau.return_types``.

Each is a named tuple; ``fb.return_types.max`` is that of ``x.max(0)``.

>>> isinstance(fb.ones(2, 2).max(0), fb.return_types.max)
True
"""

from __future__ import annotations

from flambeau.core.results import RETURN_TYPES

globals().update(RETURN_TYPES)
all_return_types = list(RETURN_TYPES.values())
__all__ = ["all_return_types", *RETURN_TYPES]
