import subprocess
import sys


def test_conformance() -> None:
    kit = ["-m", "pytest", "--pyargs", "flambeau.plugins.conformance", "--flambeau-device=pylist"]
    assert subprocess.run([sys.executable, *kit]).returncode == 0
