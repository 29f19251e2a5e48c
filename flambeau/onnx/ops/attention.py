"""Attention, where its form is one that flambeau has as one op; other forms run by ONNX's own body of the op."""
