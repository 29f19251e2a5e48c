"""Samples, references and error inputs of the nn ops."""
