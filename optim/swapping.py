"""Another set of parameters and state for an optimizer, for a while."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from flambeau.core.tensor import Tensor
from flambeau.optim.optimizer import NUMBERS, Optimizer


@contextmanager
def swap_in_optimizer_params_and_state(
    optimizer: Optimizer, swapin_parameters: dict[str, Tensor], swapin_optim_state: dict[str, Any]
) -> Iterator[None]:
    """Inside, the optimizer works on other parameters, with other state; its own come back whatever happens.

    ``swapin_parameters`` stand in the order of the optimizer's; ``swapin_optim_state`` is as ``state_dict`` gives it.

    >>> w, other = fb.ones(1, requires_grad=True), fb.zeros(1, requires_grad=True)
    >>> optimizer = fb.optim.SGD([w], lr=1.0)
    >>> other.grad = fb.ones(1)
    >>> with fb.optim.swap_in_optimizer_params_and_state(optimizer, {"w": other}, optimizer.state_dict()):
    ...     optimizer.step()
    >>> w, other
    (tensor([1.], requires_grad=True), tensor([-1.], requires_grad=True))
    """
    groups, state = optimizer.param_groups, optimizer.state
    given = list(swapin_parameters.values())
    if len(given) != sum(len(g["params"]) for g in groups):
        raise ValueError(
            f"swap_in_optimizer_params_and_state: got {len(given)} parameters, the optimizer has "
            f"{sum(len(g['params']) for g in groups)}"
        )
    others = iter(given)
    saved = swapin_optim_state["param_groups"]
    swapped = [{**own, **new, "params": [next(others) for _ in own["params"]]}
               for own, new in zip(groups, saved, strict=True)]  # fmt: skip
    numbers = [n for g in saved for n in g["params"]]
    by_number = dict(zip(numbers, given, strict=True))
    optimizer.param_groups = swapped
    optimizer.state = defaultdict(dict)
    for n, values in swapin_optim_state["state"].items():
        optimizer.state[by_number[n]] = {
            k: v.item() if k in NUMBERS and isinstance(v, Tensor) else v for k, v in values.items()
        }
    try:
        yield
    finally:
        optimizer.param_groups, optimizer.state = groups, state
