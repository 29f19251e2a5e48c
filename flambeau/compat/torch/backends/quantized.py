"""Engines of quantized ops: none."""

engine = "none"
supported_engines = ["none"]
