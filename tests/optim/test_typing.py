"""What a type checker sees of a user's training: batches, options, losses, rates."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import checkers

USE = """
from typing import assert_type
import flambeau as fb
from flambeau import nn, optim
from flambeau.utils.checkpoint import checkpoint
from flambeau.utils.data import DataLoader, Dataset, Subset, TensorDataset, random_split

class Squares(Dataset[int]):
    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> int:
        return index * index

def lengths(samples: list[tuple[fb.Tensor, ...]]) -> list[int]:
    return [len(s) for s in samples]

x: fb.Tensor = fb.ones(4)
data = TensorDataset(x, x)
for inputs, labels in DataLoader(data, 2, True, num_workers=2):
    assert_type(inputs, fb.Tensor)
assert_type(next(iter(DataLoader(random_split(data, [1, 3])[0]))), list[fb.Tensor])
assert_type(next(iter(DataLoader(Squares()))), fb.Tensor)
assert_type(next(iter(DataLoader(data, collate_fn=lengths))), list[int])
assert_type(random_split(Squares(), [1, 2]), list[Subset[int]])
DataLoader(data, batch_sise=2)  # wrong
random_split(3, [1, 2])  # wrong

weight = nn.Parameter(x)
optimizer = optim.SGD([weight], lr=0.1, momentum=0.9)
optim.Adam([{"params": [weight]}, {"params": [x], "lr": 0.1}], betas=(0.9, 0.99))
optim.AdamW(nn.Linear(1, 2).named_parameters(), 1e-3)
optim.SGD([weight], lr="fast")  # wrong
optim.SGD([weight], momentun=0.9)  # wrong
optim.AdamW([weight], betas=0.9)  # wrong
optim.RMSprop(3)  # wrong

def closure() -> fb.Tensor:
    return x

assert_type(optimizer.step(closure), fb.Tensor)
assert_type(optim.LBFGS([weight]).step(closure), fb.Tensor)
optimizer.load_state_dict(optimizer.state_dict())
assert_type(optim.lr_scheduler.CyclicLR(optimizer, 0.1, [1.0]).get_last_lr(), list[float])
optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: 0.9**epoch)
optim.lr_scheduler.OneCycleLR(optimizer, 0.1, anneal_strategy="cosine")  # wrong
assert_type(checkpoint(lengths, []), list[int])
"""


@pytest.mark.slow
@pytest.mark.parametrize("checker", checkers.COMMANDS)
def test_training_is_typed(checker: str, tmp_path: Path) -> None:
    checkers.check(checker, USE, tmp_path)
