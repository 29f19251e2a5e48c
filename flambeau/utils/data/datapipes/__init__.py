"""Chains of datasets: each takes the one before, and is also a method of it."""
