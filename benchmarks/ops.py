"""The suite ``ops``: single ops and optimizer steps at the sizes of training, beside PyTorch.

float32 throughout. Before a case is timed its results are compared with PyTorch's.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from benchmarks import frameworks
from benchmarks.cases import Case, Inputs, both, built, differentiated, forward
from benchmarks.measure import Program, Row
from benchmarks.suite import Settings, measured

ELEMENTS, SIDE, ROWS, FEATURES = 10_000_000, 4096, 4096, 1024
VECTOR, SQUARE, TABLE = (ELEMENTS,), (SIDE, SIDE), (ROWS, FEATURES)
IMAGES = (32, 64, 32, 32)


def elementwise() -> dict[str, Case]:
    return {
        "add": forward(lambda m, x, y: x + y, VECTOR, VECTOR),
        "mul": forward(lambda m, x, y: x * y, VECTOR, VECTOR),
        "exp": forward(lambda m, x: x.exp(), VECTOR),
        "tanh": forward(lambda m, x: x.tanh(), VECTOR),
        "sigmoid": forward(lambda m, x: x.sigmoid(), VECTOR),
        "gelu": forward(lambda m, x: m.F.gelu(x), VECTOR),
        "erf": forward(lambda m, x: x.erf(), VECTOR),
    }


def reductions() -> dict[str, Case]:
    def last(name: str) -> Any:
        return lambda m, x: getattr(x, name)(1)

    def first(name: str) -> Any:
        return lambda m, x: getattr(x, name)(0)

    def whole(name: str) -> Any:
        return lambda m, x: getattr(x, name)()

    axes = {"last": last, "first": first, "all": whole}
    return {
        f"{name}, {axis}": forward(fn(name), SQUARE)
        for name in ("sum", "mean", "amax", "argmax")
        for axis, fn in axes.items()
    }


def layers() -> dict[str, Case]:
    def labels(m: Inputs) -> tuple[Any, ...]:
        return (m.below(m.n(FEATURES), m.n(ROWS)),)

    def words(m: Inputs) -> tuple[Any, ...]:
        return (m.below(m.n(10_000), m.n(64), m.n(128)),)

    feature, channels, vocabulary = (FEATURES,), (IMAGES[1],), (10_000, 256)
    return (
        both("softmax", lambda m, x: m.F.softmax(x, 1), TABLE)
        | both("log_softmax", lambda m, x: m.F.log_softmax(x, 1), TABLE)
        | both("layer_norm", lambda m, x, w, b: m.F.layer_norm(x, w.shape, w, b), TABLE, feature, feature)
        | both("cross_entropy", lambda m, x, t: m.F.cross_entropy(x, t), TABLE, constants=labels)
        | both("batch_norm", _batch_norm, IMAGES, channels, channels)
        | both("max_pool2d", lambda m, x: m.F.max_pool2d(x, 2), IMAGES)
        | both("avg_pool2d", lambda m, x: m.F.avg_pool2d(x, 2), IMAGES)
        | both("dropout", lambda m, x: m.F.dropout(x, 0.5), TABLE, random=True)
        | both("embedding", lambda m, w, i: m.F.embedding(i, w), vocabulary, constants=words)
        | both("attention, causal", _attention, *[(8, 8, 256, 64)] * 3)
    )


def _batch_norm(m: Inputs, x: Any, weight: Any, bias: Any) -> Any:
    return m.F.batch_norm(x, None, None, weight, bias, training=True)


def _attention(m: Inputs, q: Any, k: Any, v: Any) -> Any:
    return m.F.scaled_dot_product_attention(q, k, v, is_causal=True)


def products() -> dict[str, Case]:
    found = {}
    for n in (64, 256, 512):
        found[f"matmul {n}"] = forward(lambda m, a, b: a @ b, (n, n), (n, n))
        found[f"matmul {n}, left transposed"] = forward(lambda m, a, b: a.T @ b, (n, n), (n, n))
        found[f"matmul {n}, right transposed"] = forward(lambda m, a, b: a @ b.T, (n, n), (n, n))
    found["matmul 1024"] = forward(lambda m, a, b: a @ b, (1024, 1024), (1024, 1024))
    found["matmul 64 of 128"] = forward(lambda m, a, b: a @ b, (64, 128, 128), (64, 128, 128))
    return found


#: (N, input channels, output channels, height and width, kernel, stride, groups)
CONVOLUTIONS: Final = (
    (32, 3, 64, 32, 3, 1, 1), (32, 64, 64, 32, 3, 1, 1), (32, 128, 128, 16, 3, 1, 1), (32, 256, 256, 8, 3, 1, 1),
    (32, 64, 256, 32, 1, 1, 1), (8, 3, 64, 224, 7, 2, 1), (8, 64, 64, 56, 3, 1, 1), (16, 96, 96, 56, 3, 1, 96),
)  # fmt: skip


def convolutions() -> dict[str, Case]:
    found = {}
    for row in CONVOLUTIONS:
        images, channels, filters, side, kernel, stride, groups = row
        kind = "depthwise" if groups > 1 else f"{filters} filters"
        name = f"conv2d {images}x{channels}x{side}x{side}, {kind} {kernel}x{kernel}{', stride 2' * (stride == 2)}"
        found[f"{name}, and backward"] = _convolution(*row)
    return found


def _convolution(images: int, channels: int, filters: int, side: int, kernel: int, stride: int, groups: int) -> Case:
    def make(m: Inputs) -> Program:
        into = 1 if groups > 1 else m.n(channels)
        x = m.normal(m.n(images), m.n(channels), m.n(side), m.n(side), grad=True)
        weight = m.normal(m.n(filters), into, kernel, kernel, grad=True)
        bias = m.normal(m.n(filters), grad=True)
        shared = m.n(groups)
        conv = lambda m, x, w, b: m.F.conv2d(x, w, b, stride, kernel // 2, groups=shared)  # noqa: E731
        return differentiated(m, conv, [x, weight, bias])

    return Case(make)


def optimizers() -> dict[str, Case]:
    """Steps over ten tensors of a million elements; the result is what they have become."""

    def stepping(kind: str, **options: Any) -> Case:
        def make(m: Inputs) -> Program:
            parameters = [m.normal(m.n(1000), m.n(1000), grad=True) for _ in range(10)]
            for p in parameters:
                p.grad = m.normal(*p.shape)
            optimizer = getattr(m.T.optim, kind)(parameters, lr=1e-3, fused=True, **options)

            def program() -> Any:
                optimizer.step()
                return parameters

            return program

        return Case(make)

    return {
        "Adam step": stepping("Adam"),
        "AdamW step": stepping("AdamW"),
        "SGD step, momentum": stepping("SGD", momentum=0.9),
    }


#: By heading, which says the sizes of what stands below it.
GROUPS: Final = {
    "Elementwise, 10 M elements": elementwise(),
    "Reductions, 4096×4096, over an axis or all": reductions(),
    "Layers (rows of 4096×1024, images of 32×64×32×32)": layers(),
    "Matrix products": products(),
    "Convolutions": convolutions(),
    "Optimizer steps, 10 M parameters": optimizers(),
}
CASES: Final = {name: case for group in GROUPS.values() for name, case in group.items()}


def rows(settings: Settings) -> Iterator[Row]:
    for name in settings.chosen(CASES):
        case = CASES[name]
        programs = built(settings, name, case)
        for threads in settings.threads if programs else ():
            frameworks.set_threads(settings.modules, threads)
            yield measured(settings, "ops", name, programs, threads=threads, per=case.per, unit=case.unit)
