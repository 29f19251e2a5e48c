"""Optimizers: what packages import from the modules of single ones."""
