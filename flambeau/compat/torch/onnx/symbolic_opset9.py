"""Exports of ops of one version of ONNX; there is no exporter."""
