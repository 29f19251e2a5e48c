"""Small models of the kinds that people export, with an example input of batch size 3 for each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import flambeau as fb
from benchmarks import workloads
from flambeau import nn
from flambeau.nn import functional as F


def images(channels: int, side: int) -> fb.Tensor:
    return fb.tensor(np.random.default_rng(0).standard_normal((3, channels, side, side), "f"))


def numbers(*shape: int) -> fb.Tensor:
    return fb.tensor(np.random.default_rng(1).standard_normal(shape, "f"))


def words(length: int, vocabulary: int) -> fb.Tensor:
    return fb.tensor(np.random.default_rng(2).integers(0, vocabulary, (3, length)))


class MobileNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()

        def block(a: int, b: int, stride: int) -> list[nn.Module]:
            return [nn.Conv2d(a, 2 * a, 1, bias=False), nn.BatchNorm2d(2 * a), nn.ReLU6(),
                    nn.Conv2d(2 * a, 2 * a, 3, stride, 1, groups=2 * a, bias=False), nn.BatchNorm2d(2 * a),
                    nn.Hardswish(), nn.Conv2d(2 * a, b, 1), nn.BatchNorm2d(b)]  # fmt: skip

        self.body = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.SiLU(), *block(4, 6, 1), *block(6, 8, 2))
        self.head = nn.Linear(8, 5)

    def forward(self, x: fb.Tensor) -> fb.Tensor:
        return self.head(F.adaptive_avg_pool2d(self.body(x), 1).flatten(1))


class UNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down, self.deep = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 8, 3, padding=1)
        self.norm, self.up = nn.GroupNorm(2, 8), nn.ConvTranspose2d(8, 4, 2, 2)
        self.mix, self.end = nn.Conv2d(8, 4, 3, padding=1), nn.Conv2d(4, 2, 1)

    def forward(self, x: fb.Tensor) -> fb.Tensor:
        first = F.leaky_relu(self.down(x), 0.1)
        deep = F.silu(self.norm(self.deep(F.max_pool2d(first, 2))))
        smooth = F.interpolate(deep[:, :4], scale_factor=2, mode="bilinear")
        return self.end(F.elu(self.mix(fb.cat([self.up(deep) + smooth, first], 1))))


class ViT(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.patches, self.token = nn.Conv2d(3, 8, 4, 4), nn.Parameter(numbers(1, 1, 8))
        self.places = nn.Parameter(numbers(1, 5, 8))
        layer = nn.TransformerEncoderLayer(8, 2, 16, activation="gelu", batch_first=True, norm_first=True)
        self.body, self.head = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), nn.Linear(8, 4)

    def forward(self, x: fb.Tensor) -> fb.Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = fb.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.places
        return self.head(self.body(x)[:, 0])


class Recurrent(nn.Module):
    def __init__(self, kind: Callable[..., nn.Module]) -> None:
        super().__init__()
        self.rnn = kind(4, 5, num_layers=2, batch_first=True, bidirectional=True)

    def forward(self, x: fb.Tensor) -> Any:
        return self.rnn(x)


class VAE(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encode, self.decode = nn.Linear(6, 8), nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 6))

    def forward(self, x: fb.Tensor) -> tuple[fb.Tensor, fb.Tensor, fb.Tensor]:
        mean, log_var = self.encode(x).chunk(2, 1)
        z = mean + fb.exp(0.5 * log_var) * 0.1
        divergence = -0.5 * (1 + log_var - mean.pow(2) - log_var.exp()).sum(1)
        return fb.sigmoid(self.decode(z)), mean, divergence


class Seq2Seq(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.encoder = nn.Embedding(9, 6), nn.GRU(6, 6, batch_first=True)
        self.decoder, self.head = nn.LSTM(6, 6, batch_first=True), nn.Linear(12, 9)

    def forward(self, x: fb.Tensor) -> fb.Tensor:
        keys, _ = self.encoder(self.embed(x))
        out, _ = self.decoder(self.embed(x.flip(1)))
        weights = fb.softmax(fb.einsum("bqd,bkd->bqk", out, keys), -1)
        return F.log_softmax(self.head(fb.cat([out, weights @ keys], -1)), -1)


class Bert(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.attend = nn.Embedding(9, 8), nn.MultiheadAttention(8, 2, batch_first=True)
        self.norm, self.pool = nn.LayerNorm(8), nn.Linear(8, 3)

    def forward(self, x: fb.Tensor) -> fb.Tensor:
        h = self.embed(x)
        h = self.norm(h + self.attend(h, h, h, key_padding_mask=x == 0, need_weights=False)[0])
        return self.pool(F.gelu(h, approximate="tanh").mean(1))


def generator() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 32), nn.Unflatten(1, (8, 2, 2)), nn.BatchNorm2d(8), nn.ReLU(),
                         nn.ConvTranspose2d(8, 4, 4, 2, 1), nn.BatchNorm2d(4), nn.LeakyReLU(0.2),
                         nn.Upsample(scale_factor=2), nn.Conv2d(4, 1, 3, padding=1), nn.Tanh())  # fmt: skip


#: By name: the model, the input, and the opset.
MODELS: dict[str, tuple[Callable[[], nn.Module], Callable[[], fb.Tensor], int]] = {
    "mlp": (lambda: workloads.mlp(fb, 5, 6), lambda: numbers(3, 5), 23),
    "lenet": (lambda: workloads.lenet(fb, 4, 12, 8), lambda: images(1, 12), 23),
    "resnet18": (lambda: workloads.resnet18(fb, 4), lambda: images(3, 8), 23),
    "gpt": (lambda: workloads.gpt(fb, 11, 6, 8, 2, 2), lambda: words(6, 11), 23),
    "gpt_18": (lambda: workloads.gpt(fb, 11, 6, 8, 1, 2), lambda: words(6, 11), 18),
    "gpt_wide": (lambda: workloads.gpt(fb, 11, 5, 24, 1, 3), lambda: words(5, 11), 21),
    "lstm": (lambda: workloads.lstm(fb, 4, 5), lambda: numbers(3, 6, 4), 23),
    "mobilenet": (MobileNet, lambda: images(3, 16), 23),
    "unet": (UNet, lambda: images(1, 8), 23),
    "vit": (ViT, lambda: images(3, 8), 23),
    "bert": (Bert, lambda: words(6, 9), 23),
    "seq2seq": (Seq2Seq, lambda: words(5, 9), 23),
    "vae": (VAE, lambda: numbers(3, 6), 20),
    "gan": (generator, lambda: numbers(3, 4), 19),
    "bidirectional_lstm": (lambda: Recurrent(nn.LSTM), lambda: numbers(3, 6, 4), 22),
    "bidirectional_gru": (lambda: Recurrent(nn.GRU), lambda: numbers(3, 6, 4), 23),
    "bidirectional_rnn": (lambda: Recurrent(nn.RNN), lambda: numbers(3, 6, 4), 18),
}
