"""A step of training, watched: its kernels in order and what each took, its modules, its memory, its gradients.

The forward tells which module runs. In the backward the gradients tell: when that of a module's result has come, what
runs next is the backward of the module, until the gradient of another one's result comes.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, TypeAlias

from flambeau.backends.base import Array, Backend, Kernel
from flambeau.core.keys import Key
from flambeau.core.record import Op
from flambeau.core.state import watch
from flambeau.core.tensor import Tensor
from flambeau.core.tree import flatten
from flambeau.distributed.plan.workloads import PlanError, Workload
from flambeau.nn import hooks
from flambeau.nn.module import Module
from flambeau.optim import SGD, Adam, AdamW, Optimizer

Statistic: TypeAlias = Callable[[Sequence[float]], float]

FORWARD, BACKWARD, UPDATE = PHASES = ("forward", "backward", "update")
#: Optimizers by name, with options that have no bearing on the time.
OPTIMIZERS: Final[dict[str, Callable[..., Optimizer]]] = {
    "sgd": lambda parameters: SGD(parameters, lr=1e-6),
    "momentum": lambda parameters: SGD(parameters, lr=1e-6, momentum=0.9),
    "adam": lambda parameters: Adam(parameters, lr=1e-6),
    "adamw": lambda parameters: AdamW(parameters, lr=1e-6),
}


@dataclass(frozen=True)
class Ran:
    """A kernel: its op, in which phase, and the call of a module that it is part of, -1 of none."""

    op: str
    phase: str
    call: int
    shapes: tuple[tuple[int, ...], ...]


@dataclass
class Call:
    """A module ran: kernels ``start`` to ``end``; bytes of what it gave; the tensor that it took."""

    name: str
    module: Module
    start: int
    took: int = 0  #: number of the input's storage, the same for modules that take the same tensor
    end: int = 0
    gave: int = 0
    took_bytes: int = 0
    backward: int = -1  #: the kernel before which the gradient of the result came; -1: none came
    returned: int = -1  #: the same of the gradient of the input


@dataclass
class Recording:
    """Steps of one batch size, all of the same kernels."""

    batch: int
    kernels: list[Ran] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)  #: of each kernel
    calls: list[Call] = field(default_factory=list)
    arrived: dict[str, int] = field(default_factory=dict)  #: by parameter: the kernels that ran before its gradient
    kept: dict[int, int] = field(default_factory=dict)  #: by call: bytes that live when the forward ends
    most: int = 0  #: bytes that the step had at once, beyond what was there before
    beside: float = 0.0  #: seconds that a step takes beside its kernels
    optimizer_bytes: int = 0  #: what the optimizer keeps


class _Live:
    """The bytes of arrays that kernels made and that live still."""

    def __init__(self) -> None:
        self.now = self.most = 0
        self.by_call: dict[int, int] = {}
        self._count: dict[tuple[int, int], int] = {}
        self._known: dict[int, weakref.ref[Array]] = {}

    def ignore(self, tensors: Sequence[Tensor]) -> None:
        """Those that were there before count nothing."""
        for t in tensors:
            backend = t._key.backend
            self._count[id(backend), backend.storage_id(t._array)] = 1 << 60

    def note(self, array: Array, backend: Backend, call: int) -> None:
        if id(array) in self._known:
            return
        place, number = (id(backend), backend.storage_id(array)), id(array)
        size = backend.storage_nbytes(array)

        def gone(_: object) -> None:
            self._known.pop(number, None)
            self._count[place] -= 1
            if not self._count[place]:
                del self._count[place]
                self.now -= size
                self.by_call[call] -= size

        if place not in self._count:
            self._count[place] = 0
            self.now += size
            self.by_call[call] = self.by_call.get(call, 0) + size
            self.most = max(self.most, self.now)
        self._count[place] += 1
        self._known[number] = weakref.ref(array, gone)


class _Watcher:
    """Sees one step."""

    def __init__(self, model: Module):
        self.phase = FORWARD
        self.kernels: list[Ran] = []
        self.seconds: list[float] = []
        self.calls: list[Call] = []
        self.arrived: dict[str, int] = {}
        self.live = _Live()
        self._running: list[int] = []
        self._latest = -1
        self._marked = -1
        self._names = {id(m): name for name, m in model.named_modules()}
        self._parameters = list(model.named_parameters())

    def see(self, op: Op, key: Key, arrays: Sequence[Array], params: dict[str, Any], kernel: Kernel) -> Any:
        start = time.perf_counter()
        result = kernel(*arrays, **params)
        key.backend.synchronize(key.device.number)
        self.seconds.append(time.perf_counter() - start)
        shapes = tuple(tuple(a.shape) for a in arrays if hasattr(a, "shape"))
        self.kernels.append(Ran(op.name, self.phase, self._latest, shapes))
        for array in result if isinstance(result, tuple | list) else (result,):
            if isinstance(array, key.array):
                self.live.note(array, key.backend, self._latest)
        return result

    # -- modules -----------------------------------------------------------------------------------
    def before(self, module: Module, args: Any) -> None:
        if id(module) not in self._names or self.phase != FORWARD:
            return
        call = Call(self._names[id(module)], module, len(self.kernels))
        inputs = _tensors(args)
        if inputs:
            first = inputs[0]
            call.took, call.took_bytes = first._key.backend.storage_id(first._array), first.nbytes
        number = len(self.calls)
        for t in inputs:
            if t.requires_grad and t.grad_fn is not None:
                t.register_hook(lambda grad: self._came_back(number))
        self.calls.append(call)
        self._running.append(number)
        self._latest = number

    def after(self, module: Module, args: Any, output: Any) -> None:
        if id(module) not in self._names or self.phase != FORWARD:
            return
        number = self._running.pop()
        call = self.calls[number]
        call.end = len(self.kernels)
        results = _tensors(output)
        call.gave = sum(t.nbytes for t in results)
        for t in results:
            if t.requires_grad:
                t.register_hook(lambda grad: self._reached(number))

    def _reached(self, number: int) -> None:
        """The gradient of a result has come; the innermost of several modules that give the same tensor is first."""
        call, at = self.calls[number], len(self.kernels)
        if call.backward < 0:
            call.backward = at
        if self._marked != at:
            self._latest, self._marked = number, at

    def _came_back(self, number: int) -> None:
        self.calls[number].returned = len(self.kernels)

    def _arrived(self, name: str, parameter: Tensor) -> None:
        self.arrived[name] = len(self.kernels)

    def gradients(self) -> Iterator[Callable[[], None]]:
        """Note when each parameter has its gradient; gives what ends that."""
        for name, p in self._parameters:
            if p.requires_grad:
                handle = p.register_post_accumulate_grad_hook(partial(self._arrived, name))
                yield handle.remove


def _tensors(value: Any) -> list[Tensor]:
    return [t for t in flatten(value)[0] if isinstance(t, Tensor)]


class Trainer:
    """A workload with its optimizer: :meth:`forward`, then :meth:`backward`, then :meth:`update` make a step."""

    def __init__(self, workload: Workload, optimizer: str):
        if optimizer not in OPTIMIZERS:
            raise PlanError(f"optimizer must be one of {', '.join(OPTIMIZERS)}, got {optimizer!r}")
        self.workload = workload
        self.parameters = [p for p in workload.model.parameters() if p.requires_grad]
        if not self.parameters:
            raise PlanError("the model has no parameter that is trained")
        self.optimizer = OPTIMIZERS[optimizer](self.parameters)

    def forward(self) -> Tensor:
        """The loss."""
        w = self.workload
        return w.loss(w.model(w.inputs), w.target)

    def update(self) -> None:
        """The optimizer's step; the gradients are gone after it."""
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def step(self) -> None:
        """All of it, until the device is done."""
        self.forward().backward()
        self.update()
        key = self.parameters[0]._key
        key.backend.synchronize(key.device.number)

    def state(self) -> list[Tensor]:
        """The tensors that the optimizer keeps."""
        return [t for s in self.optimizer.state.values() for t in _tensors(dict(s))]


def record(
    workloads: Sequence[Workload], optimizer: str = "adamw", repeats: int = 5, warm: int = 2, of: Statistic = min
) -> list[Recording]:
    """Run steps of each workload, watch them, and time others that nobody watches; all in turns, in the same weather.

    ``of`` makes one number of those that were measured: the least is what a machine can do that does nothing else, the
    mean what it does.

    Raises:
        PlanError: two steps ran different kernels, or a batch has no samples.
    """
    for w in workloads:
        if not w.inputs.ndim or not len(w.inputs):
            raise PlanError(f"inputs must have samples along dimension 0, got shape {tuple(w.inputs.shape)}")
    runs = [_Runs(Trainer(w, optimizer)) for w in workloads]
    for run in runs * warm:
        run.trainer.step()
    for run in runs * repeats:
        run.time()
        run.watch()
    return [run.recording(of) for run in runs]


class _Runs:
    """The steps of one workload."""

    def __init__(self, trainer: Trainer):
        self.trainer = trainer
        self.whole: list[float] = []
        self.seen: list[tuple[_Watcher, dict[int, int], int]] = []

    def time(self) -> None:
        start = time.perf_counter()
        self.trainer.step()
        self.whole.append(time.perf_counter() - start)

    def watch(self) -> None:
        self.seen.append(_watched(self.trainer))

    def recording(self, of: Statistic) -> Recording:
        watcher, kept, most = self.seen[-1]
        for other, *_ in self.seen:
            if [k.op for k in other.kernels] != [k.op for k in watcher.kernels]:
                raise PlanError("two steps of the model ran different kernels: what comes next cannot be told from one")
        seconds = [of(times) for times in zip(*[w.seconds for w, *_ in self.seen], strict=True)]
        beside = of(self.whole) - of([sum(w.seconds) for w, *_ in self.seen])
        return Recording(
            len(self.trainer.workload.inputs), watcher.kernels, seconds, watcher.calls, watcher.arrived, kept, most,
            max(0.0, beside), sum(t.nbytes for t in self.trainer.state()),
        )  # fmt: skip


def _watched(trainer: Trainer) -> tuple[_Watcher, dict[int, int], int]:
    model, watcher = trainer.workload.model, _Watcher(trainer.workload.model)
    there = [*model.parameters(), *model.buffers(), *trainer.state(), trainer.workload.inputs, trainer.workload.target]
    watcher.live.ignore(there)
    with ExitStack() as stack:
        stack.enter_context(watch(watcher.see))
        for handle in (
            hooks.register_module_forward_pre_hook(watcher.before),
            hooks.register_module_forward_hook(watcher.after, always_call=True),
        ):
            stack.callback(handle.remove)
        for remove in watcher.gradients():
            stack.callback(remove)
        loss = trainer.forward()
        watcher._latest = -1
        kept = dict(watcher.live.by_call)
        watcher.phase = BACKWARD
        loss.backward()
        del loss
        watcher.phase, watcher._latest = UPDATE, -1
        trainer.update()
    return watcher, kept, watcher.live.most
