"""One way to name things: a record's function is ``<name>_p``, a public one has its public name."""

from __future__ import annotations

import ast
import builtins
import importlib
import pkgutil
from pathlib import Path

import pytest

from flambeau.core import methods, ops
from flambeau.core.public import FACES
from flambeau.core.record import OPS

MODULES = [importlib.import_module(m.name) for m in pkgutil.walk_packages(ops.__path__, f"{ops.__name__}.")]


def test_the_function_of_a_record_is_bound_to_its_name_and_p() -> None:
    records = {id(op.function): f"{op.name}_p" for op in OPS.values()}
    bound = [(m.__name__, name, records[id(v)]) for m in MODULES for name, v in vars(m).items() if id(v) in records]
    assert len(bound) > 200
    assert [b for b in bound if b[1] != b[2]] == []


@pytest.mark.parametrize("module", MODULES, ids=lambda m: m.__name__.removeprefix(f"{ops.__name__}."))
def test_no_name_of_a_module_hides_a_builtin(module: object) -> None:
    tree = ast.parse(Path(module.__file__).read_text())
    names = {n.name for n in tree.body if isinstance(n, ast.FunctionDef | ast.ClassDef)}
    names |= {t.id for n in tree.body if isinstance(n, ast.Assign) for t in n.targets if isinstance(t, ast.Name)}
    assert not names & set(vars(builtins))


def test_public_functions_are_called_as_users_call_them() -> None:
    private = {f.names[0]: f.function.__name__ for f in FACES if f.function.__name__.startswith("_")}
    assert {n: f for n, f in private.items() if not n.startswith("_")} == {}  # names of PyTorch's with one are kept
    assert {n for n, f in methods.FUNCTIONS.items() if f.__name__.endswith("_") != n.endswith("_")} == set()
