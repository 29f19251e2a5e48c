"""state_dict and load_state_dict: round trips, strictness, hooks, and errors that help."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import flambeau as fb
from flambeau import nn
from tests.errors import check_error


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 1))


KEYS = [
    *("0.weight", "0.bias"),
    *("1.weight", "1.bias", "1.running_mean", "1.running_var", "1.num_batches_tracked"),
    *("2.weight", "2.bias"),
]


def test_round_trip() -> None:
    a, b = network(), network()
    state = a.state_dict()
    assert list(state) == KEYS
    assert not any(t.requires_grad for t in state.values())
    assert repr(b.load_state_dict(state)) == "<All keys matched successfully>"
    x = fb.ones(4, 2)
    np.testing.assert_array_equal(a(x).detach().numpy(), b(x).detach().numpy())
    assert b[0].weight.requires_grad
    assert b[0].weight.data_ptr() != a[0].weight.data_ptr()


def test_state_shares_memory_and_keeps_variables_if_asked() -> None:
    m = network()
    assert m.state_dict()["0.weight"].data_ptr() == m[0].weight.data_ptr()
    assert m.state_dict(keep_vars=True)["0.weight"] is m[0].weight
    assert list(m.state_dict(prefix="model.")) == [f"model.{k}" for k in KEYS]


def test_loading_casts() -> None:
    m = network()
    m.load_state_dict({k: v.double() if v.is_floating_point() else v for k, v in network().state_dict().items()})
    assert m[0].weight.dtype is fb.float32


def test_assign_takes_the_tensors() -> None:
    m, state = network(), {k: v.clone() for k, v in network().double().state_dict().items()}
    m.load_state_dict(state, assign=True)
    assert m[0].weight.dtype is fb.float64
    assert isinstance(m[0].weight, nn.Parameter)
    assert m[0].weight.data_ptr() == state["0.weight"].data_ptr()


def test_not_strict_reports_keys() -> None:
    m, state = network(), network().state_dict()
    del state["0.bias"]
    state["extra"] = fb.zeros(1)
    found = m.load_state_dict(state, strict=False)
    assert found.missing_keys == ["0.bias"]
    assert found.unexpected_keys == ["extra"]
    assert "0.bias" in repr(found)


def changed(**changes: Any) -> dict[str, Any]:
    state = network().state_dict()
    for key, value in changes.items():
        key = key.replace("__", ".").removeprefix("_")
        if value is None:
            del state[key]
        else:
            state[key] = value
    return state


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (lambda: changed(_0__bias=None), ["Sequential", 'Missing key(s) in state_dict: "0.bias".']),
        (lambda: changed(more=fb.zeros(1)), ['Unexpected key(s) in state_dict: "more".']),
        (lambda: changed(_0__bias=fb.zeros(4)), ["size mismatch for 0.bias", "(4,)", "checkpoint", "(3,)"]),
        (lambda: changed(_0__bias="x"), ["0.bias", "expected a tensor", "str"]),
        (lambda: changed(_2__bias=None, _2__bais=fb.zeros(1)), ['"2.bais" for "2.bias"']),
        (lambda: {f"module.{k}": v for k, v in network().state_dict().items()},
         ['starts with "module."', "consume_prefix_in_state_dict_if_present"]),
    ],
)  # fmt: skip
def test_errors_name_keys_and_shapes(state: Any, words: list[str]) -> None:
    check_error(lambda: network().load_state_dict(state()), RuntimeError, words)


def test_prefixes_are_consumed() -> None:
    state = {f"module.{k}": v for k, v in network().state_dict().items()}
    nn.utils.consume_prefix_in_state_dict_if_present(state, "module.")
    network().load_state_dict(state)
    assert list(state) == KEYS


def test_state_must_be_a_mapping() -> None:
    with pytest.raises(TypeError, match=r"dict of tensors, got list"):
        network().load_state_dict([])


class WithExtra(nn.Module):
    def __init__(self, value: int) -> None:
        super().__init__()
        self.value = value

    def get_extra_state(self) -> Any:
        return {"value": self.value}

    def set_extra_state(self, state: Any) -> None:
        self.value = state["value"]


def test_extra_state() -> None:
    a, b = nn.Sequential(WithExtra(1)), nn.Sequential(WithExtra(2))
    assert a.state_dict() == {"0._extra_state": {"value": 1}}
    b.load_state_dict(a.state_dict())
    assert b[0].value == 1
    with pytest.raises(RuntimeError, match=r"Missing key.*_extra_state"):
        b.load_state_dict({})


def test_hooks() -> None:
    m, seen = network(), []
    m.register_state_dict_pre_hook(lambda mod, prefix, keep: seen.append(("pre", prefix, keep)))
    m.register_state_dict_post_hook(lambda mod, state, prefix, meta: state.__delitem__("0.bias"))
    assert "0.bias" not in m.state_dict()
    assert seen == [("pre", "", False)]
    n = network()
    n.register_load_state_dict_pre_hook(lambda mod, state, *rest: state.update({"0.bias": fb.ones(3)}))
    n.register_load_state_dict_post_hook(lambda mod, keys: seen.append(keys.missing_keys))
    n.load_state_dict(m.state_dict())
    assert n[0].bias.tolist() == [1.0, 1.0, 1.0]
    assert seen[-1] == []
