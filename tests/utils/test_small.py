"""The smaller tools of utils: hooks, swapped tensors, counters, modes, benchmarks, downloads."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import flambeau as fb
import flambeau.nn.functional as F
from flambeau.utils.benchmark import Compare, FuzzedParameter, FuzzedTensor, Fuzzer, Measurement, TaskSpec, Timer
from flambeau.utils.flop_counter import FlopCounterMode
from flambeau.utils.hooks import BackwardHook, RemovableHandle, unserializable_hook, warn_if_has_hooks
from flambeau.utils.module_tracker import ModuleTracker


def flops(fn: Any) -> int:
    with FlopCounterMode(display=False) as counter:
        fn()
    return counter.get_total_flops()


def test_flops_are_those_that_pytorch_counts() -> None:
    a = fb.ones(2, 3, 4)
    x = fb.ones(2, 3, 8, 8)
    counts = [
        flops(lambda: a @ fb.ones(4, 5)), flops(lambda: fb.bmm(a, fb.ones(2, 4, 6))),
        flops(lambda: fb.addmm(fb.ones(3, 6), a[0], fb.ones(4, 6))),
        flops(lambda: fb.addmv(fb.ones(3), a[0], fb.ones(4))),
        flops(lambda: fb.addbmm(fb.ones(3, 6), a, fb.ones(2, 4, 6))),
        flops(lambda: fb.baddbmm(fb.ones(2, 3, 6), a, fb.ones(2, 4, 6))),
        flops(lambda: F.conv_transpose2d(x, fb.ones(3, 4, 3, 3))),
        flops(lambda: F.conv2d(x, fb.ones(6, 1, 3, 3), groups=3)),
        flops(lambda: F.conv1d(fb.ones(1, 2, 9), fb.ones(3, 2, 3))),
    ]  # fmt: skip
    assert counts == [240, 288, 144, 24, 288, 288, 27648, 7776, 252]
    model = fb.nn.Sequential(fb.nn.Conv2d(3, 4, 3, padding=1), fb.nn.Flatten(), fb.nn.Linear(256, 5))
    with FlopCounterMode(display=False) as counter:
        model(x).sum().backward()
    found = {name: sum(ops.values()) for name, ops in counter.get_flop_counts().items()}
    assert found == {"Global": 70656, "Sequential": 70656, "Sequential.0": 55296, "Sequential.2": 15360}
    assert "Sequential.2" in counter.get_table() and "Sequential.2" not in counter.get_table(1)


def test_which_modules_run() -> None:
    seen: list[Any] = []

    class Looking(fb.nn.Module):
        def forward(self, x: fb.Tensor) -> fb.Tensor:
            seen.append(sorted(tracker.parents))
            return x

    model = fb.nn.Sequential(fb.nn.Linear(2, 2), Looking())
    with ModuleTracker() as tracker:
        y = model(fb.ones(1, 2)).sum()
        assert not tracker.is_bw and tracker.parents == {"Global"}
        y.backward()
    assert seen == [["Global", "Sequential", "Sequential.1"]] and tracker.is_bw


def test_handles() -> None:
    hooks: dict[int, Any] = {}
    extra: dict[int, Any] = {}
    handle = RemovableHandle(hooks, extra_dict=extra)
    hooks[handle.id] = extra[handle.id] = print
    with handle:
        assert hooks and extra
    assert not hooks and not extra
    assert isinstance(fb.nn.Linear(1, 1).register_forward_hook(lambda *a: None), RemovableHandle)
    x = fb.ones(1, requires_grad=True)
    x.register_hook(unserializable_hook(lambda g: None))
    warn_if_has_hooks(x)
    x.register_hook(lambda g: None)
    with pytest.warns(UserWarning, match="will not be serialized"):
        warn_if_has_hooks(x)


def test_backward_hooks_replace_gradients() -> None:
    hook = BackwardHook("m", [lambda m, grads, out: (grads[0] * 10,)], [lambda m, grads: (grads[0] + 1,)])
    x = fb.ones(1, requires_grad=True)
    hook.setup_output_hook(hook.setup_input_hook((x,))[0] * 2).sum().backward()
    assert x.grad is not None and x.grad.tolist() == [40]


def test_tensors_are_swapped() -> None:
    a, b = fb.ones(1, requires_grad=True), fb.zeros(2)
    a.sum().backward()
    views = a
    fb.utils.swap_tensors(a, b)
    assert views.tolist() == [0, 0] and not a.requires_grad and a.grad is None
    assert b.requires_grad and b.grad is not None and b.tolist() == [1]
    (b * 3).sum().backward()
    assert b.grad.tolist() == [4]
    with pytest.raises(RuntimeError, match="was computed"):
        fb.utils.swap_tensors(b * 2, a)


def test_dispatch_modes() -> None:
    from flambeau.utils._python_dispatch import TorchDispatchMode, is_in_torch_dispatch_mode

    class Doubling(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            assert not is_in_torch_dispatch_mode()
            found = func(*args, **(kwargs or {}))
            return found * 2 if func.name() == "aten::exp" else found

    x = fb.zeros(1, requires_grad=True)
    with Doubling() as mode:
        assert is_in_torch_dispatch_mode() and isinstance(mode, Doubling)
        y = x.exp()
    y.sum().backward()
    assert y.item() == 2 and x.grad is not None and x.grad.item() == 2 and not is_in_torch_dispatch_mode()


def test_benchmarks() -> None:
    timer = Timer("x + 1", setup="x = torch.ones(10)", label="adding", sub_label="ten", description="a")
    found = timer.blocked_autorange(min_run_time=0.005)
    assert 0 < found.median < 1 and found.as_row_name == "ten" and found.title == "adding: ten"
    assert timer.timeit(3).number_per_run == 3
    spec = TaskSpec("s", "pass", label="adding", sub_label="other", description="b")
    table = Compare([Measurement(1, [2e-6], spec), Measurement(1, [1e-6, 3e-6], TaskSpec("t", "pass", label="adding"))])
    table.colorize()
    text = str(table)
    assert "Times are in microseconds (us)." in text and "other" in text and text.count("2.0") == 2
    with pytest.raises(RuntimeError, match="no C\\+\\+"):
        Timer("x", language="c++")
    fuzzer = Fuzzer(
        [FuzzedParameter("n", 1, 64, "loguniform"), FuzzedParameter("k", distribution={2: 0.5, 3: 0.5})],
        [FuzzedTensor("x", ("n", "k"), max_elements=100)], seed=1,
    )  # fmt: skip
    shapes = [tuple(tensors["x"].shape) for tensors, _, _ in fuzzer.take(20)]
    assert all(n * k <= 100 and k in (2, 3) for n, k in shapes) and len(set(shapes)) > 5
    assert [tuple(t["x"].shape) for t, _, _ in fuzzer.take(20)] == shapes


def test_downloads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    assert fb.hub.get_dir() == str(tmp_path / "home" / "hub")
    fb.save({"w": fb.ones(2)}, tmp_path / "w.pt")
    digest = hashlib.sha256((tmp_path / "w.pt").read_bytes()).hexdigest()
    named = tmp_path / f"w-{digest[:8]}.pt"
    (tmp_path / "w.pt").rename(named)
    found = fb.hub.load_state_dict_from_url(named.as_uri(), progress=False, check_hash=True)
    assert found["w"].tolist() == [1, 1]
    kept = tmp_path / "home" / "hub" / "checkpoints" / named.name
    named.unlink()
    assert kept.exists() and fb.utils.model_zoo.load_url(named.as_uri())["w"].shape == (2,)
    (tmp_path / "a").write_text("hello")
    with pytest.raises(RuntimeError, match="does not begin with 'ffff'"):
        fb.hub.download_url_to_file((tmp_path / "a").as_uri(), str(tmp_path / "b"), "ffff", progress=False)
    assert not (tmp_path / "b").exists()


def test_a_local_hub(tmp_path: Path) -> None:
    (tmp_path / "helper.py").write_text("value = 7\n")
    (tmp_path / "hubconf.py").write_text(
        "dependencies = ['numpy']\nimport helper\ndef seven(times=1):\n    'Seven.'\n    return helper.value * times\n"
    )
    assert fb.hub.load(str(tmp_path), "seven", source="local", times=2) == 14
    assert fb.hub.list(str(tmp_path), source="local") == ["seven"]
    assert fb.hub.help(str(tmp_path), "seven", source="local") == "Seven." and str(tmp_path) not in sys.path
    with pytest.raises(RuntimeError, match="Cannot find callable eight"):
        fb.hub.load(str(tmp_path), "eight", source="local")
    (tmp_path / "hubconf.py").write_text("dependencies = ['not_a_package_at_all']\n")
    with pytest.raises(RuntimeError, match="not_a_package_at_all"):
        fb.hub.list(str(tmp_path), source="local")
    with pytest.raises(ValueError, match="Unknown source"):
        fb.hub.load(str(tmp_path), "seven", source="elsewhere")  # type: ignore[arg-type]


@pytest.mark.slow
def test_the_bottleneck(tmp_path: Path) -> None:
    script = tmp_path / "program.py"
    script.write_text("import flambeau as fb\nfb.ones(3).exp().sum()\n")
    done = subprocess.run(
        [sys.executable, "-m", "flambeau.utils.bottleneck", str(script)], capture_output=True, text=True, env=os.environ
    )
    assert done.returncode == 0 and "aten::exp" in done.stdout and "cProfile output" in done.stdout


def test_what_needs_another_package_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    from flambeau.utils import cpp_extension
    from flambeau.utils.tensorboard._parts import pillow

    with pytest.raises(RuntimeError, match="no C\\+\\+ interface"):
        cpp_extension.load("x", ["x.cpp"])
    for name in {"tensorboard", "PIL", *sys.modules}:
        if name.split(".")[0] in ("tensorboard", "PIL"):
            monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ModuleNotFoundError, match="pip install tensorboard"):
        fb.utils.tensorboard.SummaryWriter("log")
    assert not hasattr(fb.utils.tensorboard, "RecordWriter")
    with pytest.raises(ModuleNotFoundError, match=r"a video needs the package pillow.*pip install pillow"):
        pillow("Image", "a video")
