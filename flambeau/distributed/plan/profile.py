"""What a step of any batch takes: each kernel's time as a line through two measured batch sizes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise

from flambeau.distributed.plan.recording import (
    BACKWARD,
    FORWARD,
    PHASES,
    UPDATE,
    Call,
    Ran,
    Recording,
    Statistic,
    record,
)
from flambeau.distributed.plan.workloads import PlanError, Workload
from flambeau.nn.container import Sequential
from flambeau.nn.linear import Linear


@dataclass(frozen=True)
class Kernel:
    """A kernel takes ``fixed + per_sample * batch`` seconds, the way to it from Python included in ``fixed``."""

    ran: Ran
    fixed: float
    per_sample: float

    def seconds(self, batch: float, share: float = 1.0) -> float:
        """For a batch, where a rank computes ``share`` of it."""
        return self.fixed + self.per_sample * batch * share


@dataclass(frozen=True)
class Weight:
    """A parameter: its bytes, the call whose module holds it, and how many kernels of the step precede its gradient."""

    name: str
    size: int
    call: int
    arrived: int


@dataclass(frozen=True)
class Pair:
    """Linear layers by columns, all of one input, and the one by rows that takes what comes of theirs; or no such.

    Shoeybi et al., "Megatron-LM", arXiv:1909.08053, section 3: one all-reduce in the forward, after the layer by rows,
    and one in the backward, of the gradient of the input of those by columns.
    """

    columns: tuple[int, ...]  #: calls
    row: int  #: -1: the layer by columns has its result gathered


@dataclass(frozen=True)
class Profile:
    """A workload, measured.

    ``batch`` is how many samples the larger of the measured batches has. ``optimizer_bytes`` is what the optimizer
    keeps of all parameters, ``kept`` by call what the forward leaves for the backward, ``most`` what a step needs at
    once beside parameters and what the optimizer keeps; these two of ``batch`` samples.
    """

    batch: int
    kernels: Sequence[Kernel]
    calls: Sequence[Call]
    weights: Sequence[Weight]
    frozen_bytes: int  #: of buffers and parameters that are not trained
    optimizer_bytes: int
    kept: dict[int, int]
    most: int
    gradient_bytes: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "gradient_bytes", sum(w.size for w in self.weights))

    @property
    def parameter_bytes(self) -> int:
        """Parameters and buffers."""
        return self.gradient_bytes + self.frozen_bytes

    def phase(self, name: str) -> range:
        """The places of the kernels of a phase."""
        places = [i for i, k in enumerate(self.kernels) if k.ran.phase == name]
        return range(places[0], places[-1] + 1) if places else range(0)

    def seconds(self, places: Iterable[int], batch: float, share: Callable[[int], float] = lambda place: 1.0) -> float:
        """Of kernels, of which a rank computes a share each."""
        return sum(self.kernels[i].seconds(batch, share(i)) for i in places)

    def step(self, batch: float) -> float:
        """Seconds of a step on one rank."""
        return sum(self.seconds(self.phase(name), batch) for name in PHASES)

    def update_seconds(self) -> float:
        """Seconds of the optimizer on all parameters."""
        return self.seconds(self.phase(UPDATE), self.batch)

    def activations(self, batch: float) -> float:
        """Bytes that a step needs beside parameters, gradients and optimizer, in proportion to the batch."""
        return max(self.most - self.gradient_bytes, sum(self.kept.values())) * batch / self.batch

    # -- how it can be divided ---------------------------------------------------------------------
    @cached_property
    def pairs(self) -> list[Pair]:
        """The linear layers that tensor parallelism divides, and how."""
        found: list[Pair] = []
        columns: list[int] = []
        taken = -1
        for number, call in enumerate(self.calls):
            if isinstance(call.module, Linear):
                if columns and call.took == taken and call.start - self.calls[columns[-1]].end < 8:
                    columns.append(number)
                elif columns:
                    found.append(Pair(tuple(columns), number))
                    columns = []
                else:
                    columns, taken = [number], call.took
            elif columns and any(True for _ in call.module.parameters(recurse=False)):
                found += [Pair((c,), -1) for c in columns]
                columns = []
        return found + [Pair((c,), -1) for c in columns]

    def divided(self, degree: int) -> list[Pair]:
        """The pairs whose features and heads divide evenly by ``degree``."""
        return [pair for pair in self.pairs if not any(size % degree for size in self._sizes(pair))]

    def _sizes(self, pair: Pair) -> Iterator[int]:
        """What is divided: the features that come of the layers by columns, and the heads of attention over them."""
        for call in pair.columns:
            layer = self.calls[call].module
            assert isinstance(layer, Linear)
            yield layer.out_features
        for i in self.forward_of(pair):
            if self.kernels[i].ran.op == "attention":
                yield self.kernels[i].ran.shapes[0][1]

    def forward_of(self, pair: Pair) -> range:
        """The places of the forward kernels whose work a pair divides."""
        end = pair.row if pair.row >= 0 else pair.columns[-1]
        return range(self.calls[pair.columns[0]].start, self.calls[end].end)

    def backward_of(self, pair: Pair) -> range:
        """The places of the backward kernels whose work a pair divides."""
        first = self.calls[pair.row if pair.row >= 0 else pair.columns[-1]].backward
        back = max(self.calls[c].returned for c in pair.columns)
        if first < 0:
            return range(0)
        return range(first, back if back >= 0 else self.phase(BACKWARD).stop)

    @cached_property
    def cuts(self) -> list[int]:
        """The calls with which the parts of the model begin, in the order in which it runs them.

        The parts are the children of the model or of a Sequential or ModuleList in it, of that one whose slowest part
        takes the least time.
        """
        children: dict[str, list[int]] = {}
        kinds = {call.name: call.module for call in self.calls}
        lists = {name.rpartition(".")[0] for name in kinds} - kinds.keys()  # a ModuleList is never called itself
        for number, call in enumerate(self.calls):
            parent = call.name.rpartition(".")[0]
            if call.name and (not parent or parent in lists or isinstance(kinds[parent], Sequential)):
                children.setdefault(parent, []).append(number)
        if not children:
            return [0]
        return min(children.values(), key=self._slowest)

    def _slowest(self, cuts: Sequence[int]) -> float:
        forward = self.phase(FORWARD)
        ends = [forward.start, *(self.calls[c].start for c in cuts[1:]), forward.stop]
        return max(self.seconds(range(*pair), self.batch) for pair in pairwise(ends))

    @cached_property
    def parts(self) -> list[range]:
        """The calls of each part; those before the first are with it."""
        return [range(*pair) for pair in pairwise([0, *self.cuts[1:], len(self.calls)])]

    @cached_property
    def part_of(self) -> list[int]:
        """By call: its part."""
        return [i for i, part in enumerate(self.parts) for _ in part]

    def kernels_of_parts(self, phase: str) -> list[list[int]]:
        """By part: the places of its kernels; those of the loss are with the last part."""
        found: list[list[int]] = [[] for _ in self.parts]
        for i in self.phase(phase):
            call = self.kernels[i].ran.call
            found[self.part_of[call] if call >= 0 else -1].append(i)
        return found

    def given_by(self, part: int) -> int:
        """Bytes that a part hands on, of ``batch`` samples."""
        return self.calls[self.cuts[part]].gave


def measure(
    make: Callable[[int], Workload],
    batch: int,
    optimizer: str = "adamw",
    repeats: int = 5,
    device: str | None = None,
    of: Statistic = min,
) -> Profile:
    """Run a workload with ``batch`` samples, and with half of them, and fit a line to the time of each kernel.

    What a step takes beyond its kernels, Python and the launches, is shared among them. Below four samples four and two
    are measured: one alone can take other kernels, since dimensions of size 1 need no copies. ``of`` says what counts
    of several measurements: the least on a machine that does other things too, ``statistics.fmean`` where these belong
    to what is planned.

    >>> from flambeau.distributed.plan.workloads import workload_of
    >>> profile = measure(workload_of("mlp"), 4, "sgd", repeats=1)
    >>> [profile.calls[c].name for pair in profile.pairs for c in (*pair.columns, pair.row)]
    ['0', '2']

    Raises:
        PlanError: batch is below 1; the model runs other kernels for another batch size, or from step to step.
    """
    if batch < 1:
        raise PlanError(f"batch must be at least 1, got {batch}")
    most = max(batch, 4)
    large, small = (_placed(make(samples), device) for samples in (most, most // 2))
    first, second = record([large, small], optimizer, repeats, of=of)
    if [k.op for k in first.kernels] != [k.op for k in second.kernels]:
        raise PlanError(f"the model runs other kernels for {most // 2} samples than for {most}")
    overhead = first.beside / len(first.kernels)
    kernels = [_fitted(i, first, second, overhead) for i in range(len(first.kernels))]
    return Profile(
        batch=most, kernels=kernels, calls=first.calls, weights=_weights(large, first),
        frozen_bytes=sum(t.nbytes for t in (*large.model.parameters(), *large.model.buffers()) if not t.requires_grad),
        optimizer_bytes=first.optimizer_bytes, kept=first.kept, most=first.most,
    )  # fmt: skip


def _placed(workload: Workload, device: str | None) -> Workload:
    if device is None:
        return workload
    return Workload(
        workload.model.to(device), workload.inputs.to(device), workload.target.to(device), workload.loss
    )  # fmt: skip


def _fitted(i: int, first: Recording, second: Recording, overhead: float) -> Kernel:
    """The line through two points; through zero where noise has it fall with the batch, or start below zero."""
    ran, long, short = first.kernels[i], first.seconds[i], second.seconds[i]
    if ran.phase == UPDATE:
        return Kernel(ran, long + overhead, 0.0)
    slope = (long - short) / (first.batch - second.batch)
    fixed = long - slope * first.batch
    if slope < 0 or fixed < 0:
        slope, fixed = long / first.batch, 0.0
    return Kernel(ran, fixed + overhead, slope)


def _weights(workload: Workload, recording: Recording) -> list[Weight]:
    """In the order in which their gradients come."""
    holder = {}
    for number, call in reversed(list(enumerate(recording.calls))):
        prefix = f"{call.name}." if call.name else ""
        for name, _ in call.module.named_parameters(recurse=False):
            holder[prefix + name] = number
    found = [
        Weight(name, p.nbytes, holder.get(name, -1), recording.arrived.get(name, len(recording.kernels)))
        for name, p in workload.model.named_parameters()
        if p.requires_grad
    ]
    return sorted(found, key=lambda w: w.arrived)


__all__ = ["BACKWARD", "FORWARD", "UPDATE", "Kernel", "Pair", "Profile", "Weight", "measure"]
