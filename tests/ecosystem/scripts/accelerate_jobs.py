"""accelerate: the Accelerator of one process, its saved states, and models on the meta device."""

from __future__ import annotations

import os
import tempfile
from typing import Any

os.environ |= {"HF_HUB_OFFLINE": "1"}

import accelerate
import jobs
import torch
from accelerate.utils import (
    broadcast,
    find_executable_batch_size,
    gather_object,
    infer_auto_device_map,
    pad_across_processes,
    send_to_device,
    set_module_tensor_to_device,
    set_seed,
)
from jobs import even, gradients, job, tensor, whole
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def net() -> Any:
    return even(nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)))


def loader() -> Any:
    return DataLoader(TensorDataset(tensor(32, 6).cpu(), whole(3, 32, seed=1).cpu()), batch_size=8)


def taught(rounds: int, **more: Any) -> Any:
    """An Accelerator, what it prepared, and the losses of some epochs."""
    helper = accelerate.Accelerator(cpu=jobs.DEVICE == "cpu", **more)
    model = net()
    optimizer = torch.optim.AdamW(model.parameters(), 0.05)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 2, gamma=0.5)
    model, optimizer, batches, schedule = helper.prepare(model, optimizer, loader(), schedule)
    return helper, model, optimizer, schedule, batches, taught_more(helper, model, optimizer, schedule, batches, rounds)


def taught_more(helper: Any, model: Any, optimizer: Any, schedule: Any, batches: Any, rounds: int) -> list[float]:
    losses = []
    for _ in range(rounds):
        for x, y in batches:
            with helper.accumulate(model):
                loss = nn.functional.cross_entropy(model(x.to(jobs.DEVICE)), y.to(jobs.DEVICE))
                helper.backward(loss)
                if helper.sync_gradients:
                    helper.clip_grad_norm_(model.parameters(), 0.5)
                optimizer.step()
                schedule.step()
                optimizer.zero_grad()
            losses.append(loss.item())
    return losses


@job
def training() -> Any:
    """prepare, two epochs with clipped gradients and a schedule, what is gathered."""
    helper, model, optimizer, _, _, losses = taught(2)
    right = helper.gather_for_metrics(model(tensor(4, 6)).argmax(1))
    whole_model = helper.unwrap_model(model)
    return losses, right, optimizer.param_groups[0]["lr"], whole_model[0].weight, helper.is_main_process


@job
def accumulation() -> Any:
    """A step every two batches."""
    helper, model, _, _, _, losses = taught(2, gradient_accumulation_steps=2)
    return losses, model[0].weight, helper.num_processes


@job
def states() -> Any:
    """What is saved after an epoch goes on as it would have."""
    helper, model, optimizer, schedule, batches, _ = taught(1)
    with tempfile.TemporaryDirectory() as folder:
        helper.save_state(folder)
        files = sorted(os.listdir(folder))
        first = taught_more(helper, model, optimizer, schedule, batches, 1)
        helper.load_state(folder)
        second = taught_more(helper, model, optimizer, schedule, batches, 1)
        helper.save_model(model, folder)
        kept = sorted(f for f in os.listdir(folder) if f not in files)
    return files, kept, first, second


@job
def empty() -> Any:
    """A model without memory gets its weights from a file."""
    with accelerate.init_empty_weights():
        model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    before = [str(p.device) for p in model.parameters()]
    shares = infer_auto_device_map(model, max_memory={"cpu": 10_000})
    set_module_tensor_to_device(model, "0.bias", "cpu", value=tensor(8).cpu())
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "weights.bin")
        torch.save({k: v.cpu() for k, v in net().state_dict().items()}, path)
        loaded = accelerate.load_checkpoint_and_dispatch(model, path, device_map={"": "cpu"})
    return before, shares, loaded(tensor(2, 6).cpu())


@job
def offloaded() -> Any:
    """A model whose weights wait on the host until a layer needs them."""
    model = net()
    accelerate.cpu_offload(model, execution_device=torch.device(jobs.DEVICE), offload_buffers=True)
    return model(tensor(2, 6)), [str(p.device) for p in model.parameters()]


@job
def pieces() -> Any:
    """The batch size that fits, nested things moved to a device, collectives of one process."""
    set_seed(5)
    tried: list[int] = []

    @find_executable_batch_size(starting_batch_size=16)
    def fits(batch_size: int) -> int:
        tried.append(batch_size)
        if batch_size > 4:
            raise RuntimeError("CUDA out of memory. Tried to allocate")
        return batch_size

    moved = send_to_device({"a": [tensor(2).cpu()], "b": (tensor(1).cpu(), 3)}, jobs.DEVICE)
    model = net()
    model(tensor(2, 6)).sum().backward()
    across = gather_object([1, 2]), broadcast(tensor(2)), pad_across_processes(tensor(2))
    return fits(), tried, moved, *across, gradients(model)


if __name__ == "__main__":
    jobs.main("accelerate")
