"""What the stages of a pipeline do, compared with the whole model on one rank."""

from __future__ import annotations

import copy
from collections.abc import Callable

import flambeau as fb
import flambeau.distributed as dist
from flambeau import nn
from flambeau.distributed.pipelining import PipelineStage, Schedule1F1B, ScheduleGPipe, TensorChunkSpec
from flambeau.nn import functional as F
from tests.distributed.models_of_plan import STEPS, close, made, trained

KINDS = {"GPipe": ScheduleGPipe, "1F1B": Schedule1F1B}
#: Where the parts of each model are cut for four stages; of these cuts two stages have the middle one.
CUTS = {"gpt": [1, 2, 3], "lenet": [2, 5, 7], "lstm": [1, 2, 3]}


def setup() -> None:
    dist.init_process_group("cpu:mpi,strict:mpi", timeout=60)


def _raises(kind: type[Exception], words: str, call: Callable[[], object]) -> None:
    try:
        call()
    except kind as error:
        assert words in str(error), str(error)
    else:
        raise AssertionError(f"no {kind.__name__} with {words!r}")


def _stage(part: nn.Module) -> PipelineStage:
    return PipelineStage(part, dist.get_rank(), dist.get_world_size())


def _cut(model: nn.Sequential, cuts: list[int]) -> nn.Sequential:
    """This rank's part of the model."""
    chosen = cuts if dist.get_world_size() == 4 else cuts[1:2]
    ends = [0, *chosen, len(model)]
    return model[ends[dist.get_rank()] : ends[dist.get_rank() + 1]]


def _trains_alike(name: str, kind: str, microbatches: int) -> None:
    model, x, target = made(name)
    if name == "gpt":
        target = target.view(12, 6)
    whole, n = copy.deepcopy(model), dist.get_world_size()
    part = _cut(model, CUTS[name])
    schedule = KINDS[kind](_stage(part), microbatches, lambda y, t: F.cross_entropy(y, t.flatten()))
    weights = list(part.parameters()) or [fb.zeros(1, requires_grad=True)]  # a stage may have none
    optimizer = fb.optim.AdamW(weights, lr=1e-2)
    found = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        losses: list[fb.Tensor] = []
        first, last = dist.get_rank() == 0, dist.get_rank() == n - 1
        output = schedule.step(*([x] if first else []), target=target if last else None, losses=losses)
        optimizer.step()
        assert (output is not None) is last and len(losses) == (microbatches if last else 0)
        sizes = [len(p) for p in target.tensor_split(microbatches)]
        found.append(sum(loss.item() * size for loss, size in zip(losses, sizes, strict=False)) / sum(sizes))
    expected = trained(whole, x, target.flatten())
    if dist.get_rank() == n - 1:
        close(found, expected)
    for key, value in _cut(whole, CUTS[name]).state_dict().items():
        if not key.endswith("key.bias"):  # has no gradient but rounding
            assert fb.allclose(part.state_dict()[key], value, rtol=1e-4, atol=2e-5), key


def case_lenet_trains_as_on_one_rank() -> None:
    for kind, microbatches in (("GPipe", 1), ("GPipe", 5), ("1F1B", 3)):
        _trains_alike("lenet", kind, microbatches)


def case_lstm_trains_as_on_one_rank() -> None:
    _trains_alike("lstm", "GPipe", 3)


def case_gpt_trains_as_on_one_rank() -> None:
    _trains_alike("gpt", "1F1B", 7)


class Several(nn.Module):
    """Takes and gives three tensors, of which one is of integers and one is not used by all stages."""

    def __init__(self, width: int, first: bool, last: bool):
        super().__init__()
        self.linear, self.first, self.last = nn.Linear(width, width), first, last

    def forward(self, x: fb.Tensor, *others: fb.Tensor, scale: float = 1.0) -> fb.Tensor | tuple[fb.Tensor, ...]:
        mask, early = (x > 0, x * 3) if self.first else others
        y = self.linear(x).tanh() * mask * scale
        return y if self.last else (y, mask, early)


def case_several_tensors_go_on() -> None:
    rank, n = dist.get_rank(), dist.get_world_size()
    fb.manual_seed(0)
    model = nn.ModuleList([Several(4, i == 0, i == n - 1) for i in range(n)])
    x, target = fb.randn(6, 4), fb.randn(6, 4)
    whole = copy.deepcopy(model)
    y = (x,)
    for i, part in enumerate(whole):
        y = part(*y, **({"scale": 0.5} if i == 0 else {}))
        y = y if isinstance(y, tuple) else (y,)
    F.mse_loss(y[0], target).backward()
    for kind in KINDS.values():
        part = copy.deepcopy(model[rank])
        schedule = kind(_stage(part), 3, F.mse_loss)
        out = schedule.step(
            *([x] if rank == 0 else []),
            target=target if rank == n - 1 else None,
            **({"scale": 0.5} if rank == 0 else {}),
        )
        for p, q in zip(part.parameters(), whole[rank].parameters(), strict=True):
            assert fb.allclose(p.grad, q.grad, rtol=1e-5, atol=1e-7)
        if rank == n - 1:
            assert fb.allclose(out, y[0], atol=1e-6)


def case_shapes_may_change_from_step_to_step() -> None:
    rank, n = dist.get_rank(), dist.get_world_size()
    fb.manual_seed(0)
    model = nn.Sequential(*[nn.Linear(4, 4) for _ in range(n)])
    schedule = Schedule1F1B(_stage(model[rank]), 2, F.mse_loss)
    for size in (4, 6, 5, 4):
        x, target = fb.randn(size, 4), fb.randn(size, 4)
        losses: list[fb.Tensor] = []
        out = schedule.step(*([x] if rank == 0 else []), target=target if rank == n - 1 else None, losses=losses)
        if rank == n - 1:
            assert fb.allclose(out, model(x), atol=1e-6)
    with fb.no_grad():
        expected = model(x)
    out = schedule.eval(*([x] if rank == 0 else []), target=target if rank == n - 1 else None, losses=losses)
    if rank == n - 1:
        assert fb.allclose(out, expected, atol=1e-6) and len(losses) == 2 and not out.requires_grad
    assert not schedule._stage._running


def case_gradients_add_up_and_may_be_sums() -> None:
    rank, n = dist.get_rank(), dist.get_world_size()
    fb.manual_seed(0)
    model, x, target = nn.Sequential(*[nn.Linear(3, 3) for _ in range(n)]), fb.randn(4, 3), fb.randn(4, 3)
    whole = copy.deepcopy(model)
    for _ in range(2):
        F.mse_loss(whole(x), target, reduction="sum").backward()
    schedule = ScheduleGPipe(
        _stage(model[rank]), 4, lambda y, t: F.mse_loss(y, t, reduction="sum"), scale_grads=False
    )  # fmt: skip
    for _ in range(2):
        schedule.step(*([x] if rank == 0 else []), target=target if rank == n - 1 else None)
    assert fb.allclose(model[rank].weight.grad, whole[rank].weight.grad, rtol=1e-5, atol=1e-6)


def case_stages_on_several_backends() -> None:
    rank, n = dist.get_rank(), dist.get_world_size()
    device = ("cpu", "strict")[rank % 2]
    fb.manual_seed(0)
    whole, x, target = nn.Sequential(*[nn.Linear(3, 3) for _ in range(n)]), fb.randn(6, 3), fb.randn(6, 3)
    part = copy.deepcopy(whole[rank]).to(device)
    F.mse_loss(whole(x), target).backward()
    schedule = Schedule1F1B(PipelineStage(part, rank, n, device), 3, F.mse_loss)
    schedule.step(*([x.to(device)] if rank == 0 else []), target=target.to(device) if rank == n - 1 else None)
    assert part.weight.grad.device.type == device
    assert fb.allclose(part.weight.grad.cpu(), whole[rank].weight.grad, rtol=1e-5, atol=1e-6)


def case_batches_are_cut_where_the_specs_say() -> None:
    rank, n = dist.get_rank(), dist.get_world_size()

    class Turned(nn.Module):
        def forward(self, x: fb.Tensor, add: fb.Tensor | None = None) -> fb.Tensor:
            assert x.shape[1] == 2
            return x + (0 if add is None else add)

    x, add = fb.randn(3, 6), fb.randn(3, 6)
    schedule = ScheduleGPipe(
        _stage(Turned()), 3, args_chunk_spec=TensorChunkSpec.from_tuple((1,)),
        kwargs_chunk_spec=TensorChunkSpec.from_dict({"add": 1}), output_merge_spec=TensorChunkSpec(1),
    )  # fmt: skip
    out = schedule.step(*([x] if rank == 0 else []), **({"add": add} if rank == 0 else {}))
    if rank == n - 1:
        assert fb.equal(out, x + add)


def case_wrong_calls_are_told() -> None:
    rank, n = dist.get_rank(), dist.get_world_size()
    layer = nn.Linear(3, 3)
    _raises(TypeError, "must be a Module", lambda: PipelineStage(F.relu, rank, n))
    _raises(ValueError, "need as many ranks", lambda: PipelineStage(layer, rank, n + 1))
    _raises(ValueError, "runs the stage of that number", lambda: PipelineStage(layer, (rank + 1) % n, n))
    stage = _stage(layer)
    _raises(ValueError, "at least 1", lambda: ScheduleGPipe(stage, 0))
    schedule = ScheduleGPipe(stage, 4, F.mse_loss)
    if rank == 0:
        _raises(ValueError, "argument 0: a tensor of shape (3, 3) cannot be cut", lambda: schedule.step(fb.ones(3, 3)))
        _raises(ValueError, "needs the batch", lambda: schedule.step())
    else:
        _raises(ValueError, "no positional", lambda: schedule.step(fb.ones(4, 3), target=fb.ones(4, 3)))
    if rank == n - 1:
        _raises(ValueError, "needs a target", lambda: schedule.step())
    spec = TensorChunkSpec.from_tuple((0, 0))
    short = ScheduleGPipe(stage, 2, args_chunk_spec=spec)
    _raises(ValueError, "2 entries for 1 arguments", lambda: short.step(fb.ones(4, 3)))


def case_what_goes_on_must_be_tensors() -> None:
    rank = dist.get_rank()

    class Named(nn.Module):
        def forward(self, x: fb.Tensor) -> dict[str, fb.Tensor]:
            return {"x": x}

    if rank == 0:
        schedule = ScheduleGPipe(_stage(Named()), 1)
        _raises(TypeError, "value 0 is dict", lambda: schedule.step(fb.ones(1)))
