"""What users hand to other processes can be pickled: every public function and class, and modules of all kinds."""

from __future__ import annotations

import copy
import importlib
import multiprocessing
import pickle
from collections.abc import Iterator
from typing import Any

import pytest

import flambeau as fb
from flambeau import nn
from flambeau.core import methods
from flambeau.nn.utils import parametrizations, parametrize
from flambeau.utils.data import DataLoader

_SPACES = [
    "linalg", "special", "func", "autograd", "library", "nn", "nn.functional", "nn.init", "nn.utils", "nn.utils.rnn",
    "nn.utils.parametrize", "nn.utils.parametrizations", "optim", "optim.lr_scheduler", "utils.data",
]  # fmt: skip


def _public() -> Iterator[tuple[str, Any]]:
    for name in dir(fb):
        if not name.startswith("_") and callable(getattr(fb, name)):
            yield f"flambeau.{name}", getattr(fb, name)
    for space in _SPACES:
        module = importlib.import_module(f"flambeau.{space}")
        for name in getattr(module, "__all__", dir(module)):
            if not name.startswith("_") and callable(getattr(module, name)):
                yield f"flambeau.{space}.{name}", getattr(module, name)
    for name, method in vars(fb.Tensor).items():
        if callable(method) and not isinstance(method, (classmethod, staticmethod)):
            yield f"Tensor.{name}", method


def test_every_public_function_and_class_comes_back_as_itself() -> None:
    assert len(methods.FUNCTIONS) > 400
    lost = [name for name, found in _public() if not _comes_back(found)]
    assert not lost, lost


def test_every_bound_method_comes_back_bound() -> None:
    x, lost = fb.eye(2), []
    for name, method in vars(fb.Tensor).items():
        if callable(method) and not isinstance(method, classmethod) and not name.startswith("_"):
            try:
                assert callable(pickle.loads(pickle.dumps(getattr(x, name))))
            except AttributeError:
                lost.append(name)
    assert not lost


def _comes_back(found: Any) -> bool:
    try:
        return pickle.loads(pickle.dumps(found)) is found
    except (pickle.PicklingError, AttributeError):
        return False


def test_a_pool_maps_a_function_of_flambeau() -> None:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        found = pool.map(fb.sin, [fb.tensor([0.0, 1.0]), fb.tensor(2.0)])
    assert (
        found[0].tolist() == fb.sin(fb.tensor([0.0, 1.0])).tolist() and found[1].item() == fb.sin(fb.tensor(2.0)).item()
    )


def test_a_loader_of_spawned_workers_collates_by_a_function_of_flambeau() -> None:
    loader = DataLoader(
        list(fb.arange(4.0)), batch_size=2, collate_fn=fb.stack, num_workers=1, multiprocessing_context="spawn"
    )
    assert [batch.tolist() for batch in loader] == [[0.0, 1.0], [2.0, 3.0]]


class _Double(nn.Module):
    def forward(self, x: fb.Tensor) -> fb.Tensor:
        return 2 * x

    def right_inverse(self, x: fb.Tensor) -> fb.Tensor:
        return x / 2


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_a_parametrized_module_is_copied_and_pickled_with_its_parametrizations(again: Any) -> None:
    layer = nn.Linear(2, 2)
    parametrize.register_parametrization(layer, "weight", _Double())
    parametrizations.weight_norm(layer, "bias", dim=0)
    made = again(layer)
    assert parametrize.is_parametrized(made, "weight") and parametrize.is_parametrized(made, "bias")
    assert made.weight.tolist() == layer.weight.tolist() and made(fb.ones(2)).tolist() == layer(fb.ones(2)).tolist()
    assert [n for n, _ in made.named_parameters()] == [n for n, _ in layer.named_parameters()]
    if again is not copy.copy:  # which shares what the module has
        made.weight = fb.zeros(2, 2)
        assert made.weight.sum().item() == 0 != layer.weight.abs().sum().item()
        parametrize.remove_parametrizations(made, "weight")
        assert parametrize.is_parametrized(layer, "weight")
