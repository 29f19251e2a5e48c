"""flambeau: PyTorch's way of working on hardware of your own choice.

Every tensor op goes through one dispatcher to the backend plugin that owns the tensor's device;
autograd, nn and optim stand above that dispatcher.

>>> x = fb.tensor([1.0, 2.0, 3.0], requires_grad=True)
>>> (x * x).sum().backward()
>>> x.grad
tensor([2., 4., 6.])
"""

from __future__ import annotations

import importlib as _importlib
import math as _math
from typing import Any as _Any

__version__ = "0.1.0"

# isort: off
from flambeau._discovery import install as _install_discovery
from flambeau._native import NAMES as _NATIVE
from flambeau._native import PRIVATE as _PRIVATE
from flambeau.core import methods as _methods
from flambeau.core import registry as _registry
from flambeau.core.creation import (
    arange, empty, empty_like, eye, full, full_like, linspace, logspace, ones, ones_like, tril_indices, triu_indices,
    zeros, zeros_like,
)  # fmt: skip
from flambeau.core.device import device
from flambeau.core.dtype import DType as dtype
from flambeau.core.dtype import (
    bfloat16, can_cast, complex64, complex128, finfo, float4_e2m1fn_x2, float8_e4m3fn, float8_e4m3fnuz, float8_e5m2,
    float8_e5m2fnuz, float8_e8m0fnu, float16, float32, float64, get_default_dtype, iinfo, int8, int16, int32, int64,
    promote_types, set_default_dtype, uint8, uint16, uint32, uint64,
)  # fmt: skip
from flambeau.core.dtype import UNHELD as _UNHELD
from flambeau.core.dtype import bool_ as bool
from flambeau.core.exchange import from_dlpack, from_file, from_numpy
from flambeau.core.from_data import as_tensor, asarray, tensor  # fmt: skip
from flambeau.core.generator import (
    Generator,
    default_generator,
    get_rng_state,
    initial_seed,
    manual_seed,
    seed,
    set_rng_state,
)
from flambeau.core.keys import get_default_device, set_default_device
from flambeau.core.memory_format import (
    channels_last, channels_last_3d, contiguous_format, preserve_format, sparse_bsc, sparse_bsr, sparse_coo, sparse_csc,
    sparse_csr, strided,
)  # fmt: skip
from flambeau.core.naming import typename
from flambeau.core.printing import set_printoptions
from flambeau.core.size import Size
from flambeau.core.state import (
    enable_grad, inference_mode, is_grad_enabled, is_inference_mode_enabled, no_grad, set_grad_enabled,
)  # fmt: skip
from flambeau.core.tape.modes import (
    is_anomaly_check_nan_enabled,
    is_anomaly_enabled,
    set_anomaly_enabled,
    set_detect_anomaly,
)
from flambeau.core.storage_methods import LEGACY as _OLD_STORAGES
from flambeau.core.tensor import Tensor
from flambeau.core.switches import (
    are_deterministic_algorithms_enabled, get_deterministic_debug_mode, get_float32_matmul_precision,
    get_num_interop_threads, is_deterministic_algorithms_warn_only_enabled, is_warn_always_enabled,
    set_deterministic_debug_mode, set_float32_matmul_precision, set_flush_denormal, set_num_interop_threads,
    set_warn_always, use_deterministic_algorithms,
)  # fmt: skip
from flambeau.core.symbolic import (
    SymBool, SymFloat, SymInt, sym_constrain_range, sym_constrain_range_for_size, sym_float, sym_fresh_size, sym_int,
    sym_ite, sym_max, sym_min, sym_not, sym_sqrt, sym_sum,
)  # fmt: skip
from flambeau.core.threads import get_num_threads, init_num_threads, set_num_threads
from flambeau.core.typed import NAMES as _OLD_TENSORS

float, double, half = float32, float64, float16
int, long, short, cfloat, cdouble = int32, int64, int16, complex64, complex128
e, inf, nan, pi, newaxis = _math.e, _math.inf, _math.nan, _math.pi, None

_install_discovery()
_methods.install()
globals().update(_methods.FUNCTIONS)

_LAZY = frozenset(
    {
        "__config__",
        "accelerator",
        "amp",
        "array_api",
        "autograd",
        "backends",
        "compiler",
        "core",
        "cpu",
        "cuda",
        "debug",
        "distributed",
        "distributions",
        "export",
        "fft",
        "func",
        "futures",
        "fx",
        "hub",
        "jit",
        "library",
        "linalg",
        "masked",
        "monitor",
        "mps",
        "mtia",
        "multiprocessing",
        "nested",
        "nn",
        "onnx",
        "optim",
        "overrides",
        "plugins",
        "profiler",
        "quasirandom",
        "random",
        "return_types",
        "serialization",
        "signal",
        "sparse",
        "special",
        "storage",
        "testing",
        "types",
        "utils",
        "version",
        "xpu",
    }
)
_SPARSE = (
    "dsmm", "hsmm", "hspmm", "saddmm", "smm", "sparse_bsc_tensor", "sparse_bsr_tensor", "sparse_compressed_tensor",
    "sparse_coo_tensor", "sparse_csc_tensor", "sparse_csr_tensor", "spmm", "sspaddmm",
)  # fmt: skip
_AUTOCAST = (
    "autocast_decrement_nesting", "autocast_increment_nesting", "clear_autocast_cache", "get_autocast_cpu_dtype",
    "get_autocast_dtype", "get_autocast_gpu_dtype", "get_autocast_ipu_dtype", "get_autocast_xla_dtype",
    "is_autocast_cache_enabled", "is_autocast_cpu_enabled", "is_autocast_enabled", "is_autocast_ipu_enabled",
    "is_autocast_xla_enabled", "set_autocast_cache_enabled", "set_autocast_cpu_dtype", "set_autocast_cpu_enabled",
    "set_autocast_dtype", "set_autocast_enabled", "set_autocast_gpu_dtype", "set_autocast_ipu_dtype",
    "set_autocast_ipu_enabled", "set_autocast_xla_dtype", "set_autocast_xla_enabled",
)  # fmt: skip
_ELSEWHERE = (
    {
        "save": "flambeau.utils.serialization",
        "load": "flambeau.utils.serialization",
        "vmap": "flambeau.core.transforms.func",
        "compile": "flambeau.compiler",
        "cond": "flambeau.control",
        "TypedStorage": "flambeau.core.storages",
        "UntypedStorage": "flambeau.core.storages",
        "jagged": "flambeau.nested.tensor",
        "while_loop": "flambeau.control",
        "thread_safe_generator": "flambeau.random",
    }
    | dict.fromkeys(_AUTOCAST, "flambeau.amp.switches")
    | dict.fromkeys(("GradScaler", "autocast"), "flambeau.amp")
    | dict.fromkeys(_OLD_TENSORS, "flambeau.core.typed")
    | dict.fromkeys(_OLD_STORAGES, "flambeau.core.storage_methods")
    | dict.fromkeys((*_UNHELD, "chalf"), "flambeau.core.dtype")
    | dict.fromkeys(_SPARSE, "flambeau.sparse")
    | dict.fromkeys(_NATIVE, "flambeau.nn.native")
    | dict.fromkeys(_PRIVATE, "flambeau.nn.native.private")
)


def __getattr__(name: str) -> _Any:
    """Subpackages are imported when they are first named."""
    if name in _LAZY:
        return _importlib.import_module(f"flambeau.{name}")
    if name in _ELSEWHERE:
        found = getattr(_importlib.import_module(_ELSEWHERE[name]), name)
        globals()[name] = found
        return found
    more = ": this device has no module of its own; flambeau.accelerator has is_available, synchronize and the like"
    hint = _registry.hint_of_device(name, more)
    raise AttributeError(f"module 'flambeau' has no attribute {name!r}{hint}")


def __dir__() -> list[str]:
    names = {n for n in globals() if n != "annotations" and (not n.startswith("_") or n.endswith("__"))}
    return sorted({*names, *_LAZY, *_ELSEWHERE})
