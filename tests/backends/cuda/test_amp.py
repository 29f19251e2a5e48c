"""Mixed precision on the pretend machine: float16 by itself, PyTorch's older names, a scaler on the device."""

from __future__ import annotations

from typing import Any

import pytest

import flambeau as fb


@pytest.mark.slow
def test_autocast_and_a_scaler_on_cuda(machine: Any) -> None:
    fb.manual_seed(0)
    net = fb.nn.Sequential(fb.nn.Linear(4, 8), fb.nn.ReLU(), fb.nn.Linear(8, 3)).to("cuda")
    x, labels = fb.randn(8, 4, device="cuda"), fb.tensor([0, 1, 2, 0, 1, 2, 0, 1], device="cuda")
    optimizer = fb.optim.SGD(net.parameters(), lr=0.5)
    scaler = fb.cuda.amp.GradScaler(init_scale=1024.0)
    losses = []
    for spoilt in (False, False, True, False):
        optimizer.zero_grad()
        with fb.autocast("cuda"):
            scores = net(x)
            loss = fb.nn.functional.cross_entropy(scores, labels)
        assert scores.dtype is fb.float16 and loss.dtype is fb.float32
        scaler.scale(loss * float("inf") if spoilt else loss).backward()
        scaler.step(optimizer)
        scaler.update()
        losses.append(loss.item())
    assert losses[1] < losses[0] and losses[3] == losses[2] and scaler.get_scale() == 512.0
    with fb.cuda.amp.autocast(dtype=fb.bfloat16):
        assert fb.is_autocast_enabled() and (x @ x.T).dtype is fb.bfloat16 and x.bfloat16().exp().dtype is fb.float32
