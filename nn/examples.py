"""Examples of the layers that :func:`flambeau.nn.factory.module_of` makes: what follows the name, and the result."""

from __future__ import annotations

from typing import Final

_CALLS: Final[dict[str, tuple[str, str]]] = {
    "CELU": ("()(fb.tensor([-2.0, 0.5, 3.0]))", "tensor([-0.8647,  0.5000,  3.0000])"),
    "ELU": ("()(fb.tensor([-2.0, 0.5, 3.0]))", "tensor([-0.8647,  0.5000,  3.0000])"),
    "GELU": ("()(fb.tensor([-2.0, 0.5, 3.0]))", "tensor([-0.0455,  0.3457,  2.9960])"),
    "SELU": ("()(fb.tensor([-2.0, 0.5, 3.0]))", "tensor([-1.5202,  0.5254,  3.1521])"),
    "Hardshrink": ("()(fb.tensor([-2.0, 0.5, 3.0]))", "tensor([-2.,  0.,  3.])"),
    "Hardsigmoid": ("()(fb.tensor([-2.0, 0.5, 3.0]))", "tensor([0.1667, 0.5833, 1.0000])"),
    "Hardswish": ("()(fb.tensor([-2.0, 0.5, 3.0]))", "tensor([-0.3333,  0.2917,  3.0000])"),
    "Hardtanh": ("()(fb.tensor([-2.0, 0.5, 3.0]))", "tensor([-1.0000,  0.5000,  1.0000])"),
    "LeakyReLU": ("()(fb.tensor([-2.0, 0.5, 3.0]))", "tensor([-0.0200,  0.5000,  3.0000])"),
    "LogSigmoid": ("()(fb.tensor([-2.0, 0.5, 3.0]))", "tensor([-2.1269, -0.4741, -0.0486])"),
    "Mish": ("()(fb.tensor([-2.0, 0.5, 3.0]))", "tensor([-0.2525,  0.3752,  2.9865])"),
    "ReLU": ("()(fb.tensor([-2.0, 0.5, 3.0]))", "tensor([0.0000, 0.5000, 3.0000])"),
    "ReLU6": ("()(fb.tensor([-2.0, 0.5, 3.0]))", "tensor([0.0000, 0.5000, 3.0000])"),
    "SiLU": ("()(fb.tensor([-2.0, 0.5, 3.0]))", "tensor([-0.2384,  0.3112,  2.8577])"),
    "Sigmoid": ("()(fb.tensor([-2.0, 0.5, 3.0]))", "tensor([0.1192, 0.6225, 0.9526])"),
    "Softplus": ("()(fb.tensor([-2.0, 0.5, 3.0]))", "tensor([0.1269, 0.9741, 3.0486])"),
    "Softshrink": ("()(fb.tensor([-2.0, 0.5, 3.0]))", "tensor([-1.5000,  0.0000,  2.5000])"),
    "Softsign": ("()(fb.tensor([-2.0, 0.5, 3.0]))", "tensor([-0.6667,  0.3333,  0.7500])"),
    "Tanh": ("()(fb.tensor([-2.0, 0.5, 3.0]))", "tensor([-0.9640,  0.4621,  0.9951])"),
    "Tanhshrink": ("()(fb.tensor([-2.0, 0.5, 3.0]))", "tensor([-1.0360,  0.0379,  2.0049])"),
    "GLU": ("()(fb.ones(2, 4)).shape", "flambeau.Size([2, 2])"),
    "Threshold": ("(0.1, 20.0)(fb.tensor([-2.0, 0.5, 3.0]))", "tensor([20.0000,  0.5000,  3.0000])"),
    "Softmax": ("(dim=1)(fb.zeros(1, 2))", "tensor([[0.5000, 0.5000]])"),
    "LogSoftmax": ("(dim=1)(fb.zeros(1, 2))", "tensor([[-0.6931, -0.6931]])"),
    "Softmin": ("(dim=1)(fb.zeros(1, 2))", "tensor([[0.5000, 0.5000]])"),
    "ChannelShuffle": ("(2)(fb.ones(1, 4, 2, 2)).shape", "flambeau.Size([1, 4, 2, 2])"),
    "PixelShuffle": ("(2)(fb.ones(1, 4, 2, 2)).shape", "flambeau.Size([1, 1, 4, 4])"),
    "PixelUnshuffle": ("(2)(fb.ones(1, 1, 4, 4)).shape", "flambeau.Size([1, 4, 2, 2])"),
    "CosineSimilarity": ("()(fb.ones(2, 3), fb.ones(2, 3))", "tensor([1.0000, 1.0000])"),
    "PairwiseDistance": ("()(fb.zeros(1, 2), fb.tensor([[3.0, 4.0]]))", "tensor([5.0000])"),
    "L1Loss": ("()(fb.tensor([0.5, 2.0]), fb.tensor([1.0, 1.0]))", "tensor(0.7500)"),
    "MSELoss": ("()(fb.tensor([0.5, 2.0]), fb.tensor([1.0, 1.0]))", "tensor(0.6250)"),
    "HuberLoss": ("()(fb.tensor([0.5, 2.0]), fb.tensor([1.0, 1.0]))", "tensor(0.3125)"),
    "SmoothL1Loss": ("()(fb.tensor([0.5, 2.0]), fb.tensor([1.0, 1.0]))", "tensor(0.3125)"),
    "PoissonNLLLoss": ("()(fb.tensor([0.5, 2.0]), fb.tensor([1.0, 1.0]))", "tensor(3.2689)"),
    "BCELoss": ("()(fb.tensor([0.5]), fb.tensor([1.0]))", "tensor(0.6931)"),
    "BCEWithLogitsLoss": ("()(fb.tensor([0.0]), fb.tensor([1.0]))", "tensor(0.6931)"),
    "SoftMarginLoss": ("()(fb.tensor([0.0]), fb.tensor([1.0]))", "tensor(0.6931)"),
    "HingeEmbeddingLoss": ("()(fb.tensor([0.5]), fb.tensor([1.0]))", "tensor(0.5000)"),
    "CrossEntropyLoss": ("()(fb.zeros(2, 4), fb.tensor([0, 3]))", "tensor(1.3863)"),
    "NLLLoss": ("()(fb.zeros(2, 4), fb.tensor([0, 3]))", "tensor(0.)"),
    "MultiMarginLoss": ("()(fb.zeros(1, 4), fb.tensor([3]))", "tensor(0.7500)"),
    "MultiLabelMarginLoss": ("()(fb.zeros(1, 3), fb.tensor([[2, -1, 0]]))", "tensor(0.6667)"),
    "MultiLabelSoftMarginLoss": ("()(fb.zeros(1, 3), fb.ones(1, 3))", "tensor(0.6931)"),
    "KLDivLoss": ('(reduction="batchmean")(fb.zeros(1, 2), fb.ones(1, 2))', "tensor(0.)"),
    "GaussianNLLLoss": ("()(fb.zeros(2), fb.ones(2), fb.ones(2))", "tensor(0.5000)"),
    "MarginRankingLoss": ("()(fb.zeros(1), fb.ones(1), fb.ones(1))", "tensor(1.)"),
    "CosineEmbeddingLoss": ("()(fb.ones(1, 2), fb.ones(1, 2), fb.ones(1))", "tensor(0.)"),
    "TripletMarginLoss": ("()(fb.zeros(1, 2), fb.zeros(1, 2), fb.ones(1, 2))", "tensor(0.)"),
    "TripletMarginWithDistanceLoss": ("()(fb.zeros(1, 2), fb.zeros(1, 2), fb.ones(1, 2))", "tensor(0.)"),
    "CTCLoss": (
        "()(fb.zeros(4, 1, 3).log_softmax(2), fb.tensor([[1]]), fb.tensor([4]), fb.tensor([1]))",
        "tensor(2.0919)",
    ),
}


def example(name: str) -> str:
    """The example of a layer as a docstring has it; an empty text for a layer without one.

    >>> print(example("Tanh").splitlines()[-1])
    tensor([-0.9640,  0.4621,  0.9951])
    """
    if name not in _CALLS:
        return ""
    call, result = _CALLS[name]
    return f"\n\n>>> fb.nn.{name}{call}\n{result}\n"
