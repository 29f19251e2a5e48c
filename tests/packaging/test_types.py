"""Public results are typed: a type checker knows them, finds mistakes in a program, and meets few Any."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import checkers
from tests.conftest import RunPython

USE = """
from typing import assert_type
import flambeau as fb
from flambeau import nn, optim
from flambeau.nn import functional as F

x = fb.zeros(2, 3, dtype=fb.float32, device="cpu", requires_grad=True)
assert_type(x, fb.Tensor)
assert_type(fb.tensor([[1.0, 2.0]]), fb.Tensor)
assert_type(fb.arange(3), fb.Tensor)
assert_type(fb.rand(2, 2), fb.Tensor)
assert_type(x @ x.T, fb.Tensor)
assert_type(2.0 * x + 1, fb.Tensor)
assert_type(x[0], fb.Tensor)
assert_type(x[:, 1:, None], fb.Tensor)
assert_type(fb.where(x > 0, x, 0.0), fb.Tensor)
assert_type(x.sum(dim=1, keepdim=True), fb.Tensor)
assert_type(x.sum(axis=1, keepdims=True), fb.Tensor)
assert_type(x.max(), fb.Tensor)
assert_type(x.max(1).values, fb.Tensor)
assert_type(fb.max(x, x), fb.Tensor)
assert_type(fb.exp(x, out=x), fb.Tensor)
assert_type(x.add_(1), fb.Tensor)
assert_type(x.reshape(3, 2), fb.Tensor)
assert_type(x.to("cpu"), fb.Tensor)
assert_type(x.split(1), tuple[fb.Tensor, ...])
assert_type(fb.softmax(x, 1), fb.Tensor)
assert_type(fb.linalg.svd(x).S, fb.Tensor)
assert_type(fb.autograd.grad(x.sum(), [x])[0], fb.Tensor)
model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1))
assert_type(nn.Linear(3, 4)(x), fb.Tensor)
assert_type(F.mse_loss(x, x), fb.Tensor)
optimizer = optim.Adam(model.parameters(), lr=1e-3)

fb.zeros(2, dtyp=fb.float32)  # wrong
fb.zeros("2")  # wrong
fb.exp("x")  # wrong
fb.softmax(x, dimension=1)  # wrong
fb.softmax(x, "rows")  # wrong
x.softmx(1)  # wrong
x.sum(dim="rows")  # wrong
x @ 3  # wrong
x + "1"  # wrong
x.max(1).reshape(2)  # wrong
x.split(1).sum()  # wrong
x.reshape("2")  # wrong
fb.where(x > 0, x, "0")  # wrong
fb.exp(x, out=3)  # wrong
x["rows"]  # wrong
x.add_("1")  # wrong
fb.no_such_function(x)  # wrong
fb.arange("3")  # wrong
nn.Linear(3, outputs=4)  # wrong
nn.Linear(3, 4)("x")  # wrong
nn.ReLU(0.5, True)  # wrong
F.mse_loss(x)  # wrong
F.mse_loss(x, x, reduction=3)  # wrong
optim.Adam(model.parameters(), learning_rate=1e-3)  # wrong
optimizer.stp()  # wrong
x.backward(retain=True)  # wrong
"""


@pytest.mark.slow
@pytest.mark.parametrize("checker", checkers.COMMANDS)
def test_results_are_typed_and_mistakes_found(checker: str, tmp_path: Path) -> None:
    checkers.check(checker, USE, tmp_path)


def test_few_public_types_are_any_and_each_says_why(run_python: RunPython) -> None:
    """In a process of its own: sparse tensors put methods on Tensor when they are first used."""
    said = run_python("-m", "tests.packaging.public_types").stdout.splitlines()
    without, _, everything = said[-1].split(" are ")[0].split()
    assert int(everything) > 4000, "the public functions were not found"
    assert int(without) <= 0.03 * int(everything), said[-1]
    silent = [line for line in said if line.endswith("without a reason")]
    assert not silent, "say at the function, in a comment '# Any: ...', why"
