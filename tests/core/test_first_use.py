"""What is made at the first use of an op: by several threads at once, or interrupted, it is made once and whole.

``python -m tests.core.test_first_use 30`` starts as many fresh processes with 8 threads.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable

import pytest

import flambeau as fb
import flambeau.nn.functional as F
from flambeau import nn
from tests.environments import ROOT

_THREADS = 8


def _steps(device: str) -> list[object]:
    """Functions, views, writes, layers and gradients, each of which makes something at its first use."""
    x = fb.ones(3, 4, device=device, requires_grad=True)
    y = (fb.softmax(x, 1) * x).sum() + F.gelu(x).mean() + (x @ x.T).logsumexp(0).sum() + fb.where(x > 0, x, 0.0).var()
    y.backward()
    z = fb.zeros(5, device=device)
    z.add_(2).mul_(z + 1)
    z[1:3] = 7
    layers = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(18, 4))
    for p in layers.parameters():
        p.requires_grad_(False).fill_(0.1).requires_grad_()
    loss = F.cross_entropy(layers.to(device)(fb.ones(2, 1, 8, 8, device=device)), fb.tensor([1, 2], device=device))
    loss.backward()
    doubled = fb.func.vmap(lambda a: a.sin() * 2)(x)
    return [
        y.item(),
        x.grad.tolist(),
        z.tolist(),
        loss.item(),
        doubled.tolist(),
        x.sort()[0].tolist(),
        repr(x.detach()),
    ]


def _meet(device: str) -> None:
    """In a fresh process: 8 threads take the same steps, and add their gradients to one leaf."""
    sys.setswitchinterval(1e-6)
    shared = fb.full((4, 4), 0.5, device=device, requires_grad=True)
    gate = threading.Barrier(_THREADS)
    found: list[object] = []

    def work() -> None:
        gate.wait()
        (shared * 2).sum().backward()
        found.append(_steps(device))

    threads = [threading.Thread(target=work) for _ in range(_THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == _THREADS, "a thread has died"
    assert all(f == found[0] for f in found), found
    assert shared.grad is not None and shared.grad.tolist() == [[2.0 * _THREADS] * 4] * 4, shared.grad


def _fresh_start(device: str) -> subprocess.CompletedProcess[str]:
    command = f"from tests.core.test_first_use import _meet; _meet({device!r})"
    return _python(command)


def _python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize("device", ["cpu", "strict", pytest.param("opencl", marks=pytest.mark.device("opencl"))])
def test_eight_threads_that_meet_everything_at_its_first_use_get_the_same_numbers(device: str) -> None:
    done = _fresh_start(device)
    assert done.returncode == 0 and "Error" not in done.stderr, done.stderr


def _traced(fn: Callable[[], object], act: Callable[[int], None]) -> None:
    """Run ``fn`` and call ``act(n)`` at the n-th line of flambeau's that it runs."""
    count = 0

    def trace(frame: object, event: str, arg: object) -> object:
        nonlocal count
        code = frame.f_code  # type: ignore[attr-defined]
        if "flambeau" not in code.co_filename:
            return None
        if event == "line":
            count += 1
            act(count)
        return trace

    sys.settrace(trace)  # type: ignore[arg-type]
    try:
        fn()
    finally:
        sys.settrace(None)


def _in_a_child(job: Callable[[], object]) -> str:
    """What ``job`` gives in a fork of this process, as text."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            text = repr(job())
        except BaseException as error:
            text = repr(error)
        os.write(writing, text.encode()[:60_000])
        os._exit(0)
    os.close(writing)
    with open(reading) as pipe:
        text = pipe.read()
    os.waitpid(child, 0)
    return text


def interrupt_everywhere(error: type[BaseException], count: int, start: float) -> None:
    """Raise ``error`` at ``count`` lines of a first use, each in a child of its own, and use everything then.

    The first of them is the fraction ``start`` of a step of so many lines away from the first line of all.
    """
    device = "cpu"
    lines = int(_in_a_child(lambda: _lines(device)))
    want = _in_a_child(lambda: _steps(device))
    for n in range(1 + int(lines // count * start), lines, lines // count):
        got = _in_a_child(lambda n=n: _interrupted(device, error, n))
        assert got == want, f"{error.__name__} at line {n} of {lines}: {got}"


def _lines(device: str) -> int:
    last = 0

    def see(n: int) -> None:
        nonlocal last
        last = n

    _traced(lambda: _steps(device), see)
    return last


def _interrupted(device: str, error: type[BaseException], n: int) -> object:
    def strike(line: int) -> None:
        if line == n:
            sys.settrace(None)
            raise error("while it was being set up")

    with contextlib.suppress(BaseException):  # or what stands for it: the backend of a plugin that failed
        _traced(lambda: _steps(device), strike)
    return _steps(device)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="each line needs a child of its own")
@pytest.mark.parametrize(("error", "start"), [("KeyboardInterrupt", 0), ("RecursionError", 0.5)])
def test_a_first_use_that_is_interrupted_leaves_the_next_one_whole(error: str, start: float) -> None:
    # A process of its own, in which nothing has been used yet. The lines of one error lie between the other's.
    code = f"from tests.core.test_first_use import interrupt_everywhere; interrupt_everywhere({error}, 13, {start})"
    done = _python(code)
    assert done.returncode == 0, done.stderr


if __name__ == "__main__":
    starts = int(sys.argv[1])
    failed = [r.stderr for r in (_fresh_start("cpu") for _ in range(starts)) if r.returncode or "Error" in r.stderr]
    print(f"{starts - len(failed)} of {starts} clean", *failed[:1], sep="\n")
