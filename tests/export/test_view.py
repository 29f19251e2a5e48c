"""The page of a program shows each node, holds all that it needs, and believes nothing that stands in a program."""

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser

import pytest

import flambeau as fb
from flambeau import nn
from flambeau.__main__ import main
from flambeau.export import Dim, export, save
from flambeau.export.drawing import drawing
from flambeau.export.view import page, profile


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.norm = nn.Linear(4, 4), nn.LayerNorm(4)

    def forward(self, x):
        y = self.norm(self.one(x)).relu()
        return fb.cond(y.sum() > 0, lambda y: y * 2, lambda y: y - x, (y,))


def program():
    return export(Model(), (fb.ones(3, 4),), dynamic_shapes=({0: Dim("batch", min=1)},))


class Reader(HTMLParser):
    """Tags that are open, and what is drawn and fetched."""

    def __init__(self):
        super().__init__()
        self.open, self.nodes, self.fetched = [], [], []

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        if tag not in ("meta", "input", "path", "rect", "br"):
            self.open.append(tag)
        if tag == "g":
            self.nodes.append(found["data-node"])
        self.fetched += [found[a] for a in ("src", "href") if a in found]

    def handle_endtag(self, tag):
        if tag not in ("meta", "input", "path", "rect", "br"):
            assert self.open.pop() == tag


def read(text):
    reader = Reader()
    reader.feed(text)
    assert not reader.open and not reader.fetched
    return reader.nodes, json.loads(re.search(r'id="data">(.*?)</script>', text, re.S)[1])


def test_each_node_is_drawn_and_told_of():
    made = program()
    nodes, data = read(page(made))
    for node in made.graph.nodes:
        assert node.name in nodes and data[node.name]["op"] == node.op
    assert {data[n]["op"] for n in nodes if n in data} >= {
        "linear",
        "layer_norm",
        "relu",
        "cond",
        "mul",
        "sub",
        "input",
    }
    assert data["linear"]["module"] == "one" and data["linear"]["results"] == ["%linear: float32[batch, 4]"]
    assert re.fullmatch(r"test_view\.py:\d+", data["relu"]["line"])


def test_boxes_stand_in_rows_without_touching():
    drawn = drawing(program().graph, "", {})
    places = [tuple(map(float, p)) for p in re.findall(r"translate\(([-\d.]+),([-\d.]+)\)", drawn)]
    assert len(places) == len(set(places)) == drawn.count("<g ")
    for x, y in places:
        assert not any(v == y and x < u < x + 190 for u, v in places)


def test_what_stands_in_a_program_is_no_markup():
    made = program()
    for node in made.graph.nodes:
        node.module = node.place = "</script><script>alert(1)</script>"
    text = page(made, "<b>{{DETAILS}}</b>")
    assert "<script>alert" not in text and "<b>" not in text and text.count("{{DETAILS}}") == 2
    read(text)


def test_times_are_shown():
    made = program()
    times = profile(made, (fb.ones(5, 4),))
    assert {n.op for n in times} >= {"linear", "layer_norm", "cond"} and all(t > 0 for t in times.values())
    text = page(made, times=times)
    assert "class='heat'" in text and read(text)[1]["linear"]["time"].endswith(" ms")


def test_the_command_writes_a_page(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    save(program(), "model.fbp")
    assert main(["view", "model.fbp", "--profile"]) == 0
    assert capsys.readouterr().out == "model.html\n"
    assert "layer_norm" in (tmp_path / "model.html").read_text()
    (tmp_path / "made.py").write_text("import flambeau as fb\ndef make():\n    return fb.nn.ReLU(), fb.ones(2)\n")
    assert main(["view", "made.py:make", "--out", "other.html"]) == 0
    assert "made.py:make" in (tmp_path / "other.html").read_text()
    for target, text in (
        ("made.py:none", "has no function 'none'"),
        ("made.py", "not a safetensors file"),
        ("no.fbp", "no.fbp"),
    ):
        assert main(["view", target]) == 2
        assert text in capsys.readouterr().err


@pytest.mark.slow
def test_a_browser_runs_the_page(tmp_path):
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("there is no chromium here")
    made, path = program(), tmp_path / "page.html"
    path.write_text(page(made, times=profile(made, (fb.ones(3, 4),))))
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'user'}", "--dump-dom"]
    result = subprocess.run([browser, *options, path.as_uri()], capture_output=True, text=True, timeout=120, check=True)
    ready = re.search(r'data-ready="(\d+)"', result.stdout)
    assert ready and int(ready[1]) > 2 * len(made.graph.nodes)
    assert "Uncaught" not in result.stderr
