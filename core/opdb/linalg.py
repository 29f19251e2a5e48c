"""Samples, references and error inputs of the linalg ops."""
