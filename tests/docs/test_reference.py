"""The reference leaves no public name out, and the pages quote what is there."""

from __future__ import annotations

import importlib
import inspect
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import flambeau as fb
from flambeau.core.memory_format import MemoryFormat
from flambeau.core.methods import FUNCTIONS
from flambeau.explain import explain
from tests.docs.guide import DOCS

REFERENCE = {path.stem: path.read_text() for path in (DOCS / "reference").glob("*.rst")}
PAGES = "\n".join(REFERENCE.values())
MODULES = (
    "flambeau.__config__",
    "flambeau.accelerator",
    "flambeau.accelerator.memory",
    "flambeau.amp",
    "flambeau.amp.autocast_mode",
    "flambeau.amp.grad_scaler",
    "flambeau.amp.switches",
    "flambeau.array_api",
    "flambeau.array_api.fft",
    "flambeau.array_api.linalg",
    "flambeau.autograd",
    "flambeau.autograd.forward_ad",
    "flambeau.autograd.function",
    "flambeau.autograd.functional",
    "flambeau.autograd.gradcheck",
    "flambeau.autograd.graph",
    "flambeau.autograd.profiler",
    "flambeau.autograd.variable",
    "flambeau.compat.torch",
    "flambeau.compiler",
    "flambeau.control",
    "flambeau.cpu",
    "flambeau.cpu.amp",
    "flambeau.cuda",
    "flambeau.cuda.amp",
    "flambeau.cuda.memory",
    "flambeau.cuda.nvtx",
    "flambeau.cuda.random",
    "flambeau.debug",
    "flambeau.distributed",
    "flambeau.distributed.checkpoint",
    "flambeau.distributed.checkpoint.state_dict",
    "flambeau.distributed.fsdp",
    "flambeau.distributed.fsdp.wrap",
    "flambeau.distributed.nn",
    "flambeau.distributed.optim",
    "flambeau.distributions",
    "flambeau.distributions.utils",
    "flambeau.fft",
    "flambeau.func",
    "flambeau.futures",
    "flambeau.fx",
    "flambeau.hub",
    "flambeau.library",
    "flambeau.linalg",
    "flambeau.masked",
    "flambeau.monitor",
    "flambeau.mps",
    "flambeau.mtia",
    "flambeau.multiprocessing",
    "flambeau.nested",
    "flambeau.nn",
    "flambeau.nn.attention",
    "flambeau.nn.attention.bias",
    "flambeau.nn.attention.flex_attention",
    "flambeau.nn.attention.varlen",
    "flambeau.nn.functional",
    "flambeau.nn.init",
    "flambeau.nn.native",
    "flambeau.nn.parallel",
    "flambeau.nn.utils",
    "flambeau.nn.utils.fusion",
    "flambeau.nn.utils.prune",
    "flambeau.nn.utils.stateless",
    "flambeau.onnx",
    "flambeau.optim",
    "flambeau.optim.lr_scheduler",
    "flambeau.overrides",
    "flambeau.profiler",
    "flambeau.quasirandom",
    "flambeau.random",
    "flambeau.serialization",
    "flambeau.signal",
    "flambeau.signal.windows",
    "flambeau.sparse",
    "flambeau.special",
    "flambeau.testing",
    "flambeau.utils._python_dispatch",
    "flambeau.utils._pytree",
    "flambeau.utils.benchmark",
    "flambeau.utils.checkpoint",
    "flambeau.utils.collect_env",
    "flambeau.utils.cpp_extension",
    "flambeau.utils.data",
    "flambeau.utils.dlpack",
    "flambeau.utils.flop_counter",
    "flambeau.utils.hooks",
    "flambeau.utils.mobile_optimizer",
    "flambeau.utils.model_zoo",
    "flambeau.utils.module_tracker",
    "flambeau.utils.serialization",
    "flambeau.utils.small",
    "flambeau.utils.tensorboard",
    "flambeau.utils.tensorboard.summary",
    "flambeau.xpu",
)


@pytest.fixture
def homes(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    monkeypatch.syspath_prepend(str(DOCS / "_ext"))
    yield importlib.import_module("ops_by_module").homes()
    sys.modules.pop("ops_by_module")


def test_every_op_is_on_one_page(homes: dict[str, str]) -> None:
    assert set(homes) <= set(FUNCTIONS)
    shown = [stem for line in re.findall(r"^\.\. ops:: (.+)$", PAGES, re.M) for stem in line.split()]
    assert sorted(shown) == sorted(set(homes.values()))
    assert not set(homes) & _entries("flambeau")
    assert homes["add"] == "elementwise" and homes["softmax"] == "nn" and homes["matmul"] == "matmul"


def test_every_other_public_name_is_there(homes: dict[str, str]) -> None:
    others = {n: v for n, v in vars(fb).items() if not n.startswith("_") and n not in homes | {"annotations": ""}}
    others = {n: v for n, v in others.items() if n not in fb._ELSEWHERE}  # there once they were asked for
    values = {n for n, v in others.items() if v is None or isinstance(v, fb.dtype | MemoryFormat | float)}
    words = set(re.findall(r"\w+", REFERENCE["namespace"].split("\nDtypes\n")[1].split(".. auto")[0]))
    entries = _entries("flambeau")
    assert values and values <= words
    assert {n for n, v in others.items() if not inspect.ismodule(v)} - values - {"Any"} <= entries


def _entries(module: str) -> set[str]:
    """The names of a module that have a directive of their own."""
    return set(re.findall(rf"^\.\. auto\w+:: {re.escape(module)}\.(\w+)$", PAGES, re.M))


@pytest.mark.parametrize("name", MODULES)
def test_every_name_of_a_module_is_there(name: str) -> None:
    module = importlib.import_module(name)
    shown = re.search(rf"^\.\. names:: {re.escape(name)}\n((?:   :.*\n)*)", PAGES, re.M)
    if shown is None:
        assert f".. automodule:: {name}\n   :members:\n" in PAGES
        return
    left_out = set(re.findall(r":except: (.*)", shown[1])[0].split()) if ":except:" in shown[1] else set()
    elsewhere = _entries(name) | {n for n in left_out if getattr(fb, n, None) is getattr(module, n)}
    assert left_out <= elsewhere, "a name that a page leaves out must stand on another one"
    offered = {n for n in module.__all__ if not inspect.ismodule(getattr(module, n))}
    undocumented = {n for n in offered if callable(getattr(module, n)) and not inspect.getdoc(getattr(module, n))}
    assert not undocumented


def test_every_module_with_a_list_of_names_has_a_page() -> None:
    folder = Path(fb.__file__).parent
    listed = {p.stem for p in folder.glob("[a-z]*.py") if "__all__" in p.read_text()} | {"nn", "optim"}
    without = {name for name in listed if f".. names:: flambeau.{name}\n" not in PAGES}
    assert not without, "give each a page docs/reference/NAME.rst with `.. names:: flambeau.NAME`"


def test_the_architecture_page_quotes_explain() -> None:
    said = "\n".join(line.rstrip() for line in explain("add", "cpu").splitlines())
    quotes = re.findall(r"^```text explain\n(.*?)^```", (DOCS / "architecture.md").read_text(), re.S | re.M)
    assert len(quotes) == 4
    for quote in quotes[:2] + quotes[3:]:
        assert quote.rstrip() in said
    assert all(line in said.splitlines() for line in quotes[2].splitlines())


def test_the_architecture_page_quotes_the_record() -> None:
    (quote,) = re.findall(r"^```text\n(.*?)^```", (DOCS / "architecture.md").read_text(), re.S | re.M)
    assert quote in (Path(fb.__file__).parent / "core" / "ops" / "elementwise.py").read_text()


def test_the_folders_on_the_architecture_page_exist() -> None:
    table = re.findall(r"^\| (`.*?) \|", (DOCS / "architecture.md").read_text(), re.M)
    assert len(table) > 5
    for row in table:
        folder = ""
        for name in re.findall(r"`([^`]+)`", row):
            folder = name.rpartition("/")[0] if "/" in name else folder
            path = name if "/" in name else f"{folder}/{name}"
            package = Path(fb.__file__).parent
            assert any(p.exists() for p in (package.parent / path, package / path, package / "core" / name)), path


def test_the_floors_on_the_architecture_page_are_those_that_are_checked() -> None:
    page = (DOCS / "architecture.md").read_text().split("## The floors")[1]
    told = [re.findall(r"`(\w+)`", row) for row in re.findall(r"^\| [^`|]+ \| (`.+`) \|$", page, re.M)]
    contracts = tomllib.loads((DOCS.parent / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (floors,) = [c["layers"] for c in contracts if c.get("containers") == ["flambeau.core"]]
    assert told == [sorted(re.findall(r"\w+", floor)) for floor in reversed(floors)]
