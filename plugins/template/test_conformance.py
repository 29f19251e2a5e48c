import subprocess
import sys


def test_conformance() -> None:
    kit = ["-m", "pytest", "--pyargs", "flambeau.plugins.conformance", "--flambeau-device=pylist"]
    kit += ["--flambeau-dtypes=few", "--flambeau-sizes=small"]  # its loops are slow: leave both out for a real device
    assert subprocess.run([sys.executable, *kit]).returncode == 0
