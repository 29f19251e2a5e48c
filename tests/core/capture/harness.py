"""Twins: one program run eagerly and one through ``Captured``, on the same calls, compared to the bit after each.

The rule that they hold ``Captured`` to: equal to eager in everything that a program can see, or an eager run that says
why and where, or an error that does; never silently something else.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import random
import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import flambeau as fb
from flambeau import nn, optim
from flambeau.core.capture.captured import Captured

Step = Callable[..., Any]
PLACE = re.compile(r"\w+\.py:\d+| of [\w.<>]+\(\)")  # how a reason names a line, or what a function saw change
PLAIN = (bool, int, float, complex, str, bytes, type(None))


@dataclass
class Program:
    """What a case makes: the step, and all that the step may change."""

    step: Step
    state: tuple[Any, ...] = ()  #: compared after each call; what is callable and no module is asked anew
    before: Callable[[int], None] | None = None  #: done before call i, for both twins
    after: Callable[[int, Any, tuple[Any, ...]], None] | None = None  #: done with result and arguments of call i
    inputs: Callable[[int], Any] | None = None  #: the arguments of call i, where the case's own will not do


@dataclass
class Call:
    """Arguments with keywords, where ``inputs`` gives more than a tensor or a tuple."""

    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)


def program(step: Step, *state: Any, **more: Any) -> Program:
    return Program(step, state, **more)


def rows(i: int) -> fb.Tensor:
    """An (4, 6) float32 tensor, another for each call, the same for both twins."""
    return numbers(i, 4, 6)


def numbers(seed: int, *shape: int, dtype: str = "float32") -> fb.Tensor:
    return fb.tensor(np.random.default_rng(seed).standard_normal(shape).astype(dtype))


class Look:
    """Everything that a program can see of some objects, as nested tuples that compare by value.

    One look has one numbering of tensors and of memory, so that two looks are equal only if the same tensors are the
    same object, and the same memory is shared, in both.
    """

    def __init__(self) -> None:
        self.tensors: dict[int, int] = {}
        self.memory: dict[Any, int] = {}
        self.alive: list[Any] = []  # ids and addresses mean something only as long as their objects live

    def at(self, x: Any) -> Any:
        if isinstance(x, fb.Tensor):
            return self.tensor(x)
        if isinstance(x, nn.Module):
            return self.module(x)
        if isinstance(x, (optim.Optimizer, optim.lr_scheduler.LRScheduler)):
            return type(x).__name__, self.at(x.state_dict())
        if isinstance(x, fb.Generator):
            return "generator", self.at(x.get_state())
        if isinstance(x, PLAIN):
            return type(x).__name__, repr(x)
        if isinstance(x, dict):
            return type(x).__name__, [(self.at(k), self.at(v)) for k, v in x.items()]
        if isinstance(x, (list, tuple)):
            return type(x).__name__, [self.at(v) for v in x]
        if isinstance(x, np.ndarray | np.generic):
            return "numpy", str(x.dtype), x.shape, x.tobytes()
        if dataclasses.is_dataclass(x) and not isinstance(x, type):
            return type(x).__name__, [(f.name, self.at(getattr(x, f.name))) for f in dataclasses.fields(x)]
        if isinstance(x, np.random.Generator):
            return "generator of numpy", repr(x.bit_generator.state)
        return type(x).__name__, repr(x) if isinstance(x, fb.dtype | fb.device | fb.Size) else ""

    def tensor(self, x: fb.Tensor) -> Any:
        number = self.tensors.get(id(x))
        if number is not None:
            return "the same as tensor", number
        self.tensors[id(x)] = len(self.tensors)
        self.alive.append(x)
        if x.layout != fb.strided:
            inside = x.detach().coalesce()
            return "sparse", tuple(x.shape), self.at(inside.indices()), self.at(inside.values())
        return {
            "class": type(x).__name__,
            "is": (str(x.dtype), tuple(x.shape), x.stride(), str(x.device)),
            "requires_grad, is_leaf": (x.requires_grad, x.is_leaf),
            "grad_fn": x.grad_fn is not None,
            "memory": (self.group(x), x.storage_offset()),
            "values": values(x),
            "grad": self.at(x.grad) if x.is_leaf else None,
        }

    def group(self, x: fb.Tensor) -> int:
        if not x.numel() or x.device.type == "meta":
            return -1
        storage = x.untyped_storage()
        self.alive.append(storage)
        return self.memory.setdefault((str(x.device), storage.data_ptr()), len(self.memory))

    def module(self, x: nn.Module) -> Any:
        return (
            type(x).__name__,
            [(k, self.at(p)) for k, p in x.named_parameters(remove_duplicate=False)],
            [(k, self.at(b)) for k, b in x.named_buffers(remove_duplicate=False)],
            [m.training for m in x.modules()],
        )


def values(x: fb.Tensor) -> Any:
    """Values by their bits; a nan is equal to a nan of the same bits only, 0.0 is not -0.0."""
    if x.device.type == "meta":
        return None
    array = np.asarray(x.detach().resolve_conj().cpu().numpy())
    return array.tobytes() if array.nbytes > 64 else (array.tobytes(), repr(array.tolist()))


def surroundings() -> Any:
    """What belongs to the thread and the process, and not to any object of the program."""
    modes = fb.is_grad_enabled(), fb.is_inference_mode_enabled(), fb.is_autocast_enabled("cpu")
    defaults = str(fb.get_default_dtype()), str(fb.get_default_device())
    return modes, defaults, values(fb.get_rng_state()), hash(random.getstate())


def run(case: Program, call: Step, inputs: Callable[[int], Any], calls: int) -> Iterator[tuple[str, Any]]:
    """Each thing that can be seen in these calls, with what it is. Results are kept, and looked at again at the end."""
    kept: list[Any] = []
    for i in range(calls):
        if case.before is not None:
            case.before(i)
        given = (case.inputs or inputs)(i)
        given = given if isinstance(given, Call) else Call(given if isinstance(given, tuple) else (given,))
        printed = io.StringIO()
        with warnings.catch_warnings(record=True) as warned, contextlib.redirect_stdout(printed):
            warnings.simplefilter("always")
            result = outcome(call, given)
        kept.append(result)
        yield f"call {i}: result", Look().at((result, given.args, given.kwargs))
        yield f"call {i}: printed", printed.getvalue()
        yield f"call {i}: warnings", [(w.category.__name__, str(w.message)) for w in warned]
        yield f"call {i}: surroundings", surroundings()
        if case.after is not None:
            case.after(i, result, given.args)
        state = [x() if callable(x) and not isinstance(x, nn.Module) else x for x in case.state]
        yield f"call {i}: state afterwards", Look().at((result, given.args, given.kwargs, state))
    yield "results of all calls at the end", Look().at(kept)


def outcome(call: Step, given: Call) -> Any:
    try:
        return call(*given.args, **given.kwargs)
    except Exception as error:
        error.__traceback__ = None  # it would keep the step's tensors alive
        return "raised", type(error).__name__, str(error)


def difference(a: Any, b: Any, where: str = "") -> str:
    """The first place where two looks differ, and what stands there."""
    if isinstance(a, dict) and isinstance(b, dict) and a.keys() == b.keys():
        pairs = [(f"{where}.{k}", a[k], b[k]) for k in a]
    elif isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)) and len(a) == len(b):
        pairs = [(f"{where}[{i}]", p, q) for i, (p, q) in enumerate(zip(a, b, strict=True))]
    else:
        pairs = []
    for place, p, q in pairs:
        if p != q:
            return difference(p, q, place)
    return f"{where}: eagerly {a!r:.200}, captured {b!r:.200}"


@dataclass
class Report:
    """How the captured twin went."""

    captured: Any
    differences: list[str]
    warned: list[str]  #: what it warned of and the eager twin did not
    refused: str = ""  #: the error in which it ended instead; nothing after it was compared
    raised: list[str] = field(default_factory=list)  #: errors of eager calls

    @property
    def counts(self) -> Any:
        return self.captured.counts

    def __str__(self) -> str:
        c = self.counts
        text = f"{c.eager} eager, {c.recorded} recorded, {c.replayed} replayed, {c.resumed} resumed"
        return "\n".join([text, *self.differences[:5], *(f"reason: {r}" for r in self.captured.reasons[:5])])


def twins(
    make: Callable[[], Program | Step],
    inputs: Callable[[int], Any] = rows,
    calls: int = 7,
    capture: Callable[..., Any] = Captured,
    **options: Any,
) -> Report:
    """Make the program twice from one seed; run one eagerly, one through ``capture(step, **options)``; compare."""
    seen = []
    for eagerly in (True, False):
        seed()
        with restored():
            made = make()
            case = made if isinstance(made, Program) else Program(made)
            captured = None if eagerly else capture(case.step, **options)
            seen.append(dict(run(case, captured or case.step, inputs, calls)))
    eager, other = seen
    found: list[str] = []
    warned: list[str] = []
    raised = [f"{k}: {v}" for k, v in eager.items() if k.endswith("result") and "'raised'" in repr(v)[:60]]
    for place, one in eager.items():
        two = other[place]
        if place.endswith("result") and "'CaptureError'" in repr(two)[:200]:
            return Report(captured, found, warned, repr(two), raised)
        if place.endswith("warnings"):
            more = list(two)
            for entry in one:
                if entry in more:
                    more.remove(entry)
                else:
                    found.append(f"{place}: no {entry}")
            warned += [message for _, message in more]
        elif one != two:
            found.append(difference(one, two, place))
    return Report(captured, found, warned, "", raised)


def seed() -> None:
    fb.manual_seed(5)
    random.seed(5)
    np.random.seed(5)


@contextlib.contextmanager
def restored() -> Iterator[None]:
    """What a case sets for the whole process ends with it."""
    dtype, device = fb.get_default_dtype(), fb.get_default_device()
    try:
        with fb.set_grad_enabled(True):
            yield
    finally:
        fb.set_default_dtype(dtype)
        fb.set_default_device(device)


@dataclass
class Case:
    """A program, and how its calls must go: ``replays`` of them at least, or eagerly for a reason that matches.

    With neither, whatever is equal or refused is right, and ``why`` says why no more is asked.
    """

    name: str
    make: Callable[[], Program | Step]
    calls: int = 9  # two more than 1 + 2 + 4: kernels become others once they are called often
    replays: int = 0
    eager: str = ""
    inputs: Callable[[int], Any] = rows
    options: dict[str, Any] = field(default_factory=dict)
    raises: bool = False  #: whether errors belong to the case
    why: str = ""

    def check(self) -> None:
        report = twins(self.make, self.inputs, self.calls, **self.options)
        assert bool(report.raised) == self.raises, report.raised
        assert not report.differences, f"not as eager: {report}"
        self.judge(report)

    def judge(self, report: Report) -> None:
        counts, reasons = report.counts, report.captured.reasons
        if report.refused:
            assert self.why and PLACE.search(report.refused), report.refused
            return
        if self.replays:
            assert counts.replayed + counts.resumed >= self.replays, f"too few replays: {report}"
            assert not report.warned, report.warned
        if self.eager:
            named = [r for r in reasons if re.search(self.eager, r)]
            assert named, f"no reason says {self.eager!r}: {report}"
            assert PLACE.search(named[0]), f"no line is named: {report}"
            assert len(report.warned) == 1 and re.search(self.eager, report.warned[0]), report.warned
        kinds = max(len(report.captured.graphs), 1)
        if self.calls > 3 and counts.eager > kinds and kinds < report.captured.limit:
            assert reasons, f"calls ran eagerly, and nothing says why: {report}"


class Cases(list[Case]):
    """The cases of a file: ``@cases(replays=4)`` before a function that makes a program."""

    def __call__(self, **how: Any) -> Callable[[Callable[[], Any]], Callable[[], Any]]:
        def decorate(make: Callable[[], Any]) -> Callable[[], Any]:
            self.add(make.__name__, make, **how)
            return make

        return decorate

    def add(self, name: str, make: Callable[[], Any], **how: Any) -> None:
        assert how.get("replays") or how.get("eager") or how.get("why"), f"what is expected of {name}?"
        assert all(case.name != name for case in self), f"two cases are called {name}"
        self.append(Case(name, make, **how))


def train(
    model: nn.Module,
    optimizer: optim.Optimizer | None = None,
    loss: Callable[[nn.Module, fb.Tensor], fb.Tensor] = lambda m, x: m(x).square().mean(),
    *state: Any,
    then: Callable[[], Any] | None = None,
    **more: Any,
) -> Program:
    """The usual step: zero_grad, loss, backward, step; returns the loss, detached."""
    optimizer = optimizer or optim.SGD(model.parameters(), lr=0.1)

    def step(x: fb.Tensor) -> fb.Tensor:
        optimizer.zero_grad()
        value = loss(model, x)
        value.backward()
        optimizer.step()
        if then is not None:
            then()
        return value.detach()

    return Program(step, (model, optimizer, *state), **more)
