"""The dialect's decompositions as a GPU's groups run them: CUDA's own are cuSOLVER's, other GPUs have these."""

from __future__ import annotations

import numpy as np
import pytest

from tests.backends.launched.test_decompositions import KINDS, check


@pytest.mark.parametrize("dtype", KINDS)
def test_decompositions_by_groups(shared, dtype):
    check(shared.backend, np.random.default_rng(3), dtype, 5)
