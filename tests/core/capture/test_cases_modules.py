"""Layers with state and without, train and eval, conversions, parametrizations, shared weights."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial

import pytest

import flambeau as fb
from flambeau import nn
from flambeau.nn import functional as F
from flambeau.nn.utils import parametrizations, parametrize, prune
from tests.core.capture.harness import Case, Cases, Program, numbers, program, train

cases = Cases()

Inputs = Callable[[int], fb.Tensor]
images: Inputs = lambda i: numbers(i, 2, 3, 6, 6)  # noqa: E731
series: Inputs = lambda i: numbers(i, 2, 5, 4)  # noqa: E731
indices: Inputs = lambda i: fb.tensor([[i % 7, 3, i % 2], [6, 6, 0]])  # noqa: E731

LAYERS: dict[str, tuple[Callable[[], nn.Module], Inputs]] = {
    "batch_norm": (lambda: nn.BatchNorm2d(3), images),
    "batch_norm_of_plain_averages": (lambda: nn.BatchNorm2d(3, momentum=None), images),
    "batch_norm_without_statistics": (lambda: nn.BatchNorm2d(3, track_running_stats=False), images),
    "instance_and_group_norm": (lambda: nn.Sequential(nn.InstanceNorm2d(3, affine=True), nn.GroupNorm(3, 3)), images),
    "layer_and_rms_norm": (lambda: nn.Sequential(nn.LayerNorm(4), nn.RMSNorm(4)), series),
    "convolutions": (lambda: nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ELU(), nn.ConvTranspose2d(4, 3, 2)), images),
    "conv1d_with_groups": (lambda: nn.Conv1d(5, 10, 3, dilation=2, padding="same", groups=5), series),
    "pools": (lambda: nn.Sequential(nn.Conv2d(3, 3, 1), nn.MaxPool2d(2), nn.AvgPool2d(2), nn.Flatten()), images),
    "adaptive_pools": (lambda: nn.Sequential(nn.Conv2d(3, 3, 1), nn.AdaptiveMaxPool2d(2), nn.Softmax(1)), images),
    "upsampling_and_padding": (
        lambda: nn.Sequential(nn.Conv2d(3, 3, 1), nn.Upsample(scale_factor=2, mode="bilinear"), nn.ReflectionPad2d(1)),
        images,
    ),
    "lstm": (lambda: First(nn.LSTM(4, 5, num_layers=2, batch_first=True, dropout=0.2)), series),
    "gru_both_ways": (lambda: First(nn.GRU(4, 3, bidirectional=True)), series),
    "rnn": (lambda: First(nn.RNN(4, 3, nonlinearity="relu")), series),
    "attention": (lambda: SelfAttention(), series),
    "transformer_layer": (lambda: nn.TransformerEncoderLayer(4, 2, 8, dropout=0.1, batch_first=True), series),
    "embedding": (lambda: nn.Sequential(nn.Embedding(7, 4, padding_idx=0), nn.Linear(4, 2)), indices),
    "embedding_with_a_largest_norm": (lambda: nn.Embedding(7, 4, max_norm=1.0, scale_grad_by_freq=True), indices),
    "embedding_bag": (lambda: nn.EmbeddingBag(7, 4, mode="mean"), indices),
    "activations": (
        lambda: nn.Sequential(nn.Linear(4, 4), nn.GELU(), nn.PReLU(), nn.SiLU(), nn.RReLU(), nn.GLU(), nn.Softplus()),
        series,
    ),
    "bilinear": (lambda: Twice(nn.Bilinear(4, 4, 2)), series),
    "weight_norm": (lambda: parametrizations.weight_norm(nn.Linear(4, 3)), series),
    "spectral_norm": (lambda: parametrizations.spectral_norm(nn.Linear(4, 3)), series),
    "orthogonal": (lambda: parametrizations.orthogonal(nn.Linear(4, 4)), series),
    "pruned": (lambda: prune.l1_unstructured(nn.Linear(4, 3), "weight", 0.5), series),
    "lazy": (lambda: nn.Sequential(nn.LazyLinear(3), nn.Tanh()), series),
}


NOT_ALWAYS = {
    "batch_norm_of_plain_averages": "its factor is 1 / count, read from a buffer",
    "pruned": "it keeps the masked weight as an attribute in each call",
}


class First(nn.Module):
    """The first of a recurrent layer's results."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: fb.Tensor) -> fb.Tensor:
        return self.layer(x)[0]


class Twice(First):
    def forward(self, x: fb.Tensor) -> fb.Tensor:
        return self.layer(x, x)


class SelfAttention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2, dropout=0.1, batch_first=True)

    def forward(self, x: fb.Tensor) -> fb.Tensor:
        return self.attention(x, x, x)[0]


def layer_trained(make: Callable[[], nn.Module]) -> Program:
    model = make()
    if any(isinstance(m, nn.LazyLinear) for m in model.modules()):
        model(series(0))
    return train(
        model,
        fb.optim.SGD(model.parameters(), lr=0.05, momentum=0.9) if any(True for _ in model.parameters()) else None,
    )


for name, (make, inputs) in LAYERS.items():
    expected = dict(why=NOT_ALWAYS[name]) if name in NOT_ALWAYS else dict(replays=4)
    cases.add(name, partial(layer_trained, make), inputs=inputs, **expected)

LOSSES: dict[str, Callable[[fb.Tensor], fb.Tensor]] = {
    "regression": lambda y: F.mse_loss(y, y.detach() * 0.5) + F.smooth_l1_loss(y, y.detach() + 1) + F.huber_loss(y, -y),
    "classes": lambda y: F.cross_entropy(y, fb.tensor([0, 1, 2, 3])) + F.nll_loss(y.log_softmax(1), fb.arange(4)),
    "binary": lambda y: F.binary_cross_entropy_with_logits(y, (y > 0).float()) + F.soft_margin_loss(y, y.sign()),
    "divergence": lambda y: F.kl_div(y.log_softmax(1), y.detach().softmax(1), reduction="batchmean"),
    "sequences": lambda y: F.ctc_loss(
        y.log_softmax(1)[:, None], fb.tensor([[1, 2]]), fb.tensor([4]), fb.tensor([2]), reduction="sum"
    ),
    "triplets": lambda y: F.triplet_margin_loss(y[:2], y[1:3], y[2:]) + F.cosine_embedding_loss(y, -y, fb.ones(4)),
}
for name, loss in LOSSES.items():
    expected = dict(why="lengths are read") if name == "sequences" else dict(replays=4)
    cases.add(f"loss_{name}", lambda loss=loss: train(nn.Linear(6, 6), None, lambda m, x: loss(m(x))), **expected)


@cases(replays=3, calls=16, why="train and eval are two kinds of calls")
def train_and_eval_by_turns() -> Program:
    model = nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6), nn.Dropout(0.5))
    return train(model, before=lambda i: model.train(i % 8 < 4))


@cases(why="eval of one part, from the sixth call on", calls=10)
def one_part_in_eval() -> Program:
    model = nn.Sequential(nn.Linear(6, 6), nn.Sequential(nn.BatchNorm1d(6), nn.Dropout(0.5)))

    def before(i: int) -> None:
        if i == 5:
            model[1][1].eval()

    return train(model, before=before)


@cases(why="training set as an attribute, not by train()", calls=10)
def training_set_by_hand() -> Program:
    model = nn.Sequential(nn.Linear(6, 6), nn.Dropout(0.5))

    def before(i: int) -> None:
        model[1].training = i < 5

    return train(model, before=before)


@cases(why="the model is converted before the sixth call", calls=11)
def converted_to_double() -> Program:
    model = nn.Linear(6, 6)

    def before(i: int) -> None:
        if i == 5:
            model.double()

    return train(model, before=before, inputs=lambda i: numbers(i, 4, 6).to(fb.float64 if i >= 5 else fb.float32))


@cases(why="half, and back", calls=14)
def converted_to_half_and_back() -> Program:
    model = nn.Linear(6, 6)

    def before(i: int) -> None:
        model.half() if i % 8 > 4 else model.float()

    return program(lambda x: model(x).detach(), model, before=before,
                   inputs=lambda i: numbers(i, 4, 6).to(fb.float16 if i % 8 > 4 else fb.float32))  # fmt: skip


@cases(why="the model moves to another device before the sixth call", calls=11)
def moved_to_strict() -> Program:
    model = nn.Linear(6, 6)
    device = lambda i: "strict" if i >= 5 else "cpu"  # noqa: E731
    return train(model, before=lambda i: model.to(device(i)), inputs=lambda i: numbers(i, 4, 6).to(device(i)))


@cases(replays=4)
def weights_moved_inside() -> Program:
    return program(lambda x: (x.to("strict") * 2).cpu() + x.double().sum().float())


@cases(replays=4)
def tied_weights() -> Program:
    model = nn.Sequential(nn.Linear(6, 6, bias=False), nn.Tanh(), nn.Linear(6, 6))
    model[2].weight = model[0].weight
    return train(model, fb.optim.Adam(model.parameters()))


@cases(why="tied from the sixth call on", calls=10)
def tied_between() -> Program:
    model = nn.Sequential(nn.Linear(6, 6, bias=False), nn.Tanh(), nn.Linear(6, 6))

    def before(i: int) -> None:
        if i == 5:
            model[2].weight = model[0].weight

    return train(model, before=before)


@cases(why="a parametrization is registered before the fifth call, removed before the ninth", calls=12)
def parametrized_between() -> Program:
    class Symmetric(nn.Module):
        def forward(self, w: fb.Tensor) -> fb.Tensor:
            return w.triu() + w.triu(1).t()

    model = nn.Linear(6, 6)

    def before(i: int) -> None:
        if i == 4:
            parametrize.register_parametrization(model, "weight", Symmetric())
        if i == 8:
            parametrize.remove_parametrizations(model, "weight")

    def step(x: fb.Tensor) -> fb.Tensor:
        model.zero_grad()
        loss = model(x).square().mean()
        loss.backward()
        return loss.detach()

    return program(step, model, before=before)


@cases(replays=4)
def sparse_embedding_gradient_made_dense() -> Program:
    table = nn.Embedding(7, 3)

    def step(i: fb.Tensor) -> fb.Tensor:
        table.zero_grad()
        table(i).square().sum().backward()
        with fb.no_grad():
            table.weight.sub_(table.weight.grad, alpha=0.1)
        return table.weight.detach().clone()

    return program(step, table, inputs=indices)


@cases(why="sparse gradients")
def sparse_embedding() -> Program:
    table = nn.Embedding(7, 3, sparse=True)
    return train(table, fb.optim.SGD(table.parameters(), lr=0.1), inputs=indices)


@cases(why="functional_call with other weights in each call")
def functional_call() -> Program:
    model = nn.Linear(6, 6)

    def step(x: fb.Tensor, w: fb.Tensor) -> fb.Tensor:
        return fb.func.functional_call(model, {"weight": w}, (x,)).detach()

    return program(step, model, inputs=lambda i: (numbers(i, 4, 6), numbers(i + 50, 6, 6)))


@cases(why="packed sequences: lengths are read")
def packed_sequences() -> Program:
    rnn = nn.GRU(4, 3, batch_first=True)

    def loss(m: nn.Module, x: fb.Tensor) -> fb.Tensor:
        packed = nn.utils.rnn.pack_padded_sequence(x, fb.tensor([5, 3]), batch_first=True)
        return nn.utils.rnn.pad_packed_sequence(m(packed)[0], batch_first=True)[0].square().mean()

    return train(rnn, None, loss, inputs=series)


@cases(why="weights are initialised again before the sixth call")
def initialised_again() -> Program:
    model = nn.Linear(6, 6)

    def before(i: int) -> None:
        if i == 5:
            nn.init.orthogonal_(model.weight)
            model.reset_parameters()

    return train(model, before=before)


@cases(replays=4)
def copied_inside() -> Program:
    model = nn.Linear(6, 6)
    return program(lambda x: copy.deepcopy(model)(x).detach(), model)


@pytest.mark.parametrize("case", cases, ids=lambda case: case.name)
def test_equal_to_eager(case: Case) -> None:
    case.check()
