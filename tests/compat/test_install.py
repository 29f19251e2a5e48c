"""`import torch` gives flambeau: in this process, in its children, from outside; another torch is not mixed in."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.compat.programs import ROOT, answers, run

#: One program for many questions: each start of Python costs a second on a busy machine.
PROGRAM = """
import importlib.metadata, importlib.util, inspect, pickle, sys, types
import torch, flambeau
import torch.autograd.functional
import torch.nn.functional as F
from torch.optim.adam import Adam
print(torch.ones(2), torch.float32, torch.ones(2).shape, torch.device("cpu"))
print(torch.__version__, importlib.metadata.version("torch"))
print(isinstance(torch, types.ModuleType), torch.__path__ == [torch.__file__.rpartition("/")[0]], torch.__spec__.name)
print(importlib.util.find_spec("torch.nn.modules.conv").name, importlib.util.find_spec("torch.no_such"))
print(torch.nn.modules.conv.Conv2d is torch.nn.Conv2d is flambeau.nn.Conv2d, torch.Tensor is flambeau.Tensor)
print(Adam is torch.optim.Adam, torch.nn.modules.batchnorm._BatchNorm in torch.nn.BatchNorm2d.__mro__)
print(hasattr(torch, "fastpath"), hasattr(torch, "demo"), hasattr(torch.nn, "no_such"), hasattr(torch, "relu"))
print("Conv2d" in dir(torch.nn), "Conv2d" in vars(torch.nn), "SGD" in torch.optim.__dict__, torch.torch is torch)
print(pickle.loads(pickle.dumps(torch.nn.Linear)) is torch.nn.Linear, pickle.loads(pickle.dumps(torch.float16)))
modules = [torch.get_device_module(d) for d in (None, "cpu", torch.device("cuda:0"))]
print(modules == [torch.cpu, torch.cpu, torch.cuda])
try:
    torch.get_device_module("meta")
except RuntimeError as error:
    print(error)
from torch.nn import *
print(Conv2d is torch.nn.Conv2d)
before, F.relu = F.relu, len
print(flambeau.nn.functional.relu is len)
F.relu = before
torch.backends.cudnn.benchmark = True
print(torch.backends.cudnn.benchmark, torch.backends.cudnn.is_available())
try:
    import torch.no_such
except ModuleNotFoundError as error:
    print(error)
"""


def test_torch_is_flambeau_in_this_process() -> None:
    assert answers(PROGRAM) == [
        "tensor([1., 1.]) torch.float32 torch.Size([2]) cpu",
        "2.13.0+flambeau 2.13.0",
        "True True torch",
        "torch.nn.modules.conv None",
        "True True",
        "True True",
        "False False False True",
        "True True True True",
        "True torch.float16",
        "True",
        "get_device_module: there is no module torch.meta; torch.accelerator serves every device",
        "True",
        "True",
        "True False",
        "No module named 'torch.no_such'",
    ]


def test_an_installed_torch_is_not_mixed_in() -> None:
    """A module of that name stands for it: nothing looks at what is in it."""
    program = """
import sys, types
sys.modules["torch"] = types.ModuleType("torch")
sys.modules["torch"].__file__ = "elsewhere/torch/__init__.py"
import flambeau.compat.torch
flambeau.compat.torch.install()
"""
    done = run("-c", program)
    assert done.returncode == 1
    assert "RuntimeError: flambeau.compat.torch.install: torch is imported already, from elsewhere/torch" in done.stderr


def test_a_device_that_a_script_names_is_another_by_alias() -> None:
    program = "import torch\nprint(torch.ones(2, device='cuda:0').device, torch.device('cuda').type)"
    assert answers(program, FLAMBEAU_DEVICE_ALIAS="cuda=strict") == ["strict:0 strict"]


SCRIPT = """
import multiprocessing, subprocess, sys

def work(queue):
    import torch
    queue.put(torch.__version__)

if __name__ == "__main__":
    import torch
    print(sys.argv[1:], torch.__version__)
    print(subprocess.check_output([sys.executable, "-c", "import torch; print(torch.__version__)"], text=True).strip())
    for method in sys.argv[1].split(","):
        context = multiprocessing.get_context(method)
        queue = context.Queue()
        process = context.Process(target=work, args=(queue,))
        process.start()
        print(method, queue.get(timeout=60))
        process.join()
    if "--fail" in sys.argv:
        raise LookupError("on purpose")
    sys.exit(7)
"""


def test_a_script_is_run_as_python_runs_it(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    done = run("-m", "flambeau", "run", str(script), "spawn", "-m", "--help")
    assert done.returncode == 7, done.stderr
    assert done.stdout.splitlines() == [
        "['spawn', '-m', '--help'] 2.13.0+flambeau",
        "2.13.0+flambeau",
        "spawn 2.13.0+flambeau",
    ]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
def test_children_of_every_kind_and_tracebacks(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    done = run("-m", "flambeau", "run", str(script), "fork,forkserver", "--fail")
    assert done.returncode == 1
    assert done.stdout.splitlines()[2:] == ["fork 2.13.0+flambeau", "forkserver 2.13.0+flambeau"]
    assert done.stderr.startswith(f'Traceback (most recent call last):\n  File "{script}", line ')
    assert done.stderr.endswith("LookupError: on purpose\n")


@pytest.mark.slow
def test_a_module_is_run_and_another_sitecustomize_too(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("print('mine too')")
    (tmp_path / "program.py").write_text("import sys, torch\nprint(__name__, sys.argv[1:], torch.__version__)")
    path = f"{ROOT}:{tmp_path}"
    done = run("-m", "flambeau", "run", "-m", "program", "--flag", PYTHONPATH=path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-2:] == ["mine too", "__main__ ['--flag'] 2.13.0+flambeau"]


def test_run_wants_a_program() -> None:
    from flambeau.compat import launch

    assert launch.run([]) == 2
