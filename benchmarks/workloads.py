"""Six networks and how they are trained, written once for any module ``T`` with torch's API.

Weights and data come from numpy, so that the losses of two frameworks must agree.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np


@dataclass(frozen=True)
class Workload:
    """``model(T, **sizes)``, ``data(rng, **sizes)`` the input and the target, ``optimizer(T, parameters)``."""

    model: Callable[..., Any]
    data: Callable[..., tuple[Any, Any]]
    optimizer: Callable[[Any, Any], Any]
    sizes: dict[str, int]


# -- networks ----------------------------------------------------------------------------------------
def mlp(T: Any, features: int, hidden: int) -> Any:
    nn = T.nn
    return nn.Sequential(nn.Linear(features, hidden), nn.ReLU(), nn.Linear(hidden, 10))


def lenet(T: Any, width: int, side: int, hidden: int, **_: int) -> Any:
    """LeCun et al., 1998, as it is taught today: two convolutions, one pool, two linear layers."""
    nn, flat = T.nn, 2 * width * ((side - 4) // 2) ** 2
    return nn.Sequential(
        nn.Conv2d(1, width, 3), nn.ReLU(), nn.Conv2d(width, 2 * width, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(flat, hidden), nn.ReLU(), nn.Linear(hidden, 10),
    )  # fmt: skip


def resnet18(T: Any, width: int, **_: int) -> Any:
    """He et al., arXiv:1512.03385, for small images: no pool after the first convolution, whose kernel is 3×3."""
    nn = T.nn

    def convolved(inputs: int, outputs: int, kernel: int, stride: int) -> list[Any]:
        conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
        return [conv, nn.BatchNorm2d(outputs)]

    class Block(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self, inputs: int, outputs: int, stride: int) -> None:
            super().__init__()
            self.body = nn.Sequential(
                *convolved(inputs, outputs, 3, stride), nn.ReLU(), *convolved(outputs, outputs, 3, 1)
            )
            same = stride == 1 and inputs == outputs
            self.shortcut = nn.Sequential(*([] if same else convolved(inputs, outputs, 1, stride)))

        def forward(self, x: Any) -> Any:
            return T.relu(self.body(x) + self.shortcut(x))

    blocks, inputs = [], width
    for outputs, stride in ((width, 1), (2 * width, 2), (4 * width, 2), (8 * width, 2)):
        blocks += [Block(inputs, outputs, stride), Block(outputs, outputs, 1)]
        inputs = outputs
    head = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, 10)
    return nn.Sequential(*convolved(3, width, 3, 1), nn.ReLU(), *blocks, *head)


def gpt(T: Any, vocabulary: int, length: int, width: int, layers: int, heads: int, **_: int) -> Any:
    """A decoder with normalisation before each part. Radford et al., 2019."""
    nn, F = T.nn, T.nn.functional

    class Block(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
            self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
            self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

        def forward(self, x: Any) -> Any:
            batch, steps, _ = x.shape
            parts = self.qkv(self.before(x)).split(width, dim=2)
            q, k, v = (p.view(batch, steps, heads, width // heads).transpose(1, 2) for p in parts)
            seen = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + self.out(seen.transpose(1, 2).contiguous().view(batch, steps, width))
            return x + self.down(F.gelu(self.up(self.between(x))))

    class GPT(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.tokens, self.places = nn.Embedding(vocabulary, width), nn.Embedding(length, width)
            self.blocks = nn.Sequential(*[Block() for _ in range(layers)])
            self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, vocabulary, bias=False)

        def forward(self, tokens: Any) -> Any:
            x = self.tokens(tokens) + self.places(T.arange(tokens.shape[1], device=tokens.device))
            return self.head(self.norm(self.blocks(x))).flatten(0, 1)

    return GPT()


def lstm(T: Any, features: int, hidden: int, **_: int) -> Any:
    nn = T.nn

    class Classifier(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.rnn, self.head = nn.LSTM(features, hidden, batch_first=True), nn.Linear(hidden, 10)

        def forward(self, x: Any) -> Any:
            return self.head(self.rnn(x)[0][:, -1])

    return Classifier()


# -- data --------------------------------------------------------------------------------------------
Random = np.random.Generator


def _vectors(rng: Random, features: int, **_: int) -> tuple[Any, Any]:
    return rng.standard_normal((64, features), "f"), rng.integers(0, 10, 64)


def _images(batch: int, channels: int) -> Callable[..., tuple[Any, Any]]:
    def made(rng: Random, side: int, **_: int) -> tuple[Any, Any]:
        return rng.standard_normal((batch, channels, side, side), "f"), rng.integers(0, 10, batch)

    return made


def _texts(rng: Random, batch: int, vocabulary: int, length: int, **_: int) -> tuple[Any, Any]:
    return rng.integers(0, vocabulary, (batch, length)), rng.integers(0, vocabulary, batch * length)


def _series(rng: Random, length: int, features: int, **_: int) -> tuple[Any, Any]:
    return rng.standard_normal((32, length, features), "f"), rng.integers(0, 10, 32)


# -- the table ---------------------------------------------------------------------------------------
def _sgd(**options: float) -> Callable[[Any, Any], Any]:
    return lambda T, parameters: T.optim.SGD(parameters, **options)


def _adam(T: Any, parameters: Any) -> Any:
    return T.optim.Adam(parameters, lr=1e-3)


def _adamw(T: Any, parameters: Any) -> Any:
    return T.optim.AdamW(parameters, lr=1e-3)


_MOMENTUM = _sgd(lr=0.01, momentum=0.9, weight_decay=5e-4)
WORKLOADS: Final = {
    "mlp": Workload(mlp, _vectors, _sgd(lr=0.05), dict(features=784, hidden=128)),
    "lenet": Workload(lenet, _images(64, 1), _adam, dict(width=32, side=28, hidden=128)),
    "resnet18": Workload(resnet18, _images(16, 3), _MOMENTUM, dict(width=64, side=32)),
    "gpt": Workload(gpt, _texts, _adamw, dict(batch=12, vocabulary=65, length=64, width=128, layers=4, heads=4)),
    "gpt_wide": Workload(gpt, _texts, _adamw, dict(batch=8, vocabulary=65, length=128, width=384, layers=6, heads=6)),
    "lstm": Workload(lstm, _series, _adam, dict(features=32, length=50, hidden=128)),
}


class Training:
    """A workload on a module: :meth:`step` trains once on the same batch, :meth:`infer` is the network on it."""

    def __init__(self, T: Any, workload: Workload, sizes: dict[str, int] | None = None, device: str = "cpu"):
        self.sizes = sizes = workload.sizes | (sizes or {})
        self.T, self.model = T, workload.model(T, **sizes)
        _set_weights(T, self.model)
        self.model.to(device)
        x, target = workload.data(np.random.default_rng(1), **sizes)
        self.x, self.target = T.from_numpy(x).to(device), T.from_numpy(target).to(device)
        self.optimizer = workload.optimizer(T, self.model.parameters())

    def loss(self, x: Any, target: Any) -> Any:
        return self.T.nn.functional.cross_entropy(self.model(x), target)

    def update(self, x: Any, target: Any, loss: Callable[[Any, Any], Any] | None = None) -> Any:
        """Train on a batch; the loss before that. ``loss`` computes it in another way than the network does."""
        self.optimizer.zero_grad()
        before = (loss or self.loss)(x, target)
        before.backward()
        self.optimizer.step()
        return before

    def step(self) -> float:
        """Train on the batch; the loss before that."""
        return float(self.update(self.x, self.target).item())

    def infer(self) -> Any:
        with self.T.no_grad():
            return self.model(self.x)


def _set_weights(T: Any, model: Any) -> None:
    """Parameters of numpy's random numbers, in the order of their names: scales of normalisations are 1."""
    rng = np.random.default_rng(0)
    with T.no_grad():
        for name, p in sorted(model.named_parameters(), key=lambda entry: entry[0]):
            shape = tuple(p.shape)
            if len(shape) > 1:
                values = rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))
            else:
                values = np.ones(shape) if name.endswith("weight") else rng.standard_normal(shape) * 0.01
            p.copy_(T.from_numpy(values.astype(np.float32)))
