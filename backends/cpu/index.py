"""Indexing on numpy: the shared bodies."""

from __future__ import annotations

import numpy as np

from flambeau.backends.base import KernelTable
from flambeau.backends.xp import index as xp_index


def bind(table: KernelTable) -> None:
    xp_index.bodies.bind(table, np)
