"""Custom ops under torch's inner names."""
