"""What compiled functions tell of themselves: as objects, as text, by the command, and in warnings."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import flambeau as fb
from flambeau import nn
from flambeau.__main__ import main
from flambeau.core.capture import telling
from flambeau.core.capture.trace import Kind, Node, Value
from tests.conftest import RunPython


def test_counts_graphs_and_ops() -> None:
    made = fb.compile(lambda x: (x @ x).relu().sum(), dynamic=False)
    for size in (2, 3):
        for _ in range(5):
            made(fb.eye(size))
    told = made.explain()
    assert (told.eager, told.recorded, told.replayed, told.resumed) == (2, 4, 4, 0)
    assert (told.graph_count, told.graph_break_count, told.op_count) == (2, 0, 6)
    assert told.ops_per_graph == [["matmul", "relu", "sum"]] * 2 and told.break_reasons == []
    lines = str(told).splitlines()
    assert lines[0].endswith("2 calls eager, 4 recorded, 4 replayed, 0 resumed")
    assert lines[1].startswith("  graph 0: first call; 2 replays; 3 kernels")
    (product,) = [line for line in lines if "float32 (3, 3) cpu; test_explaining.py" in line and "matmul" in line]
    assert product.strip().startswith("v1 = matmul(v0, v0)  # ")


def test_a_module_tells_of_its_parameters() -> None:
    made = fb.compile(nn.Linear(3, 2))
    for _ in range(3):
        made(fb.ones(3))
    text = str(made.explain())
    assert "v0: argument, float32 (3,) cpu" in text and "a tensor that is no argument, float32 (2, 3) cpu" in text
    assert made.explain().out_guards and f"guard: {made.explain().out_guards[0]}" in text


def test_reasons_to_run_eagerly() -> None:
    @fb.compiler.disable
    def host(x: fb.Tensor) -> fb.Tensor:
        return x

    made = fb.compile(lambda x: host(x))
    made(fb.ones(1))
    with pytest.warns(RuntimeWarning):
        made(fb.ones(1))
    told = made.explain()
    assert told.graph_break_count == 1 and told.graph_count == 0
    assert "\n  eager because compiler.disable: " in str(told)


# -- nodes -----------------------------------------------------------------------------------------------
def value(number: int, *shape: int) -> Value:
    return Value(number, key=fb.ones(1)._key, shape=shape)


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        (Node(Kind.WRITE, max, (value(1, 2), value(2, 2))), "write(v1, v2)  # write"),
        (
            Node(Kind.MAKE, max, (), outs=(value(3, 2),), place="a.py:3"),
            "v3 = make()  # make, float32 (2,) cpu; a.py:3",
        ),
        (Node(Kind.READ, max, (value(3),), outs=(Value(4),)), "n4 = read(v3)  # read"),
        (
            Node(Kind.KERNEL, max, ([value(1, 2), value(2, 2)], (3,)), {"axis": 0}, (value(3, 4), None), True),
            "v3 = kernel([v1, v2], (3,), axis=0)  # float32 (4,) cpu",
        ),
    ],
)
def test_a_node_as_a_line(node: Node, expected: str) -> None:
    assert telling.line(node) == expected


def test_arguments_are_shortened() -> None:
    assert telling.argument(slice(1, None, value(2))) == "1::v2"
    assert telling.argument("x" * 90) == f"'{'x' * 36}..."
    assert telling.argument((value(1),)) == "(v1,)"


def test_the_middle_of_a_long_list_is_left_out() -> None:
    nodes = [Node(Kind.HOST, max, (i,), outs=(Value(i),)) for i in range(40)]
    lines = telling.listing(nodes)
    assert lines[0] == "n0 = max(0)  # host" and lines[-1] == "n39 = max(39)  # host"
    assert lines[telling.FIRST] == f"... {40 - telling.FIRST - telling.LAST} more"
    assert len(telling.listing(nodes, full=True)) == 40 and len(telling.listing(nodes[:17])) == 17


# -- storms ----------------------------------------------------------------------------------------------
def graphs(*reasons: str) -> list[Any]:
    return [SimpleNamespace(made_because=why) for why in ("first call", *reasons)]


@pytest.mark.parametrize(
    ("reasons", "expected"),
    [
        (
            [f"argument 1 is {i} and was {i - 1}" for i in range(4, 12)],
            "argument 1 was another number in most calls: ..., 7, 8, 9, 10, 11; pass it as a tensor",
        ),
        (
            ["argument 0 has shape (3, 4) and had (2, 4)", "argument 0 has shape (5, 4) and had (3, 4)"],
            "argument 0 had another shape in most calls: (2, 4), (3, 4), (5, 4); pad to a few sizes",
        ),
        (["argument 0 is 'b' and was 'a'"], "argument 0 was another text in most calls: 'a', 'b'; what changes"),
        (["grad mode changed", "autocast changed"], "goes on: grad mode changed; autocast changed"),
        ([], "each call is of another kind"),
    ],
)
def test_a_storm_is_named_by_what_kept_changing(reasons: list[str], expected: str) -> None:
    text = telling.storm(graphs(*reasons), "step")
    assert text.startswith(f"compile: step was recorded for {len(reasons) + 1} kinds of calls, and goes on: ")
    assert expected in text


# -- the command -----------------------------------------------------------------------------------------
SCRIPT = """
import sys
import flambeau as fb
from beside import size

@fb.compile
def double(x):
    return x + x

def main():
    inner = fb.compile(lambda x: x * x, name="inner")
    for _ in range(5):
        inner(double(fb.ones(size)))
    print("arguments:", sys.argv[1:], __name__)

main()
sys.exit(3 if "--fail" in sys.argv else 0)
"""


@pytest.fixture
def script(tmp_path: Path) -> str:
    (tmp_path / "beside.py").write_text("size = 4\n")
    path = tmp_path / "train.py"
    path.write_text(SCRIPT)
    return str(path)


def test_the_command_tells_of_all_that_a_script_compiled(script: str, run_python: RunPython) -> None:
    done = run_python("-m", "flambeau", "explain", "--compiled", script, "--epochs", "3")
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    assert said[:3] == [
        "arguments: ['--epochs', '3'] __main__",
        "",
        "double: 1 call eager, 2 recorded, 2 replayed, 0 resumed",
    ]
    assert "inner: 1 call eager, 2 recorded, 2 replayed, 0 resumed" in said
    assert any("v1 = add(v0, v0)" in line and "train.py:8" in line for line in said)


def test_the_command_gives_on_how_the_script_ended(script: str, run_python: RunPython, tmp_path: Path) -> None:
    done = run_python("-m", "flambeau", "explain", "--compiled", script, "--fail")
    assert done.returncode == 3 and "double: 1 call eager" in done.stdout
    (tmp_path / "wrong.py").write_text("import flambeau as fb\nfb.compile(abs)(fb.ones(1))\n1 / 0\n")
    done = run_python("-m", "flambeau", "explain", "--compiled", str(tmp_path / "wrong.py"))
    assert done.returncode == 1 and "ZeroDivisionError" in done.stderr and "abs: 1 call eager" in done.stdout


def test_the_command_without_anything_to_explain(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["explain"]) == 2 and "--compiled SCRIPT" in capsys.readouterr().err
    (tmp_path / "none.py").write_text("raise SystemExit('over')\n")
    assert main(["explain", "--compiled", str(tmp_path / "none.py")]) == 1
    said = capsys.readouterr()
    assert "compiled nothing" in said.out and said.err == "over\n"


def test_every_kind_of_node_is_told() -> None:
    assert set(telling._KINDS) == set(Kind)
