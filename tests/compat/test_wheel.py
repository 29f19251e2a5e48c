"""The wheel named torch."""

from __future__ import annotations

import base64
import hashlib
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from flambeau.compat import wheel
from tests.compat.programs import ROOT


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return wheel.build(tmp_path_factory.mktemp("wheel") / "new")


def test_the_wheel_is_as_the_format_wants_it(built: Path) -> None:
    assert built.name == "torch-2.13.0+flambeau-py3-none-any.whl"
    with zipfile.ZipFile(built) as files:
        names = set(files.namelist())
        metadata = files.read("torch-2.13.0+flambeau.dist-info/METADATA").decode()
        assert {"Name: torch", "Version: 2.13.0+flambeau", "Requires-Dist: flambeau"} <= set(metadata.splitlines())
        assert {"Requires-Dist: jinja2", "Requires-Dist: filelock"} <= set(metadata.splitlines())  # as PyTorch's
        rows = [r.split(",") for r in files.read("torch-2.13.0+flambeau.dist-info/RECORD").decode().splitlines()]
        assert {name for name, _, _ in rows} == names
        for name, digest, size in rows:
            if digest:
                data = files.read(name)
                assert len(data) == int(size)
                assert (
                    digest == "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
                )
        commands = files.read("torch-2.13.0+flambeau.dist-info/entry_points.txt").decode()
        assert "torchrun = flambeau.distributed.launch:torchrun" in commands.splitlines()
        stub = files.read("torch/nn/modules/conv.pyi").decode().splitlines()
        assert "from torch.nn import Conv2d as Conv2d" in stub
        assert "from flambeau.nn import *" in files.read("torch/nn/__init__.pyi").decode().splitlines()


def test_the_same_bytes_again(built: Path, tmp_path: Path) -> None:
    assert wheel.build(tmp_path).read_bytes() == built.read_bytes()


@pytest.mark.slow
def test_pip_installs_it_and_python_imports_it(built: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "env", with_pip=False)
    python = tmp_path / "env" / "bin" / "python"
    site = next((tmp_path / "env" / "lib").glob("python*/site-packages"))
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--target", str(site), str(built)],
        check=True,
    )
    packages = [p for p in sys.path if p.endswith("site-packages")]
    (site / "others.pth").write_text("\n".join([str(ROOT), *packages]))
    program = (
        "import importlib.metadata, torch, torch.nn.functional as F; from torch.nn.modules.conv import Conv2d; "
        "print(importlib.metadata.version('torch'), torch.__version__, F.relu(torch.tensor([-1.0])), "
        "Conv2d is torch.nn.Conv2d)"
    )
    done = subprocess.run([python, "-c", program], capture_output=True, text=True, env={"PATH": ""})
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "2.13.0+flambeau 2.13.0+flambeau tensor([0.]) True"
