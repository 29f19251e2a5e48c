import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize("borrow", ["1", "0"], ids=["as it runs", "MLX's kernels alone"])
def test_conformance(borrow: str) -> None:
    """A sample; all of it takes minutes."""
    kit = ["-m", "pytest", "--pyargs", "flambeau.plugins.conformance", "--flambeau-device=mlx:0"]
    kit += ["--flambeau-dtypes=few", "--flambeau-sizes=small", "--flambeau-sample=250"]
    assert subprocess.run([sys.executable, *kit], env={**os.environ, "FLAMBEAUMLX_BORROW": borrow}).returncode == 0
