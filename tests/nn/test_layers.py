"""What frozen numbers cannot show of layers: random ones, state, low precision, transforms, errors."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

import flambeau as fb
from flambeau import nn
from flambeau.nn import functional as F
from tests.errors import check_error


# -- dropout -------------------------------------------------------------------------------------------
def test_dropout_keeps_the_share_and_the_mean() -> None:
    fb.manual_seed(3)
    x = fb.ones(200, 100, requires_grad=True)
    out = F.dropout(x, 0.3)
    kept = out.detach().numpy()
    assert set(np.unique(kept)) == {np.float32(0), np.float32(1 / 0.7)}
    np.testing.assert_allclose((kept != 0).mean(), 0.7, atol=0.01)
    out.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), kept)  # the same mask


def test_dropout_follows_the_seed() -> None:
    x = fb.ones(50)
    fb.manual_seed(1)
    first, second = F.dropout(x).tolist(), F.dropout(x).tolist()
    fb.manual_seed(1)
    assert F.dropout(x).tolist() == first
    assert first != second


def test_dropout_is_off_in_evaluation() -> None:
    x = fb.ones(5)
    assert nn.Dropout().eval()(x) is x
    assert F.dropout(x, 0.0) is x
    assert F.dropout(x, 1.0).tolist() == [0.0] * 5
    y = fb.ones(1000)
    assert F.dropout(y, 0.5, inplace=True) is y
    assert 300 < float((y == 0).sum()) < 700


@pytest.mark.parametrize(
    ("layer", "shape", "axes"),
    [(nn.Dropout1d, (4, 5, 6), (2,)), (nn.Dropout2d, (4, 5, 3, 3), (2, 3)), (nn.Dropout3d, (2, 5, 2, 2, 2), (2, 3, 4)),
     (nn.FeatureAlphaDropout, (4, 5, 3, 3), (2, 3))],
)  # fmt: skip
def test_channels_are_dropped_whole(layer: Any, shape: tuple[int, ...], axes: tuple[int, ...]) -> None:
    fb.manual_seed(0)
    out = layer(0.5)(fb.ones(*shape)).numpy()
    assert (out.min(axes) == out.max(axes)).all()
    assert len(np.unique(out)) == 2


def test_dropout1d_drops_channels() -> None:
    fb.manual_seed(0)
    x = fb.ones(200, 20, 6, requires_grad=True)
    out = F.dropout1d(x, 0.3)
    kept = out.detach().numpy()
    assert set(np.unique(kept)) == {np.float32(0), np.float32(1 / 0.7)}
    assert (kept.min(2) == kept.max(2)).all()
    np.testing.assert_allclose((kept[..., 0] != 0).mean(), 0.7, atol=0.03)
    out.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), kept)  # the same mask
    single = F.dropout1d(fb.ones(500, 2), 0.5).numpy()
    assert (single[:, 0] == single[:, 1]).all() and set(np.unique(single)) == {0.0, 2.0}
    assert F.dropout1d(x, 0.5, training=False) is x
    y = fb.ones(3, 4, 5)
    assert F.dropout1d(y, 1.0, inplace=True) is y and not y.any()


def test_alpha_dropout_keeps_mean_and_variance() -> None:
    fb.manual_seed(0)
    out = nn.AlphaDropout(0.2)(fb.randn(200, 200)).numpy()
    np.testing.assert_allclose([out.mean(), out.std()], [0, 1], atol=0.02)


def test_random_activations() -> None:
    fb.manual_seed(0)
    slopes = -nn.RReLU(0.1, 0.4)(-fb.ones(500)).numpy()
    assert slopes.min() >= 0.1
    assert slopes.max() <= 0.4
    np.testing.assert_allclose(slopes.mean(), 0.25, atol=0.02)
    hard = F.gumbel_softmax(fb.zeros(400, 3), hard=True).numpy()
    assert set(np.unique(hard)) == {0.0, 1.0}
    np.testing.assert_allclose(hard.mean(0), 1 / 3, atol=0.08)
    np.testing.assert_allclose(F.gumbel_softmax(fb.zeros(4, 3), tau=0.5).sum(-1).numpy(), 1, rtol=1e-5)


def test_attention_with_dropout_is_attention_on_average() -> None:
    fb.manual_seed(0)
    q, k, v = fb.randn(1, 3, 4), fb.randn(1, 5, 4), fb.randn(1, 5, 4)
    average = sum(F.scaled_dot_product_attention(q, k, v, dropout_p=0.2).numpy() for _ in range(600)) / 600
    np.testing.assert_allclose(average, F.scaled_dot_product_attention(q, k, v).numpy(), atol=0.1)


# -- state ---------------------------------------------------------------------------------------------
def test_embedding_shortens_long_rows_in_place() -> None:
    table = nn.Embedding(4, 2, max_norm=1.0)
    with fb.no_grad():
        table.weight.copy_(fb.tensor([[3.0, 4.0], [0.3, 0.4], [6.0, 8.0], [0.0, 0.0]]))
    out = table(fb.tensor([0, 1, 0]))
    np.testing.assert_allclose(out.detach().numpy(), [[0.6, 0.8], [0.3, 0.4], [0.6, 0.8]], rtol=1e-5)
    np.testing.assert_allclose(table.weight.detach().numpy()[2], [6, 8])


def test_pretrained_embedding() -> None:
    values = fb.arange(6.0).reshape(3, 2)
    table = nn.Embedding.from_pretrained(values)
    assert not table.weight.requires_grad
    assert table(fb.tensor(2)).tolist() == [4.0, 5.0]
    assert nn.Embedding.from_pretrained(values, freeze=False).weight.requires_grad


def test_batch_norm_leaves_statistics_alone_in_evaluation() -> None:
    norm = nn.BatchNorm1d(2)
    norm(fb.randn(8, 2))
    before = norm.running_mean.tolist(), int(norm.num_batches_tracked)
    norm.eval()(fb.randn(8, 2))
    assert (norm.running_mean.tolist(), int(norm.num_batches_tracked)) == before
    assert before[1] == 1
    norm.reset_running_stats()
    assert (norm.running_var.tolist(), int(norm.num_batches_tracked)) == ([1.0, 1.0], 0)
    bare = nn.BatchNorm1d(2, affine=False, track_running_stats=False)
    assert list(bare.state_dict()) == []
    np.testing.assert_allclose(bare.eval()(fb.randn(50, 2)).mean(0).numpy(), 0, atol=1e-6)


def test_lazy_linear_learns_its_size() -> None:
    layer = nn.LazyLinear(3)
    assert layer(fb.ones(2, 5)).shape == (2, 3)
    assert type(layer) is nn.Linear
    assert (layer.weight.shape, layer.bias.shape, layer.in_features) == ((3, 5), (3,), 5)
    other = nn.LazyLinear(3)
    other.load_state_dict(layer.state_dict())
    assert other.weight.shape == (3, 5)


def test_lazy_norms_know_their_size_from_a_state() -> None:
    """Where PyTorch has no answer: it keeps num_features 0."""
    norm = nn.LazyInstanceNorm1d()
    norm.load_state_dict(nn.InstanceNorm1d(3, affine=True, track_running_stats=True).state_dict())
    norm(fb.ones(2, 3, 4))
    assert type(norm) is nn.InstanceNorm1d and norm.num_features == 3


def test_copies_of_a_lazy_layer_learn_apart() -> None:
    """Where PyTorch has no answer: it makes no copy."""
    first = nn.Sequential(nn.LazyConv1d(2, 1))
    second = copy.deepcopy(first)
    first(fb.ones(1, 3, 4))
    second(fb.ones(1, 5, 4))
    assert (first[0].in_channels, second[0].in_channels) == (3, 5)


# -- numerics ------------------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", [fb.float16, fb.bfloat16])
def test_low_precision_is_near(dtype: Any) -> None:
    fb.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.GELU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.LayerNorm(128),
        nn.Linear(128, 5),
    )
    x, t = fb.randn(4, 3, 8, 8), fb.tensor([0, 1, 2, 3])
    wide = F.cross_entropy(net(x), t)
    wide.backward()
    wanted = net[0].weight.grad.numpy().copy()
    net.zero_grad()
    low = F.cross_entropy(net.to(dtype)(x.to(dtype)), t)
    low.backward()
    tolerance = 0.01 if dtype is fb.float16 else 0.08
    np.testing.assert_allclose(float(low), float(wide), rtol=tolerance)
    assert np.abs(net[0].weight.grad.float().numpy() - wanted).max() < tolerance * np.abs(wanted).max()


def test_losses_at_the_edge() -> None:
    big = fb.tensor([[1000.0, -1000.0]], requires_grad=True)
    loss = F.cross_entropy(big, fb.tensor([1]))
    loss.backward()
    assert (loss.item(), big.grad.tolist()) == (2000.0, [[1.0, -1.0]])
    assert F.binary_cross_entropy_with_logits(fb.tensor([1000.0]), fb.tensor([0.0])).item() == 1000.0
    assert F.binary_cross_entropy(fb.tensor([0.0]), fb.tensor([1.0])).item() == 100.0
    assert np.isnan(F.cross_entropy(fb.zeros(2, 3), fb.tensor([-100, -100])).item())
    impossible = F.ctc_loss(F.log_softmax(fb.zeros(2, 1, 3), -1), fb.tensor([[1, 1]]), [2], [2])
    assert impossible.item() == np.inf


def test_max_pool_of_nothing_but_minus_infinity_stays_inside() -> None:
    x = fb.full((1, 1, 4, 4), -np.inf)
    out, indices = F.max_pool2d(x, 3, 2, 1, return_indices=True)
    assert (out == -np.inf).all()
    assert indices.min().item() >= 0


# -- transforms ----------------------------------------------------------------------------------------
def network() -> nn.Module:
    fb.manual_seed(0)
    return nn.Sequential(nn.Conv1d(2, 3, 3), nn.Tanh(), nn.Flatten(), nn.LayerNorm(12), nn.Linear(12, 2)).double()


def test_per_sample_gradients() -> None:
    """vmap over grad with weights that are not mapped over."""
    net, x, t = network(), fb.randn(5, 2, 6, dtype=fb.float64), fb.tensor([0, 1, 1, 0, 1])
    parameters = {n: p.detach() for n, p in net.named_parameters()}

    def loss(p: Any, x: Any, t: Any) -> Any:
        return F.cross_entropy(fb.func.functional_call(net, p, (x.unsqueeze(0),)), t.unsqueeze(0))

    each = fb.func.vmap(fb.func.grad(loss), in_dims=(None, 0, 0))(parameters, x, t)
    for i in range(5):
        net.zero_grad()
        F.cross_entropy(net(x[i : i + 1]), t[i : i + 1]).backward()
        for n, p in net.named_parameters():
            np.testing.assert_allclose(each[n][i].numpy(), p.grad.numpy(), rtol=1e-9, atol=1e-12)


def test_gradient_penalty() -> None:
    """Gradients of gradients through every layer agree with differences."""
    net = network()
    x = fb.randn(3, 2, 6, dtype=fb.float64, requires_grad=True)

    def penalty() -> Any:
        (g,) = fb.autograd.grad(net(x).square().sum(), x, create_graph=True)
        return g.square().sum()

    penalty().backward()
    weight, step = net[0].weight, 1e-6
    found = float(weight.grad[1, 0, 2])
    with fb.no_grad():
        weight[1, 0, 2] += step
    up = penalty().item()
    with fb.no_grad():
        weight[1, 0, 2] -= 2 * step
    np.testing.assert_allclose(found, (up - penalty().item()) / (2 * step), rtol=1e-6)


# -- errors --------------------------------------------------------------------------------------------
X = fb.ones(2, 3, 8, 8)


@pytest.mark.parametrize(
    ("wrong", "error", "words"),
    [
        (lambda: nn.Linear(3, 2)(fb.ones(2, 4)), RuntimeError, ["linear", "(2, 4)", "(2, 3)"]),
        (lambda: nn.Conv2d(4, 2, 3)(X), RuntimeError, ["conv2d", "3 channels", "takes 4"]),
        (lambda: nn.Conv2d(3, 2, 9)(X), RuntimeError, ["conv2d", "does not fit", "(2, 3, 8, 8)"]),
        (lambda: nn.Conv2d(3, 2, 3, groups=2), ValueError, ["Conv2d", "in_channels=3", "groups=2"]),
        (lambda: nn.Conv2d(3, 2, 3, padding="some"), ValueError, ["'same'", "'some'"]),
        (lambda: nn.Conv2d(3, 2, 3, 2, "same"), ValueError, ["'same'", "strided"]),
        (lambda: nn.Conv2d(3, 2, 3, padding_mode="mirror"), ValueError, ["padding_mode", "'mirror'"]),
        (lambda: nn.Conv2d(3, 2, (3, 3, 3)), ValueError, ["Conv2d: kernel_size", "2 ints"]),
        (lambda: nn.Conv1d(3, 2, 3)(X), RuntimeError, ["conv1d", "2 dimensions", "(2, 3, 8, 8)"]),
        (lambda: nn.ConvTranspose2d(4, 2, 3)(X), RuntimeError, ["conv_transpose2d", "3 channels", "(4, 2, 3, 3)"]),
        (lambda: nn.ConvTranspose2d(3, 2, 3, output_padding=1)(X), RuntimeError, ["output_padding", "(1, 1)"]),
        (lambda: nn.ConvTranspose2d(3, 2, 3, 2)(X, output_size=(99, 99)), ValueError, ["(99, 99)", "valid sizes"]),
        (lambda: nn.MaxPool2d(3, padding=2)(X), RuntimeError, ["max_pool2d", "padding", "half"]),
        (lambda: nn.MaxPool2d(9)(X), RuntimeError, ["max_pool2d", "smaller than", "(9, 9)"]),
        (lambda: nn.AdaptiveAvgPool2d(-1)(X), RuntimeError, ["adaptive_avg_pool2d", "negative"]),
        (lambda: F.avg_pool2d(X, 2, divisor_override=0), RuntimeError, ["avg_pool2d", "zero"]),
        (lambda: F.fold(fb.ones(1, 5, 4), 3, 2), RuntimeError, ["fold", "C * 4", "(1, 5, 4)"]),
        (lambda: nn.BatchNorm2d(4)(X), RuntimeError, ["batch_norm", "running_mean", "(4,)", "(3,)"]),
        (lambda: nn.BatchNorm1d(3)(X), ValueError, ["BatchNorm1d", "2D or 3D", "4D"]),
        (lambda: nn.BatchNorm1d(3)(fb.ones(1, 3)), ValueError, ["more than 1 value per channel", "(1, 3)"]),
        (lambda: F.batch_norm(X, None, None), ValueError, ["running_mean", "training=False"]),
        (lambda: nn.InstanceNorm2d(3)(fb.ones(2, 3, 1, 1)), ValueError, ["more than 1", "(2, 3, 1, 1)"]),
        (lambda: nn.LayerNorm(7)(X), RuntimeError, ["layer_norm", "(7,)", "(2, 3, 8, 8)"]),
        (lambda: nn.GroupNorm(2, 3), ValueError, ["num_channels=3", "num_groups=2"]),
        (lambda: nn.Dropout(1.5), ValueError, ["Dropout", "1.5"]),
        (lambda: F.dropout1d(fb.ones(2, 3), -0.1), ValueError, ["dropout1d", "-0.1"]),
        (lambda: F.dropout1d(X), RuntimeError, ["dropout1d", "2D or 3D", "(2, 3, 8, 8)"]),
        (lambda: nn.Embedding(3, 2)(fb.tensor([3])), IndexError, ["3"]),
        (lambda: nn.Embedding(3, 2)(fb.tensor([-1])), IndexError, ["-1"]),
        (lambda: nn.Embedding(3, 2)(fb.ones(2)), TypeError, ["embedding", "integer", "float32"]),
        (lambda: nn.Embedding(3, 2, padding_idx=5), ValueError, ["padding_idx=5", "num_embeddings=3"]),
        (lambda: nn.LSTM(3, 4)(fb.ones(5, 2, 2)), RuntimeError, ["LSTM", "input_size", "3", "(5, 2, 2)"]),
        (lambda: nn.LSTM(3, 4)(fb.ones(5, 2, 3), fb.ones(1)), TypeError, ["LSTM", "pair (h_0, c_0)"]),
        (lambda: nn.GRU(3, 4)(fb.ones(5, 2, 3), fb.ones(1, 3, 4)), RuntimeError, ["GRU", "(1, 2, 4)", "(1, 3, 4)"]),
        (lambda: nn.GRU(3, 4, proj_size=2), ValueError, ["proj_size", "LSTM"]),
        (lambda: nn.RNN(3, 4, nonlinearity="gelu"), ValueError, ["'gelu'"]),
        (lambda: nn.GRUCell(3, 4)(fb.ones(2, 5)), RuntimeError, ["GRUCell", "(N, 3)", "(2, 5)"]),
        (lambda: nn.MultiheadAttention(6, 4), ValueError, ["embed_dim=6", "num_heads=4"]),
        (lambda: nn.MultiheadAttention(6, 2)(fb.ones(4, 2, 5), fb.ones(4, 2, 6), fb.ones(4, 2, 6)), RuntimeError,
         ["(4, 2, 5)", "embed_dim=6"]),
        (lambda: F.scaled_dot_product_attention(fb.ones(2, 3), fb.ones(2, 4), fb.ones(2, 4)), RuntimeError,
         ["query (2, 3)", "key (2, 4)"]),
        (lambda: F.glu(fb.ones(3)), RuntimeError, ["glu", "even", "(3,)"]),
        (lambda: F.gelu(X, "fast"), RuntimeError, ["approximate", "'fast'"]),
        (lambda: F.prelu(X, fb.ones(2)), RuntimeError, ["prelu", "(2,)", "3"]),
        (lambda: F.one_hot(fb.tensor([3]), 3), RuntimeError, ["one_hot", "num_classes=3"]),
        (lambda: F.one_hot(fb.ones(2)), TypeError, ["one_hot", "int64", "float32"]),
        (lambda: F.cross_entropy(fb.ones(2, 3), fb.tensor([0, 3])), IndexError, ["3"]),
        (lambda: F.cross_entropy(fb.ones(2, 3), fb.tensor([0, -1])), IndexError, ["-1"]),
        (lambda: F.cross_entropy(fb.ones(2, 3), fb.tensor([0, 1, 2])), RuntimeError, ["(2, 3)", "(3,)"]),
        (lambda: F.cross_entropy(fb.ones(2, 3), fb.tensor([0, 1]), fb.ones(2)), RuntimeError,
         ["weight", "(2,)", "(3,)"]),
        (lambda: F.cross_entropy(fb.ones(2, 3), fb.tensor([0, 1]), label_smoothing=2.0), RuntimeError,
         ["label_smoothing", "2.0"]),
        (lambda: F.mse_loss(X, X, reduction="avg"), ValueError, ["'avg'", "reduction"]),
        (lambda: F.binary_cross_entropy(fb.ones(2), fb.ones(2, 1)), RuntimeError,
         ["binary_cross_entropy", "(2, 1)", "(2,)"]),
        (lambda: F.huber_loss(X, X, delta=0.0), RuntimeError, ["huber_loss", "delta"]),
        (lambda: F.margin_ranking_loss(fb.ones(2), fb.ones(2, 1), fb.ones(2)), RuntimeError,
         ["margin_ranking_loss", "(2, 1)"]),
        (lambda: F.ctc_loss(fb.ones(4, 1, 3), fb.tensor([[1]]), [5], [1]), RuntimeError,
         ["ctc_loss", "input_lengths", "between 0 and 4", "5 to 5"]),
        (lambda: F.interpolate(X, mode="nearest"), ValueError, ["size", "scale_factor"]),
        (lambda: F.interpolate(X, 3, mode="linear"), NotImplementedError, ["'linear'", "(2, 3, 8, 8)"]),
        (lambda: F.grid_sample(X, fb.ones(2, 4, 4, 3)), RuntimeError, ["grid_sample", "(2, 4, 4, 3)"]),
        (lambda: F.pixel_shuffle(X, 2), RuntimeError, ["pixel_shuffle", "upscale_factor²=4"]),
        (lambda: nn.ReLU(1, 2), TypeError, ["ReLU", "inplace"]),
        (lambda: nn.CrossEntropyLoss(smoothing=0.1), TypeError, ["CrossEntropyLoss", "smoothing"]),
    ],
)  # fmt: skip
def test_errors_say_what_is_wrong(wrong: Any, error: type[Exception], words: list[str]) -> None:
    check_error(wrong, error, words)


@pytest.mark.parametrize("name", ["softmax", "softmin", "log_softmax"])
def test_a_softmax_along_no_axis_warns(name: str) -> None:
    with pytest.warns(UserWarning, match=f"Implicit dimension choice for {name} has been deprecated") as seen:
        getattr(F, name)(X)
    assert seen[0].filename == __file__


def test_a_broadcast_loss_warns() -> None:
    with pytest.warns(UserWarning, match=r"target size \(2,\).*input size \(2, 1\)"):
        F.mse_loss(fb.ones(2, 1), fb.ones(2))
