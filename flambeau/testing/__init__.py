"""Comparing tensors in tests, and tensors to test with."""

from __future__ import annotations

from flambeau.testing.comparison import assert_allclose, assert_close
from flambeau.testing.creation import make_tensor
from flambeau.testing.filecheck import FileCheck

__all__ = ["FileCheck", "assert_allclose", "assert_close", "make_tensor"]
