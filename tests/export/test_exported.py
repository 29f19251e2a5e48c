"""An exported program gives the bits of the module, writes what it writes, and holds no Python of it."""

import copy

import pytest

import flambeau as fb
from flambeau import nn
from flambeau.core.tree import flatten
from flambeau.export import Dim, ExportedProgram, ExportError, OutputKind, export


def bits(value):
    return value.numpy(force=True).tobytes() if isinstance(value, fb.Tensor) else value


def assert_same(fn, *args):
    """An exported copy gives the bits of the original, and leaves the same in arguments and state."""
    other = copy.deepcopy(fn) if isinstance(fn, nn.Module) else fn
    program = export(other, tuple(a.clone() for a in args))
    module = program.module()
    assert isinstance(program, ExportedProgram)
    mine, its, start = [a.clone() for a in args], [a.clone() for a in args], fb.get_rng_state()
    want = fn(*mine)
    ended = fb.get_rng_state()
    fb.set_rng_state(start)
    got = module(*its)
    assert bits(fb.get_rng_state()) == bits(ended)
    (wanted, structure), (gotten, found) = flatten(want), flatten(got)
    assert structure == found
    assert [bits(v) for v in gotten] == [bits(v) for v in wanted]
    assert [bits(v) for v in its] == [bits(v) for v in mine]
    if isinstance(fn, nn.Module):
        assert {n: bits(v) for n, v in module.state_dict().items()} == {n: bits(v) for n, v in fn.state_dict().items()}
    return program


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)
        self.register_buffer("seen", fb.zeros(()))

    def forward(self, x):
        self.seen = self.seen + 1
        return nn.functional.dropout(self.norm(self.conv(x)).relu_(), 0.5, self.training)


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (Block, (2, 1, 5, 5)),
        (lambda: Block().eval(), (2, 1, 5, 5)),
        (lambda: nn.LSTM(3, 4, 2, bidirectional=True, dropout=0.3), (2, 1, 3)),
        (lambda: nn.GRU(3, 4), (2, 1, 3)),
        (lambda: nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), (2, 5, 8)),
        (lambda: nn.Sequential(nn.Unfold(2), nn.Flatten(), nn.LazyLinear(3), nn.Softmax(-1)), (2, 1, 4, 4)),
    ],
)
def test_modules(make, shape):
    module, x = make(), fb.randn(shape)
    module.eval()(x)  # what is lazy is made
    assert_same(module.train(), x)


def test_the_original_is_as_it_was():
    module, x = Block(), fb.randn(2, 1, 5, 5)
    before = {n: bits(v) for n, v in module.state_dict().items()}
    seed, given = bits(fb.get_rng_state()), bits(x)
    export(module, (x,))
    assert {n: bits(v) for n, v in module.state_dict().items()} == before
    assert (bits(fb.get_rng_state()), bits(x)) == (seed, given)


def test_writes_become_values():
    def write(x):
        y = x.clone()
        y[0] = 1.0
        y[1] = x[0]
        y[:, x[0] > 0] = 2
        part = y[2]
        y.copy_(x)
        part.add_(1)
        y.add_(part.clone())
        turned = y.view(3, 4).t()
        turned.mul_(3)
        y.t().sub_(1)
        h = fb.tensor([0.0, 0, 0])
        h.add_(x[0])
        fb.add(h, 1, out=h)
        e = fb.empty(0)
        fb.add(h, 2, out=e)
        x.add_(1)
        return {"y": y, "more": [part, turned, h, (e, None, 3)]}

    program = assert_same(write, fb.randn(4, 3))
    assert not any(node.op.endswith("_") for node in program.graph.nodes)
    assert [s.kind for s in program.graph_signature.output_specs][:1] == [OutputKind.USER_INPUT_MUTATION]
    assert dict(program.graph_signature.user_inputs_to_mutate) == {
        program.graph_signature.output_specs[0].arg.name: "x"
    }
    x = fb.full((4, 3), 7.0)  # with other data
    assert [bits(v) for v in flatten(program.module()(x.clone()))[0]] == [bits(v) for v in flatten(write(x))[0]]


def test_random_numbers_are_drawn_anew():
    program = assert_same(lambda x: x + fb.rand(3) + fb.randn(3) + fb.randperm(3) + fb.randint(0, 9, (3,)), fb.ones(3))
    x = fb.ones(3)
    module = program.module()
    assert bits(module(x)) != bits(module(x))


def test_gradients_are_those_of_the_program():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = nn.Linear(3, 4), nn.Linear(4, 2)

        def forward(self, x):
            h = self.one(x)
            with fb.no_grad():
                scale = h.abs().max()
            return self.two(h / scale).sum() + h.detach().sum()

    model, x = Model(), fb.randn(5, 3)
    module = export(copy.deepcopy(model), (x,)).module()
    for m in (model, module):
        m(x).backward()
    want = {n: bits(p.grad) for n, p in model.named_parameters()}
    assert {n: bits(p.grad) for n, p in module.named_parameters()} == want


def test_a_gradient_inside_is_part_of_the_program():
    def slope(x):
        x = x.detach().requires_grad_()
        return fb.autograd.grad((x**3).sum(), x)[0]

    assert_same(slope, fb.randn(4))


@pytest.mark.parametrize(
    ("fn", "text"),
    [
        (lambda x: x if x.sum() > 0 else -x, r"read at test_exported\.py:\d+, and it depends on the inputs"),
        (lambda x: x * x.max().item(), r"read at test_exported\.py:\d+"),
        (lambda x: x + len(x.tolist()), r"values of a tensor are read at test_exported\.py:\d+"),
        (lambda x: x + float(x.numpy()[0]), r"numpy\(\) shares the memory .* at test_exported\.py:\d+"),
        (lambda x: object(), "returns a object"),
    ],
)
def test_what_cannot_be_exported_says_why(fn, text):
    with pytest.raises(ExportError, match=text):
        export(fn, (fb.ones(2),))


def test_values_that_depend_on_no_input_may_be_looked_at():
    assert_same(lambda x: x * fb.arange(4).sum().item() if fb.arange(3).max() > 1 else x, fb.ones(2))


def test_calls_are_checked():
    program = export(lambda x, n, *, k=None: x * n + k["a"], (fb.ones(2, 3), 2), {"k": {"a": fb.ones(3)}})
    assert program(fb.ones(2, 3), 2, k={"a": fb.zeros(3)}).tolist() == [[2, 2, 2]] * 2
    good = {"k": {"a": fb.ones(3)}}
    for args, kwargs, text in [
        ((fb.ones(2, 4), 2), good, "'x' must have size 3 at dimension 1"),
        ((fb.ones(6), 2), good, "'x' must have 2 dimensions"),
        ((fb.ones(2, 3, dtype=fb.float64), 2), good, "'x' must be of dtype float32, got float64"),
        ((fb.ones(2, 3), 3), good, "'n' must be 2, as at the export, got 3"),
        ((3, 2), good, "'x' must be a tensor, got int"),
        ((fb.ones(2, 3), 2), {"k": [fb.ones(3)]}, "do not nest"),
        ((fb.ones(2, 3),), good, "It takes 2 arguments and the keywords k"),
    ]:
        with pytest.raises(ExportError, match=text):
            program(*args, **kwargs)


def test_nodes_know_where_they_come_from():
    model = nn.Sequential(nn.Linear(2, 3), nn.Sequential(nn.ReLU()))
    nodes = export(model, (fb.ones(1, 2),)).graph.nodes
    assert [(n.op, n.module) for n in nodes] == [("linear", "0"), ("relu", "1.0")]


def test_tied_weights_stay_tied():
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
    model[1].weight = model[0].weight
    module = assert_same(model, fb.ones(1, 2)).module()
    assert module.get_parameter("0.weight") is module.get_parameter("1.weight")


class TestDecompositions:
    def test_only_what_is_asked_for_is_expanded(self):
        model = nn.Sequential(nn.Linear(3, 4), nn.SiLU(), nn.LayerNorm(4))
        program = export(model, (fb.randn(2, 3),), dynamic_shapes=({0: Dim("batch")},))
        made = program.run_decompositions(["layer_norm"])
        ops = [n.op for n in made.graph.nodes]
        assert ops[:2] == ["linear", "silu"] and "layer_norm" not in ops
        assert {n.module for n in made.graph.nodes[2:]} == {"2"}
        x = fb.randn(5, 3)
        assert (made(x) - program(x)).abs().max() < 1e-6
        assert made.state_dict.keys() == program.state_dict.keys()
        assert made.range_constraints == program.range_constraints

    def test_all_composites_are_expanded(self):
        program = export(nn.TransformerEncoderLayer(8, 2, 16).eval(), (fb.randn(5, 2, 8),))
        made = program.run_decompositions()
        assert all(n.record is None or n.record.body is None or n.op == "clone" for n in made.graph.nodes)
        x = fb.randn(5, 2, 8)
        assert (made(x) - program(x)).abs().max() < 1e-5

    def test_branches_stay(self):
        program = export(lambda x: fb.cond(x.sum() > 0, nn.functional.silu, fb.neg, (x,)), (fb.ones(2),))
        made = program.run_decompositions({"silu": None})
        assert [n.op for n in made.graph.all_nodes()][-6:] == ["cond", "neg", "exp", "add", "div", "neg"]
        for x in (fb.ones(2), -fb.ones(2)):
            assert (made(x) == program(x)).all()

    def test_a_name_that_is_no_composite_is_refused(self):
        program = export(fb.exp, (fb.ones(2),))
        with pytest.raises(ValueError, match="'nothing' is no op"):
            program.run_decompositions(["nothing"])
