"""What of a program's state a function reads: each case is a small program and a change between two calls."""

from __future__ import annotations

import cProfile
import functools
import gc
import io
import pstats
import re
import sys
import threading
import types
import weakref
from typing import Any

import pytest

import flambeau as fb
from flambeau.core.capture import structure
from flambeau.core.capture.surroundings import Snapshot, Surroundings, place_of_program
from tests.core.capture.surroundings_programs import BY_RUN, CFG, MODULES, NET, SCALED, STATE

HEAD = """
import collections, dataclasses, enum, functools, itertools, math, random, types
import numpy as np
from flambeau import nn
"""


def program(source: str) -> dict[str, Any]:
    """The globals of a program, whose file is called prog.py."""
    space: dict[str, Any] = {"__name__": __name__, "fb": fb}
    exec(compile(HEAD, "head.py", "exec"), space)
    exec(compile(source, "prog.py", "exec"), space)
    return space


def run(fn: Any, *args: Any, **kwargs: Any) -> Surroundings:
    with Surroundings(fn, args, kwargs) as seen:
        fn(*args, **kwargs)
    return seen


def checked(space: dict[str, Any], *args: Any) -> Snapshot:
    """The snapshot of ``step``, which depends on nothing that it changes itself."""
    seen = run(space["step"], *args)
    assert seen.effects == []
    assert seen.changed_by_run() is None
    made = seen.freeze()
    assert made.changed() is None
    assert made._unchanged()
    return made


CASES = STATE | MODULES


@pytest.mark.parametrize("name", CASES)
def test_change_between_calls(name: str) -> None:
    source, change, said = CASES[name]
    space = program(source)
    seen = checked(space, fb.ones(2, 2))
    exec(compile(change, "change.py", "exec"), space)
    try:
        assert seen.changed() == said
        assert seen.changed() == said  # told again
        assert seen._unchanged() is (said is None)  # what was looked at, and found the same, costs no second look
    finally:
        if "h" in space:
            space["h"].remove()


@pytest.mark.parametrize("name", BY_RUN)
def test_change_by_the_run_itself(name: str) -> None:
    source, said = BY_RUN[name]
    seen = run(program(source)["step"], fb.ones(2, 2))
    assert seen.changed_by_run() == said


@pytest.mark.parametrize(("owner", "name"), [("ReLU", "forward"), ("ReLU", "__call__"), ("Module", "__call__")])
def test_what_a_call_runs_is_replaced_in_a_class_of_nn(owner: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    space = program(NET)
    seen = checked(space, fb.ones(2, 2))
    kind = getattr(fb.nn, owner)
    monkeypatch.setattr(kind, name, lambda self, x: x, raising=False)
    said = seen.changed()
    assert said is not None and re.fullmatch(rf"the class attribute '\w+\.{name}' was the function .*", said)
    monkeypatch.undo()
    assert seen.changed() is None


@pytest.mark.parametrize(
    "make",
    [
        "nn.Sequential(nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())",
        "nn.Sequential(nn.Flatten(2), nn.LSTM(4, 3, batch_first=True))",
        "nn.Sequential(nn.Flatten(2), nn.TransformerEncoderLayer(4, 2, 8, batch_first=True), nn.Dropout(0.2))",
        "nn.Sequential(nn.Flatten(1), nn.utils.parametrizations.weight_norm(nn.Linear(8, 2)))",
        "nn.Sequential(nn.Flatten(1), nn.utils.parametrizations.spectral_norm(nn.Linear(8, 2)), nn.LayerNorm(2))",
    ],
)
def test_layers_of_ours_change_nothing_of_their_own(make: str) -> None:
    space = program(f"net = {make}\ndef step(x):\n return net(x)")
    seen = checked(space, fb.ones(2, 2, 2, 2))
    space["step"](fb.ones(2, 2, 2, 2))
    assert seen.changed() is None


EFFECTS = {
    "print(end='')": "print() at prog.py:3",
    "open('/dev/null').close()": "open() at prog.py:3",
    "time.time()": "time.time() at prog.py:3",
    "time.perf_counter()": "time.perf_counter() at prog.py:3",
    "time.sleep(0)": "time.sleep() at prog.py:3",
    "random.random()": "random.random() at prog.py:3",
    "random.randint(1, 6)": "random.Random.randint() at prog.py:3",
    "random.Random(0).gauss(0, 1)": "random.Random.gauss() at prog.py:3",
    "os.urandom(2)": "os.urandom() at prog.py:3",
    "secrets.token_hex(2)": "secrets.token_hex() at prog.py:3",
    "uuid.uuid4()": "uuid.uuid4() at prog.py:3",
    "datetime.datetime.now()": "datetime.now() at prog.py:3",
    "datetime.date.today()": "date.today() at prog.py:3",
    "np.random.rand(2)": "random numbers of numpy were drawn in step() at prog.py:4",
    "rng.random()": "random numbers of the global 'rng' of prog.py were drawn in step() at prog.py:4",
    "logging.getLogger('x').error('a')": "logging.Logger.error() at prog.py:3",
    "sys.stdout.write('')": "sys.stdout.write() at prog.py:3",
    "sys.stderr.write('')": "sys.stderr.write() at prog.py:3",
    "socket.socket().close()": "socket.socket.__init__() at prog.py:3",
    "subprocess.run(['true'])": "subprocess.run() at prog.py:3",
    "threading.Thread(target=int).start()": "threading.Thread.start() at prog.py:3",
    "dict(os.environ)": "the whole of os.environ is read at prog.py:3",
    "list(os.environ)": "the whole of os.environ is read at prog.py:3",
    "os.environ['PATH'] = os.environ['PATH']": "os._Environ.__setitem__() at prog.py:3",
    "next(generator)": "the generator g(), which was there before, is resumed at prog.py:3",
    "[x for x in generator]": "the generator g(), which was there before, is resumed at prog.py:3",
    "next(iterator)": "the global 'iterator' of prog.py, an iterator, is read",
    "next(counter)": "the global 'counter' of prog.py, an iterator, is read",
    "len(large)": "a list of 60000 entries is read at prog.py:2: the global 'large' of prog.py",
}
IMPORTS = "import datetime, logging, os, random, secrets, socket, subprocess, sys, threading, time, uuid, warnings"


def with_line(line: str) -> dict[str, Any]:
    space = program("")
    exec(compile(IMPORTS, "head.py", "exec"), space)
    before = "def g():\n yield 1\n yield 2\n yield 3\n"
    before += "generator = g(); next(generator); iterator = iter([1, 2]); counter = itertools.count()\n"
    before += "large = list(range(60000)); rng = np.random.default_rng(0)\n"
    exec(compile(before, "before.py", "exec"), space)
    exec(compile(f"\ndef step(x):\n {line}\n return x\n", "prog.py", "exec"), space)
    return space


@pytest.mark.parametrize("line", EFFECTS)
def test_effect(line: str) -> None:
    space = with_line(line)
    with Surroundings(space["step"], (1,), {}) as seen:
        space["step"](1)
    assert EFFECTS[line] in seen.effects
    if line in ("rng.random()", "np.random.rand(2)", "random.random()"):
        assert len(seen.effects) == 1


READS = ["os.environ['SCALE_OF_A_TEST']", "os.environ.get('SCALE_OF_A_TEST')", "os.getenv('SCALE_OF_A_TEST', '1')"]


@pytest.mark.parametrize("line", [*READS, "'SCALE_OF_A_TEST' in os.environ", "os.path.expandvars('$SCALE_OF_A_TEST')"])
def test_variable_of_the_environment(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCALE_OF_A_TEST", "2")
    monkeypatch.delenv("OTHER_OF_A_TEST", raising=False)
    seen = checked(with_line(line), 1)
    monkeypatch.setenv("OTHER_OF_A_TEST", "3")
    assert seen.changed() is None
    monkeypatch.setenv("SCALE_OF_A_TEST", "3")
    assert seen.changed() == "the environment variable 'SCALE_OF_A_TEST' was b'2' and is b'3'"
    monkeypatch.delenv("SCALE_OF_A_TEST")
    assert seen.changed() == "the environment variable 'SCALE_OF_A_TEST' was b'2' and is None"


def test_variable_of_the_environment_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SCALE_OF_A_TEST", raising=False)
    seen = checked(with_line("os.getenv('SCALE_OF_A_TEST')"), 1)
    monkeypatch.setenv("SCALE_OF_A_TEST", "3")
    assert seen.changed() == "the environment variable 'SCALE_OF_A_TEST' was None and is b'3'"


def test_warning_is_an_effect() -> None:
    space = with_line("warnings.warn('w')")
    with pytest.warns(UserWarning), Surroundings(space["step"], (1,), {}) as seen:
        space["step"](1)
    assert seen.effects == ["warnings.warn() at prog.py:3"]


@pytest.mark.parametrize(
    "line",
    [
        "fb.rand(2); fb.manual_seed(0); fb.nn.functional.dropout(fb.ones(3), 0.5)",
        "repr(fb.ones(2)); str(x)",
        "isinstance(x, int), len([1]), list(range(3)), list(zip([1], [2])), math.sqrt(2)",
        "functools.reduce(max, [1, 2]), sorted([2, 1]), ','.join(['a']), dict(a=1).items()",
        "logging.getLogger('x').debug('a')",
        "list(g()); [i for i in (1, 2)]; next(iter([1]))",
        "it = iter([1, 2]); next(it); next(g())",
        "class A: pass\n A().counter = 1",
        "try: {}['a']\n except KeyError: pass",
        "x.iterator if hasattr(x, 'iterator') else None",  # an attribute of the name of a global
    ],
)
def test_no_effect(line: str) -> None:
    assert run(with_line(line)["step"], 1).effects == []


def test_what_runs_when_garbage_is_collected_is_no_part_of_the_run() -> None:
    watching = program("import time\nn = 0\ndef watch(phase, info):\n global n\n n += 1; time.time()")["watch"]
    space = with_line("collect()")
    space["collect"] = gc.collect
    gc.callbacks.append(watching)
    try:
        seen = run(space["step"], 1)
    finally:
        gc.callbacks.remove(watching)
    assert seen.effects == [] and seen.changed_by_run() is None


def test_argument() -> None:
    space = program(CFG + "def step(cfg, x):\n return cfg.scale * x")
    cfg = space["Cfg"]()
    seen = checked(space, cfg, 2.0)
    cfg.scale = 5.0
    assert seen.changed() == "the argument '[0].scale' was 2.0 and is 5.0"


def test_iterator_as_an_argument() -> None:
    assert run(list, iter([1])).effects == ["the argument '[0]', an iterator, is read"]


def test_attribute_of_a_python_module() -> None:
    module = types.ModuleType("settings")
    module.scale, module.other = 2.0, 1  # type: ignore[attr-defined]
    space = program(SCALED.replace("scale", "settings.scale"))
    space["settings"] = module
    seen = checked(space, 1.0)
    module.other = 2  # type: ignore[attr-defined]
    assert seen.changed() is None
    module.scale = 3.0  # type: ignore[attr-defined]
    assert seen.changed() == "the attribute 'settings.scale' was 2.0 and is 3.0"


def test_deleted_model_is_not_kept_alive() -> None:
    space = program(NET)
    seen = checked(space, fb.ones(2, 2))
    model = weakref.ref(space["net"])
    tensor = weakref.ref(space["net"][0].weight)
    del space["net"]
    gc.collect()
    assert model() is None and tensor() is None
    assert seen.changed() == "the global 'net' of prog.py is gone"


def test_two_threads() -> None:
    found: dict[int, tuple[list[str], str | None]] = {}
    together = threading.Barrier(2)

    def work(i: int) -> None:
        space = program(f"n{i} = 0\ndef f(x):\n global n{i}\n n{i} += 1\n wait()\ndef step(x):\n f(x)")
        space["wait"] = together.wait
        with Surroundings(space["step"], (1,), {}) as seen:
            space["step"](1)
        found[i] = seen.effects, seen.changed_by_run()
        assert sys.getprofile() is None

    threads = [threading.Thread(target=work, args=(i,)) for i in range(2)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert {i: said for i, (_, said) in found.items()} == {
        i: f"the global 'n{i}' of prog.py was 0 and is 1" for i in range(2)
    }


def test_outer_profile_function_sees_all_and_is_put_back() -> None:
    names: list[str] = []

    def outer(frame: types.FrameType, event: str, arg: object) -> None:
        if event == "call":
            names.append(frame.f_code.co_name)

    space = program("def inner(x): return x\ndef step(x):\n return inner(x)")
    before = sys.getprofile()
    sys.setprofile(outer)
    try:
        with Surroundings(space["step"], (1,), {}):
            space["step"](1)
        assert sys.getprofile() is outer
        space["inner"](1)
    finally:
        sys.setprofile(before)
    assert [n for n in names if n in ("step", "inner")] == ["step", "inner", "inner"]


def test_outer_profiler_in_c_goes_on() -> None:
    space = program("def later(x): return x\ndef step(x):\n return x")
    profiler = cProfile.Profile()
    profiler.enable()
    with Surroundings(space["step"], (1,), {}) as seen:
        space["step"](1)
    space["later"](1)
    profiler.disable()
    text = io.StringIO()
    pstats.Stats(profiler, stream=text).print_stats("prog")
    assert "(later)" in text.getvalue()
    assert seen.effects == []


def test_profile_function_is_put_back_after_an_error() -> None:
    space = program("def step(x):\n raise ValueError(x)")
    before = sys.getprofile()
    with pytest.raises(ValueError, match="7"), Surroundings(space["step"], (7,), {}):
        space["step"](7)
    assert sys.getprofile() is before


def test_one_inside_another() -> None:
    space = program("k = 1\ndef step(x):\n return x * k")
    with Surroundings(space["step"], (1,), {}) as outer, Surroundings(space["step"], (1,), {}) as inner:
        space["step"](1)
    before = outer.freeze(), inner.freeze()
    space["k"] = 2
    assert [b.changed() for b in before] == ["the global 'k' of prog.py was 1 and is 2"] * 2


def test_place() -> None:
    places: list[str] = []
    space = program("\n\ndef step(x):\n note()\n return list(map(later, [1]))\ndef later(x):\n\n note()")
    space["note"] = functools.partial(lambda: places.append(sys._getframe(1).f_code.co_name and place_of_program()))
    space["step"](1)
    line = test_place.__code__.co_firstlineno + 3  # the innermost is the function that asks
    assert places == [f"test_surroundings.py:{line}"] * 2


def test_number_of_structure() -> None:
    net = fb.nn.Linear(2, 2)
    net.note = 1  # type: ignore[assignment]

    def moves(act: Any) -> bool:
        before = structure.count
        act()
        return structure.count != before

    assert not moves(lambda: net(fb.ones(1, 2)))
    assert not moves(lambda: net.train())
    assert moves(lambda: net.eval())
    assert not moves(lambda: net.eval())
    assert not moves(lambda: setattr(net, "note", 1))
    assert moves(lambda: setattr(net, "note", 1.0))
    assert moves(lambda: delattr(net, "note"))
    assert not moves(lambda: setattr(net, "weight", net.weight))
    assert moves(lambda: setattr(net, "weight", fb.nn.Parameter(fb.ones(2, 2))))
    assert moves(lambda: net.register_buffer("b", fb.ones(1)))
    assert moves(lambda: net.add_module("m", fb.nn.ReLU()))
    handle = net.register_forward_hook(lambda *a: None)
    assert moves(handle.remove)
    assert moves(lambda: fb.nn.utils.parametrizations.weight_norm(net))
    assert moves(lambda: fb.nn.utils.parametrize.remove_parametrizations(net, "weight"))


def test_attribute_that_nothing_reads_needs_no_look_at_the_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    space = program(NET)
    seen = checked(space, fb.ones(2, 2))
    monkeypatch.setattr("flambeau.core.capture.surroundings.compare", lambda *a: "looked")
    space["net"].epoch = 1
    assert seen.changed() is None
    space["net"].epoch, space["net"][2].p = 2, 0.1
    assert seen.changed() == "looked"


def test_module_made_in_the_run_is_none_of_the_surroundings() -> None:
    space = program(
        "class N(nn.Module):\n def __init__(self):\n  super().__init__(); self.k = 0; self.reset()\n"
        " def reset(self): self.k += 1\n def forward(self, x): return x * self.k\n"
        "kept = None\ndef step(x):\n return N()(x)"
    )
    seen = checked(space, 2)
    gc.collect()
    assert seen.changed() is None


def test_module_that_only_a_call_leads_to() -> None:
    space = program("class N(nn.Module):\n def forward(self, x): return x\nimport weakref\nn = N(); w = weakref.ref(n)")
    exec("def step(x):\n return w()(x)", space)
    seen = checked(space, 2)
    space["n"].eval()
    assert seen.changed() == "'self.training' of N.forward() was True and is False"


def test_what_is_met_twice_is_compared_once() -> None:
    space = program("shared = [1, {'a': 2.0}]\nd = {'one': shared, 'two': shared}\ndef step(x):\n return d, shared")
    seen = checked(space, 1)
    space["d"]["two"] = [1, {"a": 2.0}]
    assert seen.changed() is None
    space["d"]["two"][1]["a"] = 3.0
    said = seen.changed()  # by the name under which it was met first
    assert said == "the global \"d['one'][1]['a']\" of prog.py was 2.0 and is 3.0"


def test_objects_of_the_standard_library_are_themselves() -> None:
    space = program("import logging, threading\nlog = logging.getLogger('q')\nlock = threading.Lock()")
    exec("def step(x):\n with lock:\n  log.debug('a'); log.handlers; log._cache; log.parent\n  return x", space)
    seen = checked(space, 1)
    space["log"].addHandler(space["logging"].NullHandler())
    assert seen.changed() is None
    space["log"] = space["logging"].getLogger("other")
    assert seen.changed() == "the global 'log' of <string> was a Logger and is another one"


def test_error_while_looking_is_an_effect_and_no_error() -> None:
    space = program(
        "class C:\n @property\n def __dict__(self): raise OSError('no')\nc = C()\ndef step(x):\n return c.k0"
    )
    space["C"].k0 = 1
    assert run(space["step"], 1).effects == ["what is read at prog.py:5 can't be looked at: OSError: no"]


def test_deep_nesting_is_told() -> None:
    space = program("deep = []\nfor _ in range(100000): deep = [deep]\ndef step(x):\n return deep")
    (said,) = run(space["step"], 1).effects
    assert "prog.py:3" in said
