"""Overriding functions: that ordinary tensors pay nothing, and what recorded cases do not hold."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from typing import Any

import pytest

import flambeau as fb
from flambeau.core import keys, naming, overrides
from flambeau.overrides import TorchFunctionMode, resolve_name


class Mine(fb.Tensor):
    """A class with the protocol's default."""


def test_ordinary_tensors_have_ordinary_keys_whatever_classes_there_are() -> None:
    x = fb.ones(2).as_subclass(Mine)
    made = [fb.ones(2) + 1, fb.nn.Parameter(fb.ones(2)), x.as_subclass(fb.Tensor), x.as_subclass(fb.Tensor) * 2]
    assert not any(isinstance(t._key, keys.Guarded) for t in made)
    assert isinstance(x._key, keys.Guarded)
    with overrides.DisableTorchFunctionSubclass():
        assert x._key is fb.ones(2)._key and type(x + 1) is fb.Tensor
    assert type(x + 1) is Mine


def test_nothing_asks_before_a_class_a_mode_or_a_foreign_object_is_there() -> None:
    program = """
import flambeau as fb, flambeau.nn.functional as F
from flambeau.core import overrides
code = F.relu.__code__, fb.mean.__code__
(F.linear(fb.ones(2, 2), fb.nn.Parameter(fb.ones(2, 2))) + 1).sum().backward()
try: fb.sin("a")
except TypeError: pass
assert not overrides.ARMED and (F.relu.__code__, fb.mean.__code__) == code
class Foreign:
    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None): return func.__name__
assert fb.stack([Foreign()]) == "stack" and overrides.ARMED == ["classes"]
assert F.relu(Foreign()) == "relu" and fb.mean(Foreign()) == "mean" and F.relu.__code__ is not code[0]
import inspect; assert list(inspect.signature(F.relu).parameters) == ["input", "inplace"]
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_attributes_are_kept_with_the_tensor_and_cost_little() -> None:
    x = fb.ones(2)
    x._foo = 1  # type: ignore[attr-defined]
    assert vars(x) == {"_foo": 1} and not hasattr(fb.ones(2), "_foo")
    del x._foo  # type: ignore[attr-defined]
    assert vars(x) == {}
    blank = fb.core.tensor.blank
    tracemalloc.start()
    try:
        kept = [blank() for _ in range(1000)]
        assert tracemalloc.get_traced_memory()[0] / len(kept) < 160
    finally:
        tracemalloc.stop()


def test_a_tensor_without_data_answers_for_what_it_holds() -> None:
    class Twice(fb.Tensor):
        inner: fb.Tensor

        @staticmethod
        def __new__(cls: Any, inner: fb.Tensor) -> Any:
            made = fb.Tensor._make_wrapper_subclass(cls, inner.shape, dtype=inner.dtype)  # type: ignore[attr-defined]
            made.inner = inner
            return made

        def __init__(self, inner: fb.Tensor):
            pass

        @classmethod
        def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if func == fb.Tensor.shape.__get__:  # type: ignore[attr-defined]
                return args[0].inner.shape
            return 2 * func(*(a.inner if isinstance(a, cls) else a for a in args), **(kwargs or {}))

    t = Twice(fb.tensor([1.0, 2.0]))
    assert t.shape == (2,) and (t + 1).tolist() == [4, 6] and fb.sum(t).item() == 6


def test_all_that_is_overridable_is_overridden() -> None:
    """The overridable functions hand over themselves: nearly all of them, called with an instance."""

    class Told(Exception):
        pass

    class Telling:
        @classmethod
        def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            raise Told(func)

    t, wrong, count = Telling(), [], 0
    spaces = fb.overrides.get_overridable_functions()
    for space in (fb, fb.nn.functional, fb.linalg):
        for fn in spaces[space]:
            count += 1
            for args in ((t,), (t, t), (t, t, t), (t, 1, 1), ([t, t],), (t, 1, 1, t)):
                try:
                    fn(*args)
                except Told as told:
                    if told.args[0] is not fn and getattr(told.args[0], "__name__", "") != fn.__name__:
                        wrong.append((fn.__name__, told.args[0].__name__))
                    break
                except Exception:  # other arguments
                    continue
            else:
                wrong.append((fn.__name__, "nobody"))
    assert count > 500 and len(wrong) < 0.03 * count, wrong


def test_a_mode_is_of_its_thread_and_ends_with_it() -> None:
    import threading  # beside what it tests

    seen: list[str] = []

    class Mode(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            seen.append(func.__name__)
            return func(*args, **(kwargs or {}))

    with Mode():
        thread = threading.Thread(target=lambda: fb.ones(1) + 1)
        thread.start()
        thread.join()
    assert seen == [] and overrides.mode_stack() == []


def test_modes_leave_other_modes_as_they_are() -> None:
    class Mode(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            return func(*args, **(kwargs or {}))

    with Mode(), fb.no_grad():
        y = fb.ones(1, requires_grad=True) * 2
    assert not y.requires_grad and (fb.ones(1, requires_grad=True) * 2).requires_grad
    with overrides.DisableTorchFunction(), Mode():
        assert fb.ones(1).tolist() == [1]


def test_one_switch_shows_objects_under_another_name() -> None:
    naming.show_as("torch")
    try:
        shown = [
            repr(v) for v in (fb.float32, fb.Size([2]), fb.Tensor, fb.channels_last, type(fb.ones(1)), fb.FloatTensor)
        ]
        assert shown == ["torch.float32", "torch.Size([2])", "<class 'torch.Tensor'>", "torch.channels_last",
                         "<class 'torch.Tensor'>", "<class 'torch.FloatTensor'>"]  # fmt: skip
        assert fb.ones(1).type() == "torch.FloatTensor" and repr(fb.ones(1).double()).endswith("dtype=torch.float64)")
        assert repr(fb.ones(1, 1).max(0)).startswith("torch.return_types.max(\nvalues=tensor([1.])")
        assert type(fb.float32).__name__ == "dtype" and type(fb.float32).__module__ == "torch"
    finally:
        naming.show_as()
    assert repr(fb.float32) == "flambeau.float32" and resolve_name(fb.add) == "flambeau.add"


def test_versions_compare_by_their_numbers() -> None:
    version = fb.version.Version("2.13.0+flambeau")
    assert version > "2.9" and version >= (2, 13) and version < (3,) and version == "2.13.0" and version != "2.13.1"
    assert fb.version.Version("2.0.0rc1") < "2.0" < fb.version.Version("2.0.0.post1") and isinstance(version, str)


def test_a_storage_outlives_its_tensor_and_grows_with_it() -> None:
    x = fb.arange(4.0, device="cpu")
    held = x.untyped_storage()
    view = x[1:]
    held.resize_(32)
    x[3] = 7
    assert held.nbytes() == 32 and x.tolist() == [0, 1, 2, 7] and x.storage()[3] == 7
    del x
    assert view.tolist()[0] == 1
    with pytest.raises(RuntimeError, match="beyond the 2 of the storage"):
        fb.empty(0, device="cpu").set_(fb.ones(2, device="cpu").storage(), 1, (3,), (1,))


@pytest.mark.parametrize("device", ["cpu", "strict", pytest.param("opencl", marks=pytest.mark.device("opencl"))])
def test_storages_and_formats_are_on_every_device(device: str) -> None:
    x = fb.arange(24.0, device=device).reshape(1, 2, 3, 4)
    last = x.to(memory_format=fb.channels_last)
    assert (
        last.stride() == (24, 1, 8, 2)
        and last.tolist() == x.tolist()
        and last.is_contiguous(memory_format=fb.channels_last)
    )
    flat = x.storage()
    flat[0] = 5
    assert x[0, 0, 0, 0].item() == 5 and flat.size() == 24 and str(flat.device) == str(x.device)
