"""What torch's private and optional parts answer: truthfully, where there is nothing behind them."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

import flambeau as fb
from flambeau.compat import namespace, vision
from flambeau.compat.torch import _jit_internal, _utils, distributed, jit, onnx, serialization
from flambeau.compat.torch._ops import ops
from flambeau.compat.torch.backends import cudnn
from flambeau.compat.torch.distributed import distributed_c10d
from flambeau.compat.torch.utils.data._utils import collate
from flambeau.compat.torch.utils.data._utils.pin_memory import pin_memory
from flambeau.utils.data.datapipes.iter import IterableWrapper


def test_scripting_and_tracing_are_those_of_flambeau(tmp_path: Path) -> None:
    layer = fb.nn.Linear(1, 1)
    assert isinstance(jit.script(layer), jit.ScriptModule) and jit.script(layer).weight is layer.weight
    traced = jit.trace(layer, fb.ones(1))
    jit.save(traced, tmp_path / "x.pt")
    assert jit.load(tmp_path / "x.pt")(fb.ones(1)).tolist() == layer(fb.ones(1)).tolist()
    assert jit.export_opnames(traced) == ["linear"]
    for decorator in (jit.ignore, jit.unused):
        assert decorator(len) is len
    assert jit.ignore(drop=True)(len) is len and not jit.is_scripting()
    with pytest.raises(TypeError, match=r"jit.save: m must be scripted or traced"):
        jit.save(layer, "x.pt")


def test_jit_isinstance_looks_into_containers() -> None:
    assert jit.isinstance([fb.ones(1)], list[fb.Tensor]) and not jit.isinstance([1], list[fb.Tensor])
    assert jit.isinstance({"a": 1}, dict[str, int]) and not jit.isinstance({"a": "b"}, dict[str, int])
    assert jit.isinstance((1, "a"), tuple[int, str]) and not jit.isinstance((1,), tuple[int, str])
    assert jit.isinstance(None, int | None) and not jit.isinstance("a", int | None)
    assert jit.isinstance(1, (str, int))


def test_a_boolean_dispatches() -> None:
    chosen = _jit_internal.boolean_dispatch("flag", 1, False, lambda x, flag: "yes", lambda x, flag=False: "no")
    assert [chosen(1), chosen(1, True), chosen(1, flag=True), chosen(1, False)] == ["no", "yes", "yes", "no"]


def test_distributed_is_ours() -> None:
    assert not fb.distributed.is_initialized() and distributed.reduce_op is fb.distributed.ReduceOp
    assert distributed.all_gather_single is fb.distributed.all_gather_into_tensor
    assert distributed_c10d._get_default_group is fb.distributed.groups.world
    assert distributed_c10d._rank_not_in_group(fb.distributed.GroupMember.NON_GROUP_MEMBER)
    for module in ("nn", "nn.functional", "optim", "device_mesh", "distributed_c10d", "fsdp", "checkpoint"):
        assert namespace.exists(f"distributed.{module}"), module
    with pytest.raises(ValueError, match="has not been initialized"):
        fb.distributed.all_reduce(fb.ones(1))


def test_exporters_are_not_there() -> None:
    assert not onnx.is_in_onnx_export()
    with pytest.raises(RuntimeError, match=r"torch.onnx.export: models are exported in evaluation mode"):
        onnx.export(fb.nn.Linear(1, 1), fb.ones(1), training=onnx.TrainingMode.TRAINING)


def test_switches_are_kept_and_put_back() -> None:
    assert cudnn.enabled and not cudnn.benchmark and not cudnn.is_available() and cudnn.version() is None
    with cudnn.flags(enabled=False, benchmark=True):
        assert not cudnn.enabled and cudnn.benchmark
    assert cudnn.enabled and not cudnn.benchmark


def test_ops_by_name() -> None:
    x = fb.tensor([1.0, -2.0])
    assert fb.equal(ops.aten.add.Tensor(x, x), x + x) and fb.equal(ops.aten.relu(x), x.relu())
    assert ops.aten.add.Tensor.name() == "aten::add.Tensor" and ops.aten.add is ops.aten.add
    assert not hasattr(ops.aten, "no_such_op") and not hasattr(ops.nothing, "op")
    with pytest.raises(OSError, match="compiled for PyTorch"):
        ops.load_library("lib.so")


def test_boxes_are_suppressed_as_by_hand() -> None:
    fb.manual_seed(0)
    low = fb.rand(40, 2) * 4
    boxes, scores = fb.cat([low, low + fb.rand(40, 2) * 3], dim=1), fb.rand(40)

    def overlap(a: list[float], b: list[float]) -> float:
        sides = [max(min(a[i + 2], b[i + 2]) - max(a[i], b[i]), 0) for i in (0, 1)]
        shared = sides[0] * sides[1]
        return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)

    kept: list[int] = []
    rows, values = boxes.tolist(), scores.tolist()
    for i in sorted(range(40), key=lambda i: -values[i]):
        if all(overlap(rows[i], rows[j]) <= 0.3 for j in kept):
            kept.append(i)
    assert 1 < len(kept) < 40 and vision.nms(boxes, scores, 0.3).tolist() == kept


def test_an_error_of_a_thread_is_raised_again() -> None:
    found: list[_utils.ExceptionWrapper] = []

    def work() -> None:
        try:
            raise KeyError("lost")
        except KeyError:
            found.append(_utils.ExceptionWrapper(where="in a thread"))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    with pytest.raises(KeyError, match=r"Caught KeyError in a thread.(?s:.*)lost"):
        found[0].reraise()


def test_flat_tensors_and_back() -> None:
    parts = [fb.ones(2, 2), fb.zeros(3)]
    flat = _utils._flatten_dense_tensors(parts)
    assert flat.shape == (7,)
    assert all(fb.equal(a, b) for a, b in zip(_utils._unflatten_dense_tensors(flat, parts), parts, strict=True))


def test_datapipes_chain() -> None:
    pipe = IterableWrapper(range(7)).filter(lambda x: x != 3).map(lambda x: x * 10).batch(4)
    assert list(pipe) == [[0, 10, 20, 40], [50, 60]]
    assert len(IterableWrapper([1, 2, 3]).batch(2, drop_last=True)) == 1
    assert not hasattr(pipe, "no_such_pipe")


def test_batches_keep_their_structure_in_pinned_memory() -> None:
    class Graph:
        def pin_memory(self) -> str:
            return "pinned"

    assert pin_memory({"x": [Graph(), "text"], "y": (Graph(), 3)}) == {"x": ["pinned", "text"], "y": ("pinned", 3)}


def test_constants_of_files_and_batches() -> None:
    assert serialization.MAGIC_NUMBER == 119547037146038801333356 and serialization.PROTOCOL_VERSION == 1001
    assert (serialization.DEFAULT_PROTOCOL, serialization.LONG_SIZE, serialization.STORAGE_KEY_SEPARATOR) == (2, 4, ",")
    assert collate.np_str_obj_array_pattern.search("<U3") and not collate.np_str_obj_array_pattern.search("<f4")


@pytest.mark.parametrize(
    "call",
    [
        lambda: fb.ones(2, 3) + fb.ones(4),
        lambda: fb.where(fb.ones(3, 2, 1) > 0, fb.ones(3, 2), fb.ones(3, 2)),
        lambda: fb.ones(2, 1, 3) @ fb.ones(4, 3, 2),
        lambda: fb.broadcast_tensors(fb.ones(2), fb.ones(3)),
    ],
)
def test_packages_find_torchs_words_of_sizes(call: Any) -> None:
    """Pyro, for one, looks for them to say what was wrong."""
    with pytest.raises(
        RuntimeError, match=r"size of tensor a \(\d\) must match the size of tensor b \(\d\) at non-sin"
    ):
        call()
    with pytest.raises(RuntimeError, match=r"expanded size of the tensor \(4\) must match the existing size \(3\) at"):
        fb.ones(3).expand(2, 4)
