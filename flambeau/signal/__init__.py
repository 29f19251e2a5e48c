"""Signals: ``flambeau.signal``, whose functions stand in :mod:`flambeau.signal.windows`."""

from flambeau.signal import windows

__all__ = ["windows"]
