"""The switches of torch.backends: what they begin with, what they take, and what they decide."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from tests.devices.places import place
from tests.recorded import Case

GIVEN: dict[str, Case] = {
    "cuda": lambda T: place(T, "backends.cuda"),
    "matmul": lambda T: place(T, "backends.cuda").matmul,
    "mha": lambda T: place(T, "backends.mha"),
    "attend": lambda T: partial(T.nn.functional.scaled_dot_product_attention, *[T.eye(2).reshape(1, 1, 2, 2)] * 3),
}


def ways(cuda: Any) -> list[bool]:
    """Which ways to compute attention are allowed."""
    return [
        cuda.flash_sdp_enabled(), cuda.mem_efficient_sdp_enabled(), cuda.math_sdp_enabled(), cuda.cudnn_sdp_enabled(),
    ]  # fmt: skip


def inside(block: Any, ask: Callable[[], Any]) -> list[Any]:
    """What is answered inside a block and after it."""
    with block:
        found = ask()
    return [found, ask()]


def switched_off(cuda: Any, *names: str, then: Callable[[], Any]) -> Any:
    """An answer while some ways are off."""
    for name in names:
        getattr(cuda, f"enable_{name}_sdp")(False)
    try:
        return then()
    finally:
        for name in names:
            getattr(cuda, f"enable_{name}_sdp")(True)


def kept(matmul: Any, name: str, *values: Any) -> list[Any]:
    """What a switch of products says after each value, and at last as at first."""
    before, found = getattr(matmul, name), []
    for value in (*values, before):
        setattr(matmul, name, value)
        found.append(getattr(matmul, name))
    return [before, *found]


CASES: dict[str, Case] = {
    # -- attention
    "all ways at first": lambda T, cuda: ways(cuda),
    "enable_flash_sdp": lambda T, cuda: [switched_off(cuda, "flash", then=lambda: ways(cuda)), ways(cuda)],
    "enable_mem_efficient_sdp": lambda T, cuda: switched_off(cuda, "mem_efficient", then=lambda: ways(cuda)),
    "enable_math_sdp": lambda T, cuda: switched_off(cuda, "math", then=lambda: ways(cuda)),
    "enable_cudnn_sdp": lambda T, cuda: switched_off(cuda, "cudnn", then=lambda: ways(cuda)),
    "enable_math_sdp of a number": lambda T, cuda: cuda.enable_math_sdp(1),
    "enable_flash_sdp of nothing": lambda T, cuda: cuda.enable_flash_sdp(None),
    "math alone": lambda T, cuda, attend: switched_off(cuda, "flash", "mem_efficient", "cudnn", then=attend),
    "no way": lambda T, cuda, attend: switched_off(cuda, "flash", "mem_efficient", "cudnn", "math", then=attend),
    "sdp_kernel": lambda T, cuda: inside(cuda.sdp_kernel(False, True, True, False), lambda: ways(cuda)),
    "sdp_kernel of math": lambda T, cuda, attend: inside(cuda.sdp_kernel(enable_flash=False), attend),
    "sdp_kernel of nothing": lambda T, cuda, attend: inside(cuda.sdp_kernel(False, False, False, False), attend),
    "sdp_kernel in sdp_kernel": lambda T, cuda: inside(
        cuda.sdp_kernel(False), lambda: inside(cuda.sdp_kernel(True, False), lambda: ways(cuda))
    ),
    "enable_flash_sdp in sdp_kernel": lambda T, cuda: inside(
        cuda.sdp_kernel(False), lambda: [cuda.enable_flash_sdp(True), ways(cuda)]
    ),
    "sdpa_kernel of none": lambda T, attend: inside(T.nn.attention.sdpa_kernel([]), attend),
    "sdpa_kernel of math": lambda T, cuda: inside(
        T.nn.attention.sdpa_kernel(T.nn.attention.SDPBackend.MATH), lambda: ways(cuda)
    ),
    "is_flash_attention_available": lambda T, cuda: cuda.is_flash_attention_available(),
    "mps.is_built": lambda T: place(T, "backends.mps").is_built(),
    # -- products
    "allow_bf16": lambda T, matmul: kept(matmul, "allow_bf16_reduced_precision_reduction", False, True, [False]),
    "allow_fp16": lambda T, matmul: kept(matmul, "allow_fp16_reduced_precision_reduction", False, True, (False,)),
    "split along k": lambda T, matmul: [
        matmul.allow_fp16_reduced_precision_reduction_split_k,
        kept(matmul, "allow_fp16_reduced_precision_reduction", (False, False)),
        matmul.allow_bf16_reduced_precision_reduction_split_k,
    ],
    "split along k alone": lambda T, matmul: kept(matmul, "allow_bf16_reduced_precision_reduction", (True, False)),
    "reduction of a number": lambda T, matmul: kept(matmul, "allow_bf16_reduced_precision_reduction", 1),
    "reduction of none": lambda T, matmul: kept(matmul, "allow_fp16_reduced_precision_reduction", ()),
    "reduction of three": lambda T, matmul: kept(matmul, "allow_fp16_reduced_precision_reduction", (True,) * 3),
    "allow_tf32 of a number": lambda T, matmul: kept(matmul, "allow_tf32", 1),
    "allow_fp16_accumulation": lambda T, matmul: kept(matmul, "allow_fp16_accumulation", True),
    "fp32_precision": lambda T, matmul: kept(matmul, "fp32_precision", "ieee", "none"),
    "fp32_precision of another word": lambda T, matmul: kept(matmul, "fp32_precision", "exact"),
    "a switch that there is not": lambda T, matmul: setattr(matmul, "allow_all", True),
    "a question that there is not": lambda T, matmul: matmul.allow_all,
    # -- the fused path of MultiheadAttention
    "set_fastpath_enabled": lambda T, mha: [
        mha.get_fastpath_enabled(), mha.set_fastpath_enabled(False), mha.get_fastpath_enabled(),
        mha.set_fastpath_enabled(True), mha.get_fastpath_enabled(),
    ],
}  # fmt: skip
