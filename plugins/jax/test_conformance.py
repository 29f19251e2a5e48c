import subprocess
import sys

import pytest


@pytest.mark.parametrize("device", ["jax", "jaxlazy"])
def test_conformance(device: str) -> None:
    """A sample: each shape that comes is compiled, so that the whole kit takes an hour or two."""
    kit = ["-m", "pytest", "--pyargs", "flambeau.plugins.conformance", f"--flambeau-device={device}"]
    kit += ["--flambeau-dtypes=few", "--flambeau-sizes=small", "--flambeau-sample=120"]
    assert subprocess.run([sys.executable, *kit]).returncode == 0
