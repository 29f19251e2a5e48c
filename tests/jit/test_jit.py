"""``fb.jit``: what is traced runs its graph, what is scripted its Python, and both come back from a file."""

import io

import pytest

import flambeau as fb
from flambeau import nn
from flambeau.export import ExportError


def back(made, **options):
    file = io.BytesIO()
    fb.jit.save(made, file)
    return fb.jit.load(file, **options)


class Deciding(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(3, 4), nn.Linear(3, 4)
        self.note = "kept"

    def forward(self, x):
        if x.sum() > 0:
            y = self.one(x)
        else:
            y = self.two(x).relu()
            if y.max() > 100:
                raise ValueError("too big")
        return y + 1

    def more(self):
        return self.note


class TestTrace:
    def test_a_trace_is_of_any_size_that_the_module_is_of(self):
        net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
        made = fb.jit.trace(net, fb.randn(2, 1, 8, 8))
        assert isinstance(made, fb.jit.ScriptModule) and made.original_name == "Sequential"
        for shape in ((2, 1, 8, 8), (5, 1, 9, 17)):
            x = fb.randn(shape)
            assert made(x).tolist() == net(x).tolist()
        assert made.state_dict().keys() == net.state_dict().keys()
        with pytest.raises(ExportError, match="must have size 1 at dimension 1"):
            made(fb.randn(2, 3, 8, 8))

    def test_a_trace_shares_its_parameters_and_trains(self):
        layer = nn.Linear(3, 1)
        made = fb.jit.trace(layer, fb.ones(2, 3))
        made(fb.ones(4, 3)).sum().backward()
        assert layer.weight.grad.tolist() == [[4, 4, 4]]

    def test_a_look_at_the_data_is_told_of_with_its_line(self):
        with pytest.warns(fb.jit.TracerWarning, match=r"read at test_jit\.py:\d+; the trace holds for what it was"):
            made = fb.jit.trace(lambda x: x * 2 if x.sum() > 0 else -x, fb.ones(2))
        assert made(-fb.ones(2)).tolist() == [-2, -2]

    def test_a_trace_that_depends_on_more_than_its_arguments_is_refused(self):
        calls = []

        def counting(x):
            calls.append(1)
            return x + len(calls)

        with pytest.raises((RuntimeError, ExportError)):
            fb.jit.trace(counting, fb.ones(2))

    def test_functions_and_keywords(self):
        made = fb.jit.trace(lambda x, *, y: {"sum": x + y}, (fb.ones(2),), example_kwarg_inputs={"y": fb.ones(2)})
        assert isinstance(made, fb.jit.ScriptFunction)
        assert back(made)(fb.ones(2), y=fb.zeros(2))["sum"].tolist() == [1, 1]

    def test_trace_module(self):
        made = fb.jit.trace_module(nn.ReLU(), {"forward": fb.ones(2)})
        assert made(-fb.ones(2)).tolist() == [0, 0]
        with pytest.raises(ValueError, match="those of 'forward', got other"):
            fb.jit.trace_module(nn.ReLU(), {"other": fb.ones(2)})


class TestScript:
    def test_branches_by_the_data_are_in_the_program(self):
        model = Deciding()
        made = fb.jit.script(model, example_inputs=[(fb.ones(2, 3),)])
        assert made.more() == "kept" and made.one is model.one
        loaded = back(made)
        for x in (fb.ones(5, 3), -fb.ones(2, 3)):
            assert loaded(x).tolist() == model(x).tolist() == made(x).tolist()
        with pytest.raises(RuntimeError, match="ValueError: too big"):
            loaded(-fb.full((2, 3), 1e6))

    def test_a_function_is_traced_with_its_first_call(self):
        @fb.jit.script
        def double(x, n: int):
            """Twice."""
            return x * n

        assert (double.__name__, double.__doc__) == ("double", "Twice.")
        with pytest.raises(RuntimeError, match="double: flambeau scripts by tracing, so it must be called once"):
            double.graph  # noqa: B018
        assert double(fb.ones(2), 3).tolist() == [3, 3]
        assert [n.op for n in double.graph.nodes] == ["mul"]
        assert back(double)(fb.ones(7), 3).tolist() == [3] * 7

    def test_a_loop_by_the_data_is_refused_with_its_line(self):
        def halve(x):
            while x.sum() > 1e-30:
                x = x / 2
            return x

        with pytest.raises(ExportError, match=r"decides by the data at test_jit\.py:\d+ in more than 64 ways"):
            fb.jit.script(halve, example_inputs=[(fb.ones(1),)])

    def test_a_scripted_module_is_a_module(self):
        model = Deciding()
        made = fb.jit.script(model)
        assert isinstance(made, nn.Module) and fb.jit.script(made) is made
        assert made.eval() is made and not model.training
        assert [p is q for p, q in zip(made.parameters(), model.parameters(), strict=True)] == [True] * 4
        made(fb.ones(1, 3)).sum().backward()
        assert model.one.weight.grad is not None

    def test_other_things_come_back(self):
        class Box:
            pass

        assert fb.jit.script(Box) is Box
        for decorator in (fb.jit.ignore, fb.jit.unused, fb.jit.export):
            assert decorator(len) is len
        assert not fb.jit.is_scripting() and not fb.jit.is_tracing()


class TestFiles:
    def test_texts_and_mode_are_kept(self):
        made = fb.jit.trace(nn.Dropout(0.5).eval(), fb.ones(2))
        file, asked = io.BytesIO(), {"note": ""}
        fb.jit.save(made, file, {"note": "hello"})
        loaded = fb.jit.load(file, _extra_files=asked)
        assert asked == {"note": "hello"} and not loaded.training and loaded.original_name == "Dropout"
        made.save(again := io.BytesIO())
        assert fb.jit.load(again)(fb.ones(2)).tolist() == [1, 1]

    def test_a_plain_module_is_refused(self):
        with pytest.raises(TypeError, match="must be scripted or traced, got Linear"):
            fb.jit.save(nn.Linear(1, 1), io.BytesIO())


def test_freeze():
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)).eval()
    made = fb.jit.trace(net, fb.randn(2, 3))
    frozen = fb.jit.freeze(made)
    assert not list(frozen.parameters()) and not any(b.requires_grad for b in frozen.buffers())
    x = fb.randn(6, 3)
    assert frozen(x).tolist() == net(x).tolist()
    assert len(frozen.graph.nodes) <= len(made.graph.nodes)
    assert back(frozen)(x).tolist() == net(x).tolist()
    with pytest.raises(RuntimeError, match="training mode"):
        fb.jit.freeze(fb.jit.trace(net.train(), fb.randn(2, 3)))


def test_freezing_works_out_what_follows_from_parameters():
    class Normed(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(fb.randn(3, 3))

        def forward(self, x):
            return x @ (self.weight / self.weight.norm()).t()

    model = Normed().eval()
    frozen = fb.jit.freeze(fb.jit.trace(model, fb.randn(2, 3)))
    assert [n.op for n in frozen.graph.nodes] == ["matmul"] or len(frozen.graph.nodes) == 1
    x = fb.randn(2, 3)
    assert frozen(x).tolist() == model(x).tolist()
