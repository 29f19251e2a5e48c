import subprocess
import sys


def test_conformance() -> None:
    """A sample: the quick round of the whole kit takes six minutes on a core, all dtypes several times that."""
    kit = ["-m", "pytest", "--pyargs", "flambeau.plugins.conformance", "--flambeau-device=webgpu:0"]
    kit += ["--flambeau-sizes=small", "--flambeau-sample=100"]
    assert subprocess.run([sys.executable, *kit]).returncode == 0
