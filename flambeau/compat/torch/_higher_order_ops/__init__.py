"""Operators that take functions; of torch's private ones, those that packages import."""
