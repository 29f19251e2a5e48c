"""The functions that PyTorch keeps at the top of ``torch.utils``."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NoReturn

from flambeau.core.tensor import Tensor

__all__ = [
    "ThroughputBenchmark", "cmake_prefix_path", "generate_methods_for_privateuse1_backend", "get_cpp_backtrace",
    "rename_privateuse1_backend", "set_module", "swap_tensors",
]  # fmt: skip

cmake_prefix_path = ""  # there are no C++ libraries to build with


def swap_tensors(t1: Tensor, t2: Tensor) -> None:
    """Exchange two tensors, so that every name of the one is a name of the other from now on.

    RuntimeError where one is kept by a graph, which would then be of the other.

    >>> a, b = fb.ones(1), fb.zeros(2)
    >>> fb.utils.swap_tensors(a, b)
    >>> a, b
    (tensor([0., 0.]), tensor([1.]))
    """
    for name, t in (("t1", t1), ("t2", t2)):
        if not isinstance(t, Tensor):
            raise TypeError(f"swap_tensors: argument {name!r} must be a Tensor, got {type(t).__name__}")
        if t.grad_fn is not None:
            raise RuntimeError(
                f"swap_tensors: {name} was computed, and its graph knows it; swap leaves or detached tensors"
            )
    if type(t1) is not type(t2):
        t1.__class__, t2.__class__ = type(t2), type(t1)
    keep = [(t.requires_grad, t.grad) for t in (t1, t2)]
    for t in (t1, t2):
        t.grad = None
        t.requires_grad_(False)
    for name in ("_array", "_key", "_box"):
        first, second = getattr(t1, name), getattr(t2, name)
        setattr(t1, name, second)
        setattr(t2, name, first)
    for t, (wanted, grad) in zip((t1, t2), reversed(keep), strict=True):
        t.requires_grad_(wanted)
        t.grad = grad
    if hasattr(t1, "__dict__") and hasattr(t2, "__dict__"):
        first, second = dict(vars(t1)), dict(vars(t2))
        for t, attributes in ((t1, second), (t2, first)):
            vars(t).clear()
            vars(t).update(attributes)


def set_module(obj: Any, mod: str) -> None:  # Any: a class or function
    """Say that a class or function stands in module ``mod``.

    >>> def f(): ...
    >>> fb.utils.set_module(f, "there")
    >>> f.__module__
    'there'
    """
    if not isinstance(mod, str):
        raise TypeError(f"set_module: The mod argument should be a string, got {type(mod).__name__}")
    obj.__module__ = mod


def get_cpp_backtrace(frames_to_skip: int = 0, maximum_number_of_frames: int = 64) -> str:
    """Where the program stands: of Python, there is no C++ below.

    >>> "get_cpp_backtrace" in fb.utils.get_cpp_backtrace()
    True
    """
    frames = traceback.extract_stack()
    kept = frames[: len(frames) - frames_to_skip][-maximum_number_of_frames:]
    return "".join(traceback.format_list(kept))


def rename_privateuse1_backend(backend_name: str) -> NoReturn:
    """RuntimeError: a backend here has its own name from the start, by ``flambeau.plugins``."""
    raise RuntimeError(
        f"rename_privateuse1_backend: a backend has a name of its own here; register one called {backend_name!r} as "
        "docs/writing-a-backend.md shows"
    )


def generate_methods_for_privateuse1_backend(*args: object, **kwargs: object) -> None:
    """Tensors and modules have ``to``, which takes every backend's name, so there is nothing to add.

    >>> fb.utils.generate_methods_for_privateuse1_backend()
    """


@dataclass
class ExecutionStats:
    """What a benchmark found: milliseconds per call, and calls in all."""

    latency_avg_ms: float
    num_iters: int

    @property
    def iters_per_second(self) -> float:
        """Calls in a second, of one thread."""
        return 1e3 / self.latency_avg_ms


class ThroughputBenchmark:
    """Calls a module from several threads at once, and measures how long a call takes then.

    >>> bench = fb.utils.ThroughputBenchmark(fb.nn.ReLU())
    >>> bench.add_input(fb.ones(3))
    >>> bench.benchmark(num_calling_threads=2, num_warmup_iters=1, num_iters=4).num_iters
    4
    """

    def __init__(self, module: Callable[..., Any]):
        self._module = module
        self._inputs: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def run_once(self, *args: Any, **kwargs: Any) -> Any:  # Any: what the module takes and gives
        """One call."""
        return self._module(*args, **kwargs)

    def add_input(self, *args: Any, **kwargs: Any) -> None:
        """Arguments to call it with; several of them take turns."""
        self._inputs.append((args, kwargs))

    def benchmark(
        self, num_calling_threads: int = 1, num_warmup_iters: int = 10, num_iters: int = 100,
        profiler_output_path: str = "",
    ) -> ExecutionStats:  # fmt: skip
        """Call it ``num_iters`` times in all, after ``num_warmup_iters`` calls of each thread."""
        if not self._inputs:
            raise RuntimeError("ThroughputBenchmark: say add_input(...) first")

        def several(count: int) -> float:
            start = time.perf_counter()
            for i in range(count):
                args, kwargs = self._inputs[i % len(self._inputs)]
                self._module(*args, **kwargs)
            return time.perf_counter() - start

        each = max(1, num_iters // num_calling_threads)
        with ThreadPoolExecutor(num_calling_threads) as pool:
            list(pool.map(several, [num_warmup_iters] * num_calling_threads))
            seconds = list(pool.map(several, [each] * num_calling_threads))
        return ExecutionStats(1e3 * sum(seconds) / (each * num_calling_threads), each * num_calling_threads)
