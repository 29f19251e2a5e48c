"""What can be planned: the networks that have a name here, and functions in files of the user's."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from flambeau.core.creation import arange
from flambeau.core.ops.random import randint, randn
from flambeau.core.tensor import Tensor
from flambeau.nn import LSTM, Conv2d, Embedding, Flatten, LayerNorm, Linear, MaxPool2d, Module, ReLU, Sequential
from flambeau.nn import functional as F

Loss = Callable[..., Tensor]


class PlanError(ValueError):
    """A model, an option or a division over ranks that cannot be planned."""


@dataclass(frozen=True)
class Workload:
    """A network with a batch: ``loss(model(inputs), target)`` is what a step of training minimises."""

    model: Module
    inputs: Tensor
    target: Tensor
    loss: Loss = F.cross_entropy


class Block(Module):
    """A block of a decoder with normalisation before each part; (batch, steps, width) to the same.

    Queries, keys and values have a layer each and the heads are counted by what these give, so that a rank that holds
    some of the heads runs the same code.
    """

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.per_head = width // heads
        self.before, self.between = LayerNorm(width), LayerNorm(width)
        self.query, self.key, self.value = Linear(width, width), Linear(width, width), Linear(width, width)
        self.out = Linear(width, width)
        self.up, self.down = Linear(width, 4 * width), Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, steps, _ = x.shape
        h = self.before(x)
        q, k, v = (
            layer(h).view(batch, steps, -1, self.per_head).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        seen = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(seen.transpose(1, 2).flatten(2))
        changed: Tensor = x + self.down(F.gelu(self.up(self.between(x))))
        return changed


class Places(Module):
    """Tokens (batch, steps) as vectors, with a vector for each place added."""

    def __init__(self, vocabulary: int, length: int, width: int):
        super().__init__()
        self.tokens, self.places = Embedding(vocabulary, width), Embedding(length, width)

    def forward(self, tokens: Tensor) -> Tensor:
        placed: Tensor = self.tokens(tokens) + self.places(arange(tokens.shape[1], device=tokens.device))
        return placed


class Scores(Module):
    """(batch, steps, width) to scores (batch * steps, vocabulary)."""

    def __init__(self, vocabulary: int, width: int):
        super().__init__()
        self.norm, self.head = LayerNorm(width), Linear(width, vocabulary, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.head(self.norm(x)).flatten(0, 1)
        return scores


def gpt(vocabulary: int, length: int, width: int, layers: int, heads: int) -> Sequential:
    """A decoder as a row of parts. Radford et al., "Language Models are Unsupervised Multitask Learners", 2019."""
    blocks = [Block(width, heads) for _ in range(layers)]
    return Sequential(Places(vocabulary, length, width), *blocks, Scores(vocabulary, width))


def lenet(width: int, side: int, hidden: int) -> Sequential:
    """LeCun et al., 1998, as it is taught today: two convolutions, one pool, two linear layers."""
    flat = 2 * width * ((side - 4) // 2) ** 2
    return Sequential(
        Conv2d(1, width, 3), ReLU(), Conv2d(width, 2 * width, 3), ReLU(), MaxPool2d(2), Flatten(), Linear(flat, hidden),
        ReLU(), Linear(hidden, 10),
    )  # fmt: skip


class Last(Module):
    """What an LSTM over (batch, steps, features) gives at the last step."""

    def __init__(self, features: int, hidden: int):
        super().__init__()
        self.rnn = LSTM(features, hidden, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        last: Tensor = self.rnn(x)[0][:, -1]
        return last


def lstm(features: int, hidden: int, middle: int) -> Sequential:
    """A classifier of series: an LSTM and two linear layers. Hochreiter and Schmidhuber, 1997."""
    return Sequential(Last(features, hidden), Linear(hidden, middle), ReLU(), Linear(middle, 10))


def mlp(features: int, hidden: int) -> Sequential:
    """Two linear layers."""
    return Sequential(Linear(features, hidden), ReLU(), Linear(hidden, 10))


def _texts(model: Callable[[], Module], vocabulary: int, length: int) -> Callable[[int], Workload]:
    def made(batch: int) -> Workload:
        tokens, targets = (randint(vocabulary, shape) for shape in ((batch, length), (batch * length,)))
        return Workload(model(), tokens, targets)

    return made


def _classes(model: Callable[[], Module], *shape: int) -> Callable[[int], Workload]:
    return lambda batch: Workload(model(), randn(batch, *shape), randint(10, (batch,)))


#: By name: from the number of samples to the network and a batch.
WORKLOADS: Final[dict[str, Callable[[int], Workload]]] = {
    "mlp": _classes(lambda: mlp(784, 128), 784),
    "lenet": _classes(lambda: lenet(32, 28, 128), 1, 28, 28),
    "lstm": _classes(lambda: lstm(32, 128, 64), 50, 32),
    "gpt": _texts(lambda: gpt(65, 64, 128, 4, 4), 65, 64),
    "gpt_wide": _texts(lambda: gpt(65, 128, 384, 6, 6), 65, 128),
    "gpt2": _texts(lambda: gpt(50257, 1024, 768, 12, 12), 50257, 1024),
}


def workload_of(name: str) -> Callable[[int], Workload]:
    """What makes a workload of a given batch size: by its name, or as ``FILE.py:FUNCTION`` or ``MODULE:FUNCTION``.

    The function takes the number of samples, and returns the model, its input, the target and, if cross entropy is not
    what it minimises, the loss function.

    >>> workload_of("lenet")(2).inputs.shape
    flambeau.Size([2, 1, 28, 28])

    Raises:
        PlanError: there is no such name, file or function.
    """
    if name in WORKLOADS:
        return WORKLOADS[name]
    where, colon, function = name.rpartition(":")
    if not colon:
        raise PlanError(f"there is no workload {name!r}: give one of {', '.join(WORKLOADS)}, or FILE.py:FUNCTION")
    found = getattr(_module(where), function, None)
    if not callable(found):
        raise PlanError(f"{where} has no function {function!r}")

    def made(batch: int) -> Workload:
        parts = found(batch)
        if isinstance(parts, Workload):
            return parts
        if not (isinstance(parts, tuple) and len(parts) in (3, 4) and isinstance(parts[0], Module)):
            raise PlanError(f"{name}({batch}) must return (model, inputs, target[, loss]), got {type(parts).__name__}")
        return Workload(*parts)

    return made


def _module(where: str) -> Any:  # Any: the user's module
    if not where.endswith(".py"):
        try:
            return importlib.import_module(where)
        except ModuleNotFoundError as error:
            raise PlanError(f"there is no module {where!r}: {error}") from error
    path = Path(where)
    if not path.is_file():
        raise PlanError(f"there is no file {where!r}")
    name = f"flambeau_plan_{path.stem}"  # that of no module of Python's own
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module
