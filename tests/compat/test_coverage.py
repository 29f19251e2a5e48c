"""PyTorch's documented names are here, and what is missing has a reason."""

from __future__ import annotations

import os
import re
from pathlib import Path

import flambeau
from flambeau.compat.coverage import LATER, NAMESPACES, documented, reasons, undocumented

MISSING = [name for place in NAMESPACES for name in documented(place).missing]
TESTS, LIBRARY = Path(__file__).resolve().parents[1], Path(flambeau.__file__).parent


def _sources(folder: Path) -> list[str]:
    walked = os.walk(folder, followlinks=True)
    return [Path(place, name).read_text() for place, _, names in walked for name in names if name.endswith(".py")]


def test_each_missing_name_has_one_reason() -> None:
    counts = {name: sum(r.covers(name) for r in reasons()) for name in MISSING}
    assert {name: n for name, n in counts.items() if n != 1} == {}


def test_each_reason_is_for_names_that_are_missing() -> None:
    assert [r.text for r in reasons() if not any(r.covers(name) for name in MISSING)] == []


def test_nearly_all_documented_names_are_there() -> None:
    there = sum(len(documented(place).there) for place in NAMESPACES)
    assert there / (there + len(MISSING)) >= 0.99


def test_names_are_methods_and_attributes_too() -> None:
    found = set(documented("Tensor").there) | set(documented(".").there) | set(documented("nn").there)
    assert {"Tensor.add_", "Tensor.T", "Generator.manual_seed", "einsum", "nn.Linear.forward"} <= found
    assert "Tensor.no_such_name" not in found
    assert documented("distributions").total > 500 and not documented("distributions").missing


def test_every_name_stands_in_one_namespace() -> None:
    places = (*NAMESPACES, *LATER)
    names = [name for place in places for name in (*documented(place).there, *documented(place).missing)]
    assert len(names) == len(set(names)) > 5000
    assert undocumented("optim").total and not set(undocumented("optim").there) & set(names)


def test_each_name_stands_in_a_test_or_an_example() -> None:
    examples = (line for text in _sources(LIBRARY) for line in re.findall(r"^ *(?:>>>|\.\.\.) (.*)$", text, re.M))
    words = set(re.findall(r"\w+", "\n".join([*_sources(TESTS), *examples])))
    there = [name for place in NAMESPACES for name in documented(place).there]
    assert [name for name in there if name.rpartition(".")[2] not in words] == []
