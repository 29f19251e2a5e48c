"""Training steps on each device: ``python bench.py [device ...]`` prints a table of milliseconds for a step.

Processor time of the whole process, so that other work on the machine counts little; a GPU's own time is not in it.
"""

import sys
import time
from collections.abc import Callable

import flambeau as fb
from flambeau import nn, optim
from flambeau.nn import functional as F


class Block(nn.Module):
    """A layer of a transformer."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads, self.norm1, self.norm2 = heads, nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: fb.Tensor) -> fb.Tensor:
        b, t, d = x.shape
        q, k, v = (
            z.view(b, t, self.heads, d // self.heads).transpose(1, 2) for z in self.qkv(self.norm1(x)).split(d, 2)
        )
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(b, t, d)
        x = x + self.out(mixed)
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class Last(nn.Module):
    """An LSTM's last hidden state."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(32, 128, batch_first=True)

    def forward(self, x: fb.Tensor) -> fb.Tensor:
        states: fb.Tensor = self.rnn(x)[0]
        return states[:, -1]


#: model, shape of the input, steps
WORK: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], int]] = {
    "mlp, batch 64": (lambda: nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10)), (64, 784), 100),
    "two convolutions, batch 64": (
        lambda: nn.Sequential(
            nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
            nn.Linear(9216, 10),
        ), (64, 1, 28, 28), 5,
    ),
    "transformer, 4 layers of 128, 12 by 64": (
        lambda: nn.Sequential(*(Block(128, 4) for _ in range(4)), nn.Flatten(), nn.Linear(64 * 128, 10)), (12, 64, 128),
        10,
    ),
    "lstm of 128, 50 steps, batch 32": (lambda: nn.Sequential(Last(), nn.Linear(128, 10)), (32, 50, 32), 10),
}  # fmt: skip


def measured(name: str, device: str) -> tuple[float, float]:
    """Milliseconds for a step, and seconds for the first three, in which things are compiled."""
    make, shape, steps = WORK[name]
    model = make().to(device)
    step = optim.Adam(model.parameters(), lr=1e-3)
    x, target = fb.randn(*shape).to(device), (fb.arange(shape[0]) % 10).to(device)

    def run(count: int) -> float:
        start = time.process_time()
        for _ in range(count):
            loss = F.cross_entropy(model(x), target)
            step.zero_grad()
            loss.backward()
            step.step()
            loss.item()
        return time.process_time() - start

    first = run(3)
    return run(steps) / steps * 1e3, first


if __name__ == "__main__":
    devices = sys.argv[1:] or ["cpu", "opencl", "webgpu"]
    print(f"| training step | {' | '.join(devices)} |\n|---|{'---|' * len(devices)}")
    for name in WORK:
        found = [measured(name, device) for device in devices]
        print(f"| {name} | {' | '.join(f'{ms:.1f} ({first:.1f} s)' for ms, first in found)} |", flush=True)
