"""Samples, references and error inputs of the shape ops."""
