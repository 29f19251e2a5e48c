"""The reference of plugins names every hook with its signature, as the specifications have them."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from flambeau.plugins import hookspecs

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "plugins.md").read_text()
HOOKS = [name for name in vars(hookspecs) if name.startswith("flambeau_")]


@pytest.mark.parametrize("name", HOOKS)
def test_each_hook_stands_in_the_docs(name: str) -> None:
    function = getattr(hookspecs, name)
    assert f"def {name}{inspect.signature(function)}: ...".replace("'", "") in PAGE


def test_registering_kernels_is_described_as_it_is() -> None:
    parameters = list(inspect.signature(hookspecs.RegisterKernel.__call__).parameters)[1:]
    assert parameters == ["device_type", "op_name", "make", "dtypes", "priority"]
    assert "`register(device_type, op_name, make, *, dtypes=None,\npriority=0)`" in PAGE
