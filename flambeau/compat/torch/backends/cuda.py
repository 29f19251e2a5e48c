"""Switches of torch's CUDA libraries, kept; and which kernels serve attention: flambeau's own, in plain products."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, NoReturn

from flambeau.compat.unchanged import no
from flambeau.core import registry
from flambeau.core.tensor import Tensor
from flambeau.nn.attention import SDPBackend, sdpa_kernel
from flambeau.nn.functional.attention_ways import switch, ways

__all__ = [
    "SDPAParams", "allow_fp16_bf16_reduction_math_sdp", "blas_workspace_size", "can_use_cudnn_attention",
    "can_use_efficient_attention", "can_use_flash_attention", "cuBLASModule", "cuFFTPlanCache",
    "cuFFTPlanCacheAttrContextProp", "cuFFTPlanCacheManager", "cublas_workspace_size", "cublaslt_workspace_size",
    "cudnn_sdp_enabled", "cufft_plan_cache", "enable_cudnn_sdp", "enable_flash_sdp", "enable_math_sdp",
    "enable_mem_efficient_sdp", "flash_sdp_enabled", "fp16_bf16_reduction_math_sdp_allowed", "is_built",
    "is_ck_sdpa_available", "is_flash_attention_available", "math_sdp_enabled", "matmul", "mem_efficient_sdp_enabled",
    "preferred_blas_library", "preferred_linalg_library", "preferred_rocm_fa_library", "sdp_kernel",
]  # fmt: skip


class cuBLASModule:
    """The switches of products, which are kept; :data:`matmul` is one.

    A pair for a reduction says also whether it may be split along k, under the name with ``_split_k``.
    """

    allow_tf32: bool
    allow_fp16_accumulation: bool
    allow_fp16_reduced_precision_reduction: Any  # a bool, which may be set by a pair
    allow_bf16_reduced_precision_reduction: Any
    allow_fp16_reduced_precision_reduction_split_k: bool
    allow_bf16_reduced_precision_reduction_split_k: bool
    fp32_precision: str

    def __init__(self) -> None:
        kept = vars(self)
        kept.update(allow_tf32=False, allow_fp16_accumulation=False, fp32_precision="none")
        self.allow_fp16_reduced_precision_reduction = self.allow_bf16_reduced_precision_reduction = True

    def __setattr__(self, name: str, value: Any) -> None:  # Any: each switch has a type of its own
        kept = vars(self)
        if name.endswith("_reduced_precision_reduction") and name in cuBLASModule.__annotations__:
            kept[name], kept[f"{name}_split_k"] = _reduction(name, value)
        elif name == "fp32_precision":
            if value not in ("none", "ieee", "tf32"):
                raise RuntimeError(f"Unknown precision: {value}")
            kept[name] = value
        elif name not in kept or name.endswith("_split_k"):
            raise AttributeError(f"Unknown attribute {name}")
        elif not isinstance(value, bool):
            raise RuntimeError(f"{name}: expected a bool, got {value!r}")
        else:
            kept[name] = value


def _reduction(name: str, value: bool | Sequence[bool]) -> tuple[bool, bool]:
    pair = (value,) if isinstance(value, bool) else value
    if not isinstance(pair, (tuple, list)) or not 1 <= len(pair) <= 2 or not all(isinstance(v, bool) for v in pair):
        raise TypeError(f"{name}: expected a bool or one or two of them in a tuple, got {value!r}")
    reduced, split = (*pair, True)[:2]
    if reduced and not split:
        raise RuntimeError(f"{name}: allow_splitk=False is not supported when reduced precision reductions are enabled")
    return reduced, split


matmul = cuBLASModule()
is_flash_attention_available = is_ck_sdpa_available = no


def is_built() -> bool:
    """Whether the cuda backend is one of this installation's."""
    return "cuda" in registry.known_types()


def _switch(name: str, way: SDPBackend) -> tuple[Callable[[bool], None], Callable[[], bool]]:
    """The functions that allow a way to compute attention, and that say whether it is allowed."""

    def enable(enabled: bool) -> None:
        switch(way, enabled)

    def is_enabled() -> bool:
        return way in ways().allowed

    enable.__name__ = enable.__qualname__ = f"enable_{name}_sdp"
    enable.__doc__ = f"Allow attention to be computed as {way.name}, or not; RuntimeError if ``enabled`` is no bool."
    is_enabled.__name__ = is_enabled.__qualname__ = f"{name}_sdp_enabled"
    is_enabled.__doc__ = f"Whether attention may be computed as {way.name}; True at first."
    return enable, is_enabled


enable_flash_sdp, flash_sdp_enabled = _switch("flash", SDPBackend.FLASH_ATTENTION)
enable_mem_efficient_sdp, mem_efficient_sdp_enabled = _switch("mem_efficient", SDPBackend.EFFICIENT_ATTENTION)
enable_math_sdp, math_sdp_enabled = _switch("math", SDPBackend.MATH)
enable_cudnn_sdp, cudnn_sdp_enabled = _switch("cudnn", SDPBackend.CUDNN_ATTENTION)


def sdp_kernel(
    enable_flash: bool = True, enable_math: bool = True, enable_mem_efficient: bool = True, enable_cudnn: bool = True
) -> AbstractContextManager[None]:
    """The old form of ``torch.nn.attention.sdpa_kernel``, a switch for each way."""
    switches = {
        SDPBackend.FLASH_ATTENTION: enable_flash, SDPBackend.EFFICIENT_ATTENTION: enable_mem_efficient,
        SDPBackend.MATH: enable_math, SDPBackend.CUDNN_ATTENTION: enable_cudnn,
    }  # fmt: skip
    return sdpa_kernel([way for way, on in switches.items() if on])


def allow_fp16_bf16_reduction_math_sdp(enabled: bool) -> None:
    """Kept for :func:`fp16_bf16_reduction_math_sdp_allowed`: sums of products are in float32 anyway."""
    _kept["reduction"] = bool(enabled)


def fp16_bf16_reduction_math_sdp_allowed() -> bool:
    """What :func:`allow_fp16_bf16_reduction_math_sdp` was told last; False at first."""
    return _kept["reduction"]


def blas_workspace_size(size: int | None = None) -> int:
    """Bytes that products may take beside their operands: none are set apart, and another number is an error."""
    if size:
        raise RuntimeError("torch.backends.cuda: memory for products is not set apart")
    return 0


cublas_workspace_size = cublaslt_workspace_size = blas_workspace_size
_kept = {"reduction": False}


# -- which kernels serve attention ------------------------------------------------------------------------------------
@dataclass(frozen=True)
class SDPAParams:
    """A call of scaled_dot_product_attention, to be asked which kernels would take it."""

    query: Tensor
    key: Tensor
    value: Tensor
    attn_mask: Tensor | None
    dropout: float
    is_causal: bool
    enable_gqa: bool


def _no_kernel(name: str) -> Callable[[SDPAParams, bool], bool]:
    def can_use(params: SDPAParams, debug: bool = False) -> bool:
        if not isinstance(params, SDPAParams):
            raise TypeError(f"{name}: expected SDPAParams, got {type(params).__name__}")
        if debug:
            warnings.warn(f"{name}: attention is computed in plain products on every device", stacklevel=2)
        return False

    can_use.__name__ = can_use.__qualname__ = name
    can_use.__doc__ = "False: there is one way, plain products; with ``debug`` a warning says so."
    return can_use


can_use_flash_attention = _no_kernel("can_use_flash_attention")
can_use_efficient_attention = _no_kernel("can_use_efficient_attention")
can_use_cudnn_attention = _no_kernel("can_use_cudnn_attention")


# -- libraries --------------------------------------------------------------------------------------------------------
def _preferred(name: str, words: str, default: str) -> Callable[[str | None], str]:
    def preferred(backend: str | None = None) -> str:
        if backend is not None and backend not in words.split():
            raise RuntimeError(f"Unknown input value. Choose from: {', '.join(words.split())}.")
        if backend not in (None, "default"):
            raise RuntimeError(f"Cannot set preferred backend to {backend}: no library of that name is used")
        return default

    preferred.__name__ = preferred.__qualname__ = name
    preferred.__doc__ = f'"{default}": which library a backend uses is its own affair; no other can be chosen.'
    return preferred


preferred_linalg_library = _preferred("preferred_linalg_library", "default magma cusolver", "default")
preferred_blas_library = _preferred("preferred_blas_library", "default cublas hipblas cublaslt hipblaslt ck", "default")
preferred_rocm_fa_library = _preferred("preferred_rocm_fa_library", "default aotriton ck", "default")


class cuFFTPlanCacheAttrContextProp:
    """An attribute of the cache of plans of the current device: there are no plans, and no device of cuFFT's."""

    def __init__(self, name: str = "", writable: bool = True):
        self.name, self.writable = name, writable

    def __get__(self, owner: cuFFTPlanCache | None, kind: type) -> Any:  # Any: itself on the class, else a number
        return self if owner is None else _plans()

    def __set__(self, owner: cuFFTPlanCache, value: int) -> None:
        if not self.writable:
            raise RuntimeError(f"cuFFTPlanCache.{self.name} cannot be set")
        _plans()


def _plans() -> NoReturn:
    raise AssertionError("torch.backends.cuda.cufft_plan_cache: cuFFT is not used, and has no plans to keep")


class cuFFTPlanCache:
    """Plans for Fourier transforms of one device; AssertionError when one asks: cuFFT is not used."""

    size = cuFFTPlanCacheAttrContextProp("size", False)
    max_size = cuFFTPlanCacheAttrContextProp("max_size")

    def __init__(self, device_index: int):
        self.device_index = device_index

    def clear(self) -> None:
        """Forget the plans."""
        _plans()


class cuFFTPlanCacheManager(cuFFTPlanCache):
    """The plans of the current device, and by index those of each."""

    def __init__(self) -> None:
        super().__init__(0)

    def __getitem__(self, device: int) -> cuFFTPlanCache:
        raise RuntimeError(f"cufft_plan_cache: expected 0 <= device index < 0, but got device with index {device}")


cufft_plan_cache = cuFFTPlanCacheManager()
