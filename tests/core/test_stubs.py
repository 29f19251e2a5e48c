"""The type stubs say what the package has at run time."""

from __future__ import annotations

import ast
import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import flambeau as fb
from flambeau.core import methods

MAKER = Path(__file__).resolve().parents[2] / ".ci" / "stubs.py"
spec = importlib.util.spec_from_file_location("stubs", MAKER)
stubs = importlib.util.module_from_spec(spec)
spec.loader.exec_module(stubs)


@pytest.fixture(scope="module")
def namespace() -> str:
    return stubs.namespace_stub()


@pytest.fixture(scope="module")
def class_body() -> str:
    return stubs.methods_stub()


def test_the_checked_in_stubs_are_current():
    result = subprocess.run([sys.executable, str(MAKER), "--check"], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


def test_every_function_and_method_is_listed(namespace, class_body):
    functions = {n.name for n in ast.parse(namespace).body if isinstance(n, ast.FunctionDef)}
    assert functions == set(methods.FUNCTIONS)
    body = next(n for n in ast.parse(class_body).body if isinstance(n, ast.ClassDef)).body
    listed = {n.name for n in body if isinstance(n, ast.FunctionDef)}
    assert {"reshape", "add_", "__radd__", "sum", "to", "mT", "addmm"} <= listed
    assert all(hasattr(fb.Tensor, name) for name in listed)


def test_the_namespace_stub_lists_every_public_name(namespace):
    bound = set()
    for node in ast.parse(namespace).body:
        if isinstance(node, ast.ImportFrom):
            bound |= {a.asname for a in node.names if a.asname}
        elif isinstance(node, ast.FunctionDef):
            bound.add(node.name)
        elif isinstance(node, ast.AnnAssign):
            bound.add(node.target.id)
    modules = {n for n, v in vars(fb).items() if isinstance(v, ModuleType)}
    public = {n for n in vars(fb) if not n.startswith("_") and n != "annotations"} - modules
    assert public <= bound
    assert all(hasattr(fb, name) for name in bound - {"_Number"})


def test_signatures_come_from_the_schemas(class_body):
    assert "def tril(self, diagonal: builtins.int = 0, *, out: Tensor | None = None) -> Tensor: ..." in class_body
    assert (
        "def add(self, other: Tensor | Number, *, alpha: Tensor | Number = ..., out: Tensor | None = None)"
        in class_body
    )
    split = "def split(self, split_size_or_sections: builtins.int | Sequence[builtins.int], dim: builtins.int = 0,"
    more = "split_size: builtins.int | Sequence[builtins.int] = ..., axis: builtins.int = 0"
    assert f"{split} *, {more})" in class_body


def test_a_stale_stub_is_named(tmp_path, monkeypatch, capsys):
    target = tmp_path / "some.pyi"
    monkeypatch.setattr(stubs, "stubs", lambda: {target: "text\n"})
    assert stubs.main(["--check"]) == 1
    assert "some.pyi is out of date" in capsys.readouterr().out
    assert stubs.main([]) == 0 and target.read_text() == "text\n"
    assert stubs.main(["--check"]) == 0
