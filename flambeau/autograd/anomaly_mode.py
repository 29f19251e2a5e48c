"""Where a backward makes a nan: the op that was called there."""

from flambeau.core.tape.modes import detect_anomaly, set_detect_anomaly

__all__ = ["detect_anomaly", "set_detect_anomaly"]
