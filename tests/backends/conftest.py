"""Settings of the property tests: no deadline, since the machines of CI are shared and slow at times."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("shared", deadline=None)
settings.load_profile("shared")
