"""Quantization, without quantized kernels: stubs pass tensors on, and converting raises RuntimeError."""

from __future__ import annotations

from typing import Any

from flambeau.compat.unchanged import lacking
from flambeau.core.tensor import Tensor
from flambeau.nn import Module

__all__ = [
    "DeQuantStub", "QuantStub", "QuantWrapper", "convert", "default_qconfig", "fuse_modules", "fuse_modules_qat",
    "get_default_qat_qconfig", "get_default_qconfig", "prepare", "prepare_qat", "quantize", "quantize_dynamic",
]  # fmt: skip

_WHY = "flambeau has no quantized kernels yet"
default_qconfig = None


class QuantStub(Module):
    """Where a quantized model would quantize; it passes its input on."""

    def __init__(self, qconfig: Any = None):  # Any: it is kept, not looked at
        super().__init__()
        if qconfig:
            self.qconfig = qconfig

    def forward(self, x: Tensor) -> Tensor:
        return x


class DeQuantStub(QuantStub):
    """Where a quantized model would go back to floats; it passes its input on."""


class QuantWrapper(Module):
    """A module between a :class:`QuantStub` and a :class:`DeQuantStub`."""

    def __init__(self, module: Module):
        super().__init__()
        self.quant, self.dequant, self.module = QuantStub(), DeQuantStub(), module
        self.train(module.training)

    def forward(self, x: Tensor) -> Any:  # Any: of the module
        return self.dequant(self.module(self.quant(x)))


convert, prepare = lacking("ao.quantization.convert", _WHY), lacking("ao.quantization.prepare", _WHY)
prepare_qat, quantize = lacking("ao.quantization.prepare_qat", _WHY), lacking("ao.quantization.quantize", _WHY)
quantize_dynamic = lacking("ao.quantization.quantize_dynamic", _WHY)
fuse_modules = lacking("ao.quantization.fuse_modules", _WHY)
fuse_modules_qat = lacking("ao.quantization.fuse_modules_qat", _WHY)
get_default_qconfig = lacking("ao.quantization.get_default_qconfig", _WHY)
get_default_qat_qconfig = lacking("ao.quantization.get_default_qat_qconfig", _WHY)
