"""Programs for all sizes of a dimension: laws of sizes, checks at a call, and errors that say why there is no law."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import flambeau as fb
from flambeau import nn
from flambeau.export import Dim, ExportError, dims, export
from flambeau.export.laws import FORMS, Feature, Law, fit

batch, length = Dim("batch", min=1, max=100), Dim("length", min=2)


def bits(value):
    return value.numpy(force=True).tobytes()


def first(result):
    return result[0] if isinstance(result, tuple) else result


CASES = {
    "transformer": (
        lambda: nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval(), (3, 5, 8), {0: batch, 1: length},
        [(1, 9, 8), (50, 2, 8)],
    ),
    "lstm": (lambda: nn.LSTM(3, 4).eval(), (5, 2, 3), {0: length, 1: batch}, [(9, 1, 3), (2, 50, 3)]),
    "convolutions": (
        lambda: nn.Sequential(
            nn.Conv2d(1, 4, 3, 2, 1), nn.BatchNorm2d(4), nn.MaxPool2d(2), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        ).eval(),
        (3, 1, 16, 20), {0: batch, 2: Dim("h", min=8), 3: Dim("w", min=8)}, [(1, 1, 33, 57), (4, 1, 8, 8)],
    ),
    "training": (lambda: nn.BatchNorm1d(4), (5, 4), {0: Dim("n", min=2)}, [(2, 4), (77, 4)]),
    "training images": (  # a variance over n * (h - 1) // 2 * (w - 1) // 2 elements becomes unbiased
        lambda: nn.Sequential(nn.Conv2d(1, 2, 3, 2), nn.BatchNorm2d(2)), (2, 1, 9, 11),
        {0: batch, 2: Dim("h", min=5), 3: Dim("w", min=5)}, [(3, 1, 17, 6), (1, 1, 5, 30)],
    ),
    "numbers": (
        lambda: lambda x: (
            x + fb.arange(x.shape[1]) * x.shape[0] + x.mean() + x[:, -1:].sum() / math.sqrt(x.shape[1])
            + fb.tensor(x.shape[0]) + x[:, : x.shape[1] // 2].sum() + fb.zeros(x.shape[0], 1)
        ),
        (3, 5), {0: batch, 1: length}, [(1, 9), (8, 2)],
    ),
    "writes": (lambda: lambda x: x.clone().index_fill_(0, fb.tensor([0]), 1.0)[1:].mul_(2), (3, 5), {0: length},
               [(9, 5)]),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_program_gives_the_bits_of_the_module_at_other_sizes(case):
    make, shape, free, others = CASES[case]
    fb.manual_seed(0)
    fn, twin = make(), make()
    if isinstance(fn, nn.Module):
        twin.load_state_dict(fn.state_dict())
    module = export(twin, (fb.randn(shape),), dynamic_shapes=(free,)).module()
    for other in [shape, *others]:
        x = fb.randn(other)
        assert bits(first(module(x))) == bits(first(fn(x))), other


def test_random_numbers_follow_the_sizes():
    program = export(
        lambda x: x + fb.rand_like(x) + fb.randn(x.shape[0], 1), (fb.ones(3, 5),), dynamic_shapes=({0: batch},)
    )
    for n in (1, 7):
        fb.manual_seed(n)
        x = fb.ones(n, 5)
        want = x + fb.rand_like(x) + fb.randn(n, 1)
        after = bits(fb.get_rng_state())
        fb.manual_seed(n)
        assert bits(program(x)) == bits(want) and bits(fb.get_rng_state()) == after


def test_shapes_are_laws_of_the_dimensions():
    program = export(
        lambda x: fb.cat([x, x[:1]]).reshape(-1), (fb.ones(3, 5),), dynamic_shapes=({0: batch, 1: length},)
    )
    assert [str(v.shape[0]) for v in (program.graph.nodes[1].out, program.graph.nodes[2].out)] == [
        "batch + 1", "length + batch*length",
    ]  # fmt: skip
    assert str(program.range_constraints["batch"]) == "[1, 100]"


def test_sizes_that_follow_from_others():
    program = export(
        lambda x, y: fb.cat([x, y]), (fb.ones(4, 5), fb.ones(9, 5)), dynamic_shapes=({0: 2 * batch}, {0: 4 * batch + 1})
    )
    assert program(fb.ones(2, 5), fb.ones(5, 5)).shape == (7, 5)
    for x, y, text in (
        (3, 5, r"'x' must have a size of the form 2\*batch, got 3"),
        (4, 5, r"'y' must have size 9 \(4\*batch \+ 1, where batch = 2\) at dimension 0"),
        (202, 405, r"dimension 'batch' must be in \[1, 100\], got 101"),
    ):
        with pytest.raises(ExportError, match=text):
            program(fb.ones(x, 5), fb.ones(y, 5))


class TestFoundOut:
    def test_dimensions_that_go_together_are_one(self):
        program = export(lambda x, y: x + y, (fb.ones(3, 5), fb.ones(3, 5)), dynamic_shapes=(Dim.AUTO, Dim.AUTO))
        assert program(fb.ones(7, 9), fb.ones(7, 9)).shape == (7, 9)
        with pytest.raises(ExportError, match="'y' must have size 7"):
            program(fb.ones(7, 9), fb.ones(3, 9))

    def test_what_cannot_change_stays(self):
        program = export(nn.Linear(5, 2), (fb.ones(3, 5),), dynamic_shapes=(Dim.AUTO,))
        assert program.inputs[0].shape[1] == 5 and program(fb.ones(9, 5)).shape == (9, 2)

    def test_what_must_change_and_cannot_is_an_error(self):
        with pytest.raises(ExportError, match="a dimension of size 5 can't change"):
            export(nn.Linear(5, 2), (fb.ones(3, 5),), dynamic_shapes=({1: Dim.DYNAMIC},))


@pytest.mark.parametrize(
    ("fn", "error", "text"),
    [
        (lambda x: sum(x[i] for i in range(x.shape[0])), ExportError, "A loop or a branch depends on a size"),
        (
            lambda x: x * [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5][x.shape[0]],
            ExportError,
            "no law was found for a number of mul",
        ),
        (lambda x: x.view(3, 5), RuntimeError, r"view: shape \(3, 5\) is invalid"),
    ],
)
def test_a_program_that_is_another_one_at_other_sizes_is_refused(fn, error, text):
    with pytest.raises(error, match=text):
        export(fn, (fb.ones(3, 5),), dynamic_shapes=({0: Dim("batch", min=1, max=10)},))


@pytest.mark.parametrize(
    ("shapes", "text"),
    [
        ({"z": {0: batch}}, "there is no argument 'z'"),
        (({0: batch},), "1 entries for 2 arguments"),
        (({5: batch}, None), "x has 2 dimensions, and no dimension 5"),
        (({0: batch}, {0: Dim("batch", max=7)}), "two dimensions of the name 'batch'"),
        (({0: Dim("n", max=2)}, None), r"makes 'n' 3, which is not in \[0, 2\]"),
        (({0: batch}, {0: batch}), "elsewhere it is 3"),
        (({0: 4}, None), "must have size 4, and has 3"),
        (({0: "batch"}, None), "must be a Dim, an int or None, got str"),
        (3, "must be a dict or tuple"),
    ],
)
def test_wrong_shapes_are_named(shapes, text):
    with pytest.raises((ValueError, TypeError), match=text):
        export(lambda x, y: x, (fb.ones(3, 5), fb.ones(4)), dynamic_shapes=shapes)


def test_dims():
    assert [(d.__name__, d.max) for d in dims("a b", "c", max=8)] == [("a", 8), ("b", 8), ("c", 8)]
    for args, text in (
        ({"name": "3x"}, "identifier"),
        ({"name": "x", "min": 3, "max": 3}, "above min"),
        ({"name": "x", "min": -1}, "at least 0"),
    ):
        with pytest.raises(ValueError, match=text):
            Dim(**args)


# -- laws --------------------------------------------------------------------------------------------
POINTS = [
    {"n": 6, "m": 10},
    {"n": 7, "m": 12},
    {"n": 13, "m": 11},
    {"n": 8, "m": 21},
    {"n": 12, "m": 13},
    {"n": 9, "m": 15},
]


@given(
    st.sampled_from(list(FORMS)), st.integers(1, 9), st.integers(0, 9),
    st.sampled_from([("n",), ("m",), ("n", "m"), ("n", "n")]),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_a_law_is_found_again(form, factor, constant, names):
    law = Law(form, ((factor, Feature(names)),), constant)
    found = fit(POINTS, [law.at(p) for p in POINTS])
    assert isinstance(found, Law)
    for p in (*POINTS, {"n": 100, "m": 3}, {"n": 51, "m": 64}):
        assert found.at(p) == law.at(p)


@given(st.lists(st.integers(0, 50), min_size=6, max_size=6))
@settings(max_examples=60, deadline=None)
def test_a_law_gives_the_numbers_that_it_was_found_by(numbers):
    found = fit(POINTS, numbers)
    if isinstance(found, Law):
        assert [found.at(p) for p in POINTS] == numbers
    elif found is not None:
        assert set(numbers) == {found}


def test_a_size_that_a_law_was_not_found_for_is_refused_at_the_call():
    program = export(lambda x: x[: x.shape[0] // 3], (fb.ones(6),), dynamic_shapes=({0: Dim("n", min=1)},))
    for n in (1, 2, 3, 50, 100):
        assert program(fb.ones(n)).shape == (n // 3,)
