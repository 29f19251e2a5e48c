"""Devices without int64, bool and float64 hold such tensors in the dtypes that they have, and say what does not fit."""

from __future__ import annotations

import copy
import io
import os
import pickle
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import flambeau as fb
from flambeau import nn
from flambeau.backends.base import MINIMUM, MINIMUM_ELEMENTWISE, Backend, HostArray, Kernel
from flambeau.backends.narrow.backend import DTYPES, NarrowBackend, _inside
from flambeau.backends.strict.backend import StrictBackend
from flambeau.core import dtype as dt
from flambeau.core import registry, stored
from flambeau.core.dtype import DType
from flambeau.core.expr import Expr, ExprError
from flambeau.core.expr.arrays import to_numpy
from flambeau.core.keys import key_for
from flambeau.core.record import OPS
from flambeau.nn import functional as F
from flambeau.plugins import doctor, preflight, probe

ROOT = Path(__file__).resolve().parents[2]
N = "narrow"
RNG = np.random.default_rng(0)
X = RNG.standard_normal((4, 6)).astype(np.float32)
Y = RNG.integers(0, 4, (4, 6))
M = X > 0


class Generated(NarrowBackend):
    """Elementwise kernels are made of expressions, for the dtypes that arrays have."""

    device_type = "generated"
    api_version = 1

    def __init__(self) -> None:
        super().__init__()
        for name in MINIMUM_ELEMENTWISE:
            self.kernels._entries.pop(name)

    def elementwise(self, name: str, expr: Expr, dtypes: tuple[DType, ...], out: DType) -> Kernel | None:
        assert all(d in DTYPES for d in (*dtypes, out)), f"{name}: arrays of {dtypes} and {out} do not exist"
        try:
            compiled: Any = to_numpy(expr, name, dtypes, out)
        except ExprError:
            return None

        def kernel(*ins: Any, out: Any = None) -> Any:
            found = compiled(*map(_inside, ins))
            made = self.from_host(np.array(found), compiled.program.out, ins[0].index)
            if out is None:
                return made
            self.copy_into(out, made)
            return out

        return kernel


@pytest.fixture(scope="module", autouse=True)
def generated() -> Iterator[None]:
    registry.register_backend(Generated(), "tests")
    yield
    registry.unregister_backend("generated")


def x(d: str) -> fb.Tensor:
    return fb.tensor(X, device=d)


def i(d: str) -> fb.Tensor:
    return fb.tensor(Y, device=d)


def m(d: str) -> fb.Tensor:
    return fb.tensor(M, device=d)


def seeded(draw: Callable[[str], Any]) -> Callable[[str], Any]:
    def run(d: str) -> Any:
        fb.manual_seed(1)
        return draw(d), fb.rand(1)  # and the generator is where it was

    return run


def hosts(value: Any) -> list[HostArray]:
    if isinstance(value, (tuple, list)):
        return [a for v in value for a in hosts(v)]
    return [value.detach().numpy(force=True) if isinstance(value, fb.Tensor) else np.asarray(value)]


def fill(t: fb.Tensor, index: Any, value: Any) -> fb.Tensor:
    t[index] = value
    return t


CASES: dict[str, Callable[[str], Any]] = {
    # whole numbers
    "arange": lambda d: (fb.arange(7, device=d), fb.arange(-3, 9, 4, device=d)),
    "constructors": lambda d: (fb.eye(3, device=d), fb.linspace(0, 10, 5, dtype=fb.int64, device=d),
                               fb.logspace(0, 2, 3, device=d), fb.tril_indices(3, 3, device=d)),
    "arithmetic": lambda d: (i(d) + i(d), i(d) - 3, i(d) * 2, i(d) / 3, i(d) // 3, i(d) % 3, i(d) ** 3, -i(d), ~i(d)),
    "shifts and bits": lambda d: (i(d) << 2, i(d) >> 1, i(d) & 2, i(d) | 1, i(d) ^ 3),
    "promotion": lambda d: (i(d) + x(d), i(d) + fb.tensor([1], dtype=fb.int32, device=d), i(d) + 1.5, m(d) + 1),
    "reductions": lambda d: (i(d).sum(), i(d).prod(1), i(d).min(), i(d).amax(0), i(d).cumsum(1), tuple(i(d).mode())),
    "gcd and lcm": lambda d: (fb.gcd(i(d), fb.tensor(6, device=d)), fb.lcm(i(d) + 1, fb.tensor(4, device=d))),
    "sets": lambda d: (i(d).unique(), fb.unique(i(d), return_inverse=True, return_counts=True),
                       i(d).reshape(-1).bincount(), fb.isin(i(d), fb.tensor([1, 2], device=d))),
    "max pooling": lambda d: (F.max_pool2d(i(d).reshape(1, 1, 4, 6), 3, 1, 1),
                              F.max_pool2d(x(d).reshape(1, 1, 4, 6), 2, return_indices=True)),
    # positions
    "argmax": lambda d: (x(d).argmax(1), x(d).argmin(), tuple(x(d).max(1)), tuple(x(d).median(1))),
    "sorting": lambda d: (tuple(x(d).sort(1, descending=True)), tuple(i(d).sort(1, stable=True)), tuple(x(d).topk(3)),
                          tuple(x(d).kthvalue(2)), m(d).nonzero(), fb.argwhere(m(d))),
    "gather and scatter": lambda d: (x(d).gather(0, i(d)), x(d).scatter(1, i(d), 0.0), m(d).scatter(1, i(d), True),
                                     fb.zeros(4, 6, device=d).scatter_add(1, i(d), x(d)), x(d).take(i(d))),
    "indexing": lambda d: (x(d)[i(d)[0]], x(d)[m(d)], i(d)[m(d)], fill(x(d), m(d), 7), fill(i(d), i(d)[0], 5)),
    "searching": lambda d: (fb.searchsorted(fb.arange(5.0, device=d), x(d)),
                            fb.bucketize(x(d), fb.arange(3, device=d))),
    # bools
    "logic": lambda d: (~m(d), m(d) & ~m(d), m(d) | m(d), m(d) ^ (x(d) > 1), fb.logical_not(i(d)), i(d) == 2),
    "arithmetic of bools": lambda d: (m(d) + m(d), m(d) * m(d), fb.maximum(m(d), ~m(d)), fb.minimum(m(d), ~m(d)),
                                      m(d) ** 2, m(d).square(), m(d).signbit()),
    "counting bools": lambda d: (m(d).sum(), m(d).sum(0), m(d).cumsum(1), m(d).any(1), m(d).all(), m(d).amax(0),
                                 fb.count_nonzero(m(d)), m(d).diff(), m(d).float().mean()),
    "to bool": lambda d: (fb.tensor([0.5, 0.0, -2, np.nan], device=d).bool(), i(d).bool(), (x(d) * 0.1).bool()),
    "bools written": lambda d: (fb.zeros(4, 6, dtype=fb.bool, device=d).copy_(x(d)), fb.full((2,), 2.7, dtype=fb.bool,
                                device=d), fb.zeros(3, dtype=fb.bool, device=d).fill_(2), fill(m(d), 0, 2.5),
                                F.pad(m(d), (1, 1), value=2), fill(m(d), slice(1, 3), x(d)[:1])),
    "bools in place": lambda d: (m(d).logical_and_(m(d)), m(d).logical_not_(), m(d).__ior__(x(d) > 1), x(d).lt_(0)),
    "bools moved": lambda d: (m(d).flip(0), fb.cat([m(d), m(d)]), m(d).T, m(d).roll(1, 0), m(d)[:, ::2].clone()),
    "where": lambda d: (fb.where(m(d), x(d), 0.0), x(d).masked_fill(m(d), -9),
                        x(d).masked_scatter(m(d), x(d)[0].repeat(4))),
    "views": lambda d: fill(i(d).view(6, 4).T, slice(1, 3), 8),
    "vmap": lambda d: fb.func.vmap(lambda a, b: a[b])(x(d), i(d)),
    # networks
    "losses": lambda d: (F.cross_entropy(x(d), i(d)[:, 0]), F.nll_loss(x(d), i(d)[:, 0]), F.one_hot(i(d), 6),
                         F.cross_entropy(x(d), i(d)[:, 0], ignore_index=2), F.multi_margin_loss(x(d), i(d)[:, 0])),
    "embedding": lambda d: (F.embedding(i(d), x(d)), F.embedding_bag(i(d), x(d))),
    "sampling a grid": lambda d: (F.interpolate(x(d).reshape(1, 1, 4, 6), scale_factor=2.0), F.grid_sample(
        x(d).reshape(1, 1, 4, 6), x(d)[:, :2].reshape(1, 2, 2, 2), align_corners=False)),
    # random numbers
    "uniform": seeded(lambda d: (fb.rand(50, device=d), fb.randn(50, device=d))),
    "integers": seeded(lambda d: [fb.randint(low, high, (500,), device=d) for low, high in (
        (3, 17), (-(2**31), 2**31), (0, 2**31 - 1), (-5, 65532), (0, 65537), (0, 1))]),
    "poisson": seeded(lambda d: (fb.poisson(x(d).abs() * 3), fb.poisson(x(d).abs() * 30 + 12))),
    "permutation": seeded(lambda d: fb.randperm(1000, device=d)),
    "draws": seeded(lambda d: (fb.bernoulli(x(d).sigmoid()), fb.multinomial(x(d).sigmoid(), 3), F.dropout(x(d), 0.5),
                               fb.multinomial(x(d).sigmoid(), 3, True),
                               fb.zeros(9, dtype=fb.int64, device=d).random_(99))),
}  # fmt: skip


@pytest.mark.parametrize("device", [N, "generated"])
@pytest.mark.parametrize("case", CASES)
def test_what_the_cpu_gives(case: str, device: str) -> None:
    """Values, and the dtypes that a user sees; nothing warns of float64, which nobody asked for."""
    for found, wanted in zip(hosts(CASES[case](device)), hosts(CASES[case]("cpu")), strict=True):
        assert found.dtype == wanted.dtype
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


def test_the_dtype_is_what_was_asked_for() -> None:
    for t, held in ((i(N), dt.int32), (m(N), dt.int32), (x(N), dt.float32)):
        assert t._key.stored is held is t._key.backend.dtype_of(t._array)
    assert i(N).dtype is fb.int64 and (i(N) > 1).dtype is fb.bool and x(N).argmax(1).dtype is fb.int64
    assert i(N).tolist() == Y.tolist() and m(N).tolist() == M.tolist() and i(N)[0, 0].item() == int(Y[0, 0])
    assert repr(fb.arange(2, device=N) > 0) == "tensor([False,  True], device='narrow:0')"
    assert repr(fb.arange(2, device=N)) == "tensor([0, 1], device='narrow:0')"


# -- what does not fit -------------------------------------------------------------------------------
BIG = 2**31
BEYOND: dict[str, Callable[[], Any]] = {
    "tensor": lambda: fb.tensor([1, BIG], device=N),
    "to": lambda: fb.tensor([BIG]).to(N),
    "as_tensor": lambda: fb.as_tensor(np.array([BIG]), device=N),
    "full": lambda: fb.full((2,), BIG, device=N),
    "pad": lambda: F.pad(fb.arange(3, device=N), (1, 1), value=BIG),
    "arange": lambda: fb.arange(BIG - 2, BIG + 1, device=N),
    "number": lambda: fb.arange(3, device=N) + BIG,
    "clamp": lambda: fb.arange(3, device=N).clamp(max=BIG),
    "where": lambda: fb.where(m(N), BIG, i(N)),
    "masked_fill": lambda: i(N).masked_fill(m(N), BIG),
    "fill_": lambda: fb.arange(3, device=N).fill_(BIG),
    "setitem": lambda: fill(fb.arange(3, device=N), 0, BIG),
    "copy_": lambda: fb.arange(3, device=N).copy_(fb.tensor([BIG])),
    "0-d": lambda: fb.arange(3, device=N) + fb.tensor(BIG),
    "long of floats": lambda: fb.tensor([float(BIG), 1.0], device=N).long(),
    "to of floats": lambda: fb.tensor([1.0, float(BIG)], device=N).to(fb.int64),
    "to of uint32": lambda: fb.tensor([BIG], dtype=fb.uint32, device=N).to(fb.int64),
    "from the cpu, cast there": lambda: fb.tensor([float(BIG)]).to(N, fb.int64),
    "randint": lambda: fb.randint(0, BIG + 1, (3,), device=N),
    "unpickled": lambda: fb.load(saved({"a": fb.tensor([BIG])}), map_location=N),
}


def saved(value: object) -> io.BytesIO:
    file = io.BytesIO()
    fb.save(value, file)
    file.seek(0)
    return file


@pytest.mark.parametrize("case", BEYOND)
def test_a_value_that_does_not_fit_is_named_with_the_device(case: str) -> None:
    with pytest.raises(
        (RuntimeError, TypeError), match=rf"{BIG}(\.0)? does not fit on device 'narrow:0'.*int64.*int32"
    ):
        BEYOND[case]()


@pytest.mark.parametrize(("low", "high"), [(0, 10), (-(2**62), 2**62), (-(2**63), 2**63), (5, 2**40), (0, 2**32)])
def test_whole_numbers_are_drawn_without_unsigned_ones(low: int, high: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A device may have int64 and no uint64."""
    wanted = seeded(lambda d: fb.randint(low, high, (200,), device=d))("strict")
    supports = StrictBackend.supports
    monkeypatch.setattr(
        StrictBackend, "supports", lambda self, d, index=0: d is not dt.uint64 and supports(self, d, index)
    )
    found = seeded(lambda d: fb.randint(low, high, (200,), device=d))("strict")
    for a, b in zip(hosts(found), hosts(wanted), strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_largest_values_fit() -> None:
    ends = [2**31 - 1, -(2**31)]
    assert fb.tensor(ends, device=N).tolist() == ends
    assert fb.arange(2**31 - 3, 2**31, device=N).tolist() == [2**31 - 3, 2**31 - 2, 2**31 - 1]
    assert fb.tensor([2.0**31 - 128, -(2.0**31), np.nan], device=N).long().tolist()[:2] == [2**31 - 128, -(2**31)]
    assert fb.zeros(100, dtype=fb.int64, device=N).random_().max().item() < 2**31


def test_arithmetic_wraps_as_what_holds_the_numbers_does() -> None:
    assert (fb.tensor([2**31 - 1], device=N) + 1).item() == -(2**31)


def test_bytes_that_are_not_those_of_the_dtype_are_not_shown() -> None:
    for wrong in (lambda: i(N).view(fb.float64), lambda: x(N).view(fb.int64), lambda: x(N).view(fb.bool)):
        with pytest.raises(TypeError, match=r"view: device 'narrow:0' holds (int64|bool) as int32"):
            wrong()
    assert x(N).view(fb.int32).tolist() == X.view(np.int32).tolist()


# -- float64 -----------------------------------------------------------------------------------------
@pytest.fixture
def untold() -> Iterator[None]:
    """A device whose float64 nobody has been told of yet."""
    registry.unregister_backend("generated")
    registry.register_backend(Generated(), "tests")
    yield


def test_float64_is_held_as_float32_and_says_so_once(untold: None) -> None:
    with pytest.warns(UserWarning, match=r"device 'generated:0' has no float64.* held there as float32") as told:
        t = fb.tensor([0.1, 2.5], dtype=fb.float64, device="generated")
    assert [w.filename for w in told] == [__file__]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert t.dtype is fb.float64 and t.cpu().numpy().dtype == np.float64 and t[0].item() == np.float32(0.1)
        np.testing.assert_allclose(hosts(t.exp()), [np.exp([0.1, 2.5])], rtol=1e-6)
        assert fb.nextafter(t, t + 1)[1].item() == np.nextafter(np.float32(2.5), np.float32(3))
        np.testing.assert_array_equal(hosts(fb.frexp(t)[1]), hosts(fb.frexp(t.cpu())[1]))
        with pytest.raises(TypeError, match=r"1e\+300 does not fit on device 'generated:0'"):
            fb.tensor([1e300], dtype=fb.float64, device="generated")
        assert fb.tensor([np.inf], dtype=fb.float64, device="generated").item() == np.inf
        found, wanted = (seeded(lambda d: fb.rand(9, dtype=fb.float64, device=d))(d) for d in ("generated", "cpu"))
        for a, b in zip(hosts(found), hosts(wanted), strict=True):
            np.testing.assert_allclose(a, b, atol=2.0**-24)


def test_a_float64_tensor_on_its_way_to_another_dtype_is_no_reason_to_warn(untold: None) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert fb.ones(2, dtype=fb.float64).to("generated", fb.float32).dtype is fb.float32
        assert preflight(nn.Linear(2, 2).double(), fb.ones(1, 2, dtype=fb.float64), device="generated").ok
    with pytest.raises(TypeError, match=r"does not support flambeau\.complex64"):
        fb.zeros(1, dtype=fb.complex64, device=N)


WIDE = fb.ones(3, dtype=fb.float64, device="cpu") / 2
FROM_FLOAT64: dict[str, Callable[[fb.Tensor], Any]] = {
    "operand": lambda t: t * WIDE[0],
    "operand in place": lambda t: t.mul_(WIDE[0]),
    "copy_": lambda t: t.copy_(WIDE),
    "setitem": lambda t: fill(t, 1, WIDE[0]),
    "setitem of several": lambda t: fill(t, slice(None), WIDE),
    "fill_": lambda t: t.fill_(WIDE[0]),
    "where": lambda t: fb.where(t > 0, WIDE[0], t),
    "masked_fill": lambda t: t.masked_fill(t > 0, WIDE[0]),
    "clamp": lambda t: t.clamp(WIDE[0]),
    "to": lambda t: WIDE.to(t.device, fb.float32),
}


@pytest.mark.parametrize("device", ["strict", "generated"])
@pytest.mark.parametrize("case", FROM_FLOAT64)
def test_float64_of_the_cpu_is_cast_before_it_travels(case: str, device: str, untold: None) -> None:
    """Where the result is float32, no float64 need be on the device."""
    found, wanted = (FROM_FLOAT64[case](fb.ones(3, device=d)) for d in (device, "cpu"))
    assert found.device.type == device and found.dtype is wanted.dtype is fb.float32
    assert found.tolist() == wanted.tolist()


def test_state_dicts_of_float64_are_loaded(untold: None) -> None:
    wide = {k: v.double() for k, v in nn.Linear(2, 2).state_dict().items()}
    for device in ("strict", "generated"):
        model = nn.Linear(2, 2, device=device)
        model.load_state_dict(wide)
        np.testing.assert_allclose(hosts(model.weight), hosts(wide["weight"]), rtol=1e-6)


# -- the contract ------------------------------------------------------------------------------------
def holding(*dtypes: DType, index: DType = dt.int32) -> Backend:
    class Some(Backend):
        index_dtype = index

        def supports(self, dtype: DType, index: int = 0) -> bool:
            return dtype in dtypes

    return Some()


@pytest.mark.parametrize(
    ("backend", "wanted"),
    [
        (Backend(), {dt.int64: dt.int64, dt.bool_: dt.bool_, dt.float64: dt.float64}),
        (holding(dt.float32, dt.int32), {dt.int64: dt.int32, dt.bool_: dt.int32, dt.float64: dt.float32}),
        (holding(dt.float32, dt.int32, dt.uint8), {dt.int64: dt.int32, dt.bool_: dt.uint8}),
        (holding(dt.float32, dt.bool_, dt.int32), {dt.bool_: dt.bool_}),
        (holding(dt.float32, dt.uint32, index=dt.uint32), {dt.int64: dt.uint32, dt.bool_: dt.uint32}),
        (holding(dt.float32, dt.int32, dt.int16, index=dt.int16), {dt.int64: dt.int16}),
        (holding(dt.float16), {dt.int64: None, dt.bool_: None, dt.float64: None, dt.float16: dt.float16}),
        (holding(dt.float32, dt.int32), {dt.int16: None, dt.uint64: None, dt.complex64: None}),
    ],
)
def test_what_holds_a_dtype(backend: Backend, wanted: dict[DType, DType | None]) -> None:
    assert {d: backend.stored(d) for d in wanted} == wanted


def test_what_a_device_offers() -> None:
    assert [d.name for d in dt.ALL if NarrowBackend().offers(d)] == ["bool", "uint32", "int32", "int64", "float32"]


def test_every_kernel_of_the_minimum_is_there_and_gets_arrays_that_exist() -> None:
    own = set(NarrowBackend().kernels.names()) - set(NarrowBackend().kernels.parent.names())  # type: ignore[union-attr]
    assert own == set(MINIMUM)
    for name in MINIMUM:
        dtype = next(d for d in (dt.float32, dt.int64, dt.uint32) if OPS[name].accepts(d))
        assert getattr(key_for(fb.device(N), dtype), name) is not None


def test_kernels_of_integers_that_may_serve_bools() -> None:
    """Those of the minimum, and what moves elements: a sum of bools is no bool, in whichever table it is."""
    key, whole = key_for(fb.device(N), dt.bool_), key_for(fb.device(N), dt.int64)
    instead = {"add": "bitwise_or", "mul": "bitwise_and", "sub": "bitwise_xor", "logical_not": None, "prod": None}
    for name, wanted in (instead | {n: n for n in ("where", "cat", "basic_index")}).items():
        assert stored.name_of(OPS[name], key) == wanted and stored.name_of(OPS[name], whole) == name


def test_doctor_tells_what_is_held_as_what() -> None:
    row = probe._device(NarrowBackend(), 0)
    assert row["held"] == {"bool": "int32", "int64": "int32", "float64": "float32"} and "error" not in row
    lines = doctor._plugin_lines({"plugins": [{"name": N, "state": "available", "builtin": True, "devices": [row]}]})
    assert "bool is held as int32, int64 is held as int32, float64 is held as float32" in "\n".join(lines)


# -- in and out --------------------------------------------------------------------------------------
def test_files_copies_and_other_libraries_see_the_dtype() -> None:
    for t in (i(N), m(N)):
        here = fb.load(saved({"t": t}), map_location="cpu")["t"]
        for same in (fb.load(saved({"t": t}))["t"], pickle.loads(pickle.dumps(t)), copy.deepcopy(t), here.to(N)):
            assert same.device.type == N and same.dtype is t.dtype and same.tolist() == t.tolist()
        assert here.dtype is t.dtype
        host = np.from_dlpack(t, device="cpu", copy=True)
        assert host.dtype == t.dtype.numpy and host.tolist() == t.tolist()


def test_models_go_there_and_back(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten())
    model.to(N)(fb.rand(2, 1, 8, 8, device=N))
    fb.save(model.state_dict(), tmp_path / "model.fb")
    again = fb.load(tmp_path / "model.fb", map_location="cpu")
    assert again["1.num_batches_tracked"].dtype is fb.int64 and again["1.num_batches_tracked"].item() == 1


# -- training ----------------------------------------------------------------------------------------
class Everything(nn.Module):
    """Embedding, convolution, batch normalisation, pooling, dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.conv, self.norm = nn.Embedding(11, 8), nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.drop, self.out = nn.Dropout(0.2), nn.Linear(4 * 2 * 4, 5)

    def forward(self, words: fb.Tensor) -> Any:
        image = self.words(words + fb.arange(words.shape[1], device=words.device) % 2).unsqueeze(1)
        pooled = F.max_pool2d(F.relu(self.norm(self.conv(image))), 2)
        return self.out(self.drop(pooled.flatten(1)))


def train(device: str) -> list[float]:
    fb.manual_seed(0)
    model = Everything().to(device)
    optimizer = fb.optim.AdamW(model.parameters(), lr=1e-2)
    words, labels = fb.randint(0, 10, (24, 4)), fb.randint(0, 5, (24,))
    batches = fb.utils.data.DataLoader(fb.utils.data.TensorDataset(words, labels), batch_size=8, shuffle=True)
    found = []
    for _ in range(4):
        for x, y in batches:
            optimizer.zero_grad()
            scores = model(x.to(device))
            loss = F.cross_entropy(scores, y.to(device))
            loss.backward()
            optimizer.step()
            found += [loss.item(), (scores.argmax(1) == y.to(device)).sum().item()]
    return found


def test_training_has_the_losses_of_the_cpu() -> None:
    np.testing.assert_allclose(train(N), train("cpu"), rtol=1e-3)


# -- the conformance kit -----------------------------------------------------------------------------
def run_kit(*arguments: str) -> subprocess.CompletedProcess[str]:
    kit = Path(fb.__file__).parent / "plugins" / "conformance"
    options = ["-q", "-p", "no:cacheprovider", "-o", "addopts=--import-mode=importlib", "-p",
               "flambeau.plugins.conformance.options", str(kit), f"--flambeau-device={N}", *arguments]  # fmt: skip
    command = [sys.executable, "-m", "pytest", *options]
    return subprocess.run(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
                          check=False)  # fmt: skip


@pytest.mark.slow
def test_the_whole_kit_passes() -> None:
    done = run_kit()
    assert done.returncode == 0, done.stdout[-3000:]
