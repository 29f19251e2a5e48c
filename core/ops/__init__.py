"""The op records, by family. Importing this package declares every op."""

# ruff: noqa: F401  # a module declares its ops when it is imported
from __future__ import annotations

# Each stands after those whose ops its own are made of.
# isort: off
from flambeau.core.ops import storage, elementwise
from flambeau.core.ops import scan, reduce, moments, sort
from flambeau.core.ops import shape, parts, arrange, triangle, padding, convert, reform, construct
from flambeau.core.ops import index, scatter, mask, getitem, search
from flambeau.core.ops import linalg, products, einsum, arithmetic, systems, decompose, solve, norms
from flambeau.core.ops import special, statistics, standard, random, sampling, nn, pinning
# isort: on
