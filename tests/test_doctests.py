"""The examples in docstrings, by module. (pytest's own collector would import the checkout under other names.)"""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

import flambeau
from flambeau.core.naming import HOMES
from flambeau.core.record import OPS
from tests.packaging.imports import modules

OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@pytest.mark.parametrize("name", [name for name, path in modules().items() if ">>>" in path.read_text()])
def test_examples(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("flambeau"):
            raise
        pytest.skip(f"{error.name} is not installed")
    monkeypatch.chdir(tmp_path)
    said: list[str] = []
    runner = doctest.DocTestRunner(optionflags=OPTIONS)
    if module is flambeau:  # its functions' examples run where they are written
        run_text(str(module.__doc__), name)
        return
    for cls, home in HOMES.items():  # what says that it is at home in flambeau, where it is defined
        if home == name:
            monkeypatch.setattr(cls, "__module__", home)
    scope = vars(module) | {"fb": flambeau}
    tests = doctest.DocTestFinder(exclude_empty=True).find(module, name, globs=scope)
    results = [runner.run(test, out=said.append) for test in tests]
    assert sum(r.attempted for r in results), "the examples were not found"
    assert not sum(r.failed for r in results), "".join(said)


def run_text(text: str, name: str) -> None:
    """Run the examples of a docstring that stands in no source file."""
    test = doctest.DocTestParser().get_doctest(text, {"fb": flambeau}, name, None, None)
    said: list[str] = []
    result = doctest.DocTestRunner(optionflags=OPTIONS).run(test, out=said.append)
    assert result.attempted and not result.failed, "".join(said)


@pytest.mark.parametrize("name", [name for name, op in OPS.items() if ">>>" in op.function.__doc__])
def test_examples_of_generated_functions(name: str) -> None:
    run_text(OPS[name].function.__doc__, name)
