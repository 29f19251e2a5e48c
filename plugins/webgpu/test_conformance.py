import subprocess
import sys


def test_conformance() -> None:
    """A sample of the kit, for each text is compiled once in a process; all of it takes half an hour."""
    kit = ["-m", "pytest", "--pyargs", "flambeau.plugins.conformance", "--flambeau-device=webgpu:0"]
    kit += ["--flambeau-sizes=small", "--flambeau-sample=150"]
    assert subprocess.run([sys.executable, *kit]).returncode == 0
