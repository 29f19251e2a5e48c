"""The op records, by family. Importing this package declares every op."""

# ruff: noqa: F401  # a module declares its ops when it is imported
from __future__ import annotations

# Each stands after those whose ops its own are made of.
# isort: off
from flambeau.core.ops import storage, elementwise
from flambeau.core.ops import scan, reduce, sort, variance
from flambeau.core.ops import shape, expand, triangle, padding, convert, construct, joining
from flambeau.core.ops import views, inplace_views
from flambeau.core.ops import index, extremes, scatter, mask, entries, getitem, search
from flambeau.core.ops import matmul, products, einsum, arithmetic, systems, decompose, solve, linalg
from flambeau.core.ops import checked, ldl, reflections, older
from flambeau.core.ops import transcendental, special, polynomials, statistics, random, sampling, lowrank, nn, gamma
from flambeau.core.ops import pinning, fourier, windows, stft
from flambeau.core.ops import copies, segments, hashing, fake_quantize, memory
from flambeau.core.ops import array_api
# isort: on
