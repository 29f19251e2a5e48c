"""Random bits on numpy: the shared body, block by block through the cache and over the threads."""

from __future__ import annotations

import numpy as np

from flambeau.backends.base import KernelTable
from flambeau.backends.xp import random as xp_random


def bind(table: KernelTable) -> None:
    xp_random.bind(table, np)
