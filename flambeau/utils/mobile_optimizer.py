"""Programs for mobile devices, which come with TorchScript: there is none here."""

from __future__ import annotations

import enum
from typing import NoReturn

__all__ = ["LintCode", "MobileOptimizerType", "generate_mobile_module_lints", "optimize_for_mobile"]


class LintCode(enum.Enum):
    """What may be wrong with a program for mobile devices."""

    BUNDLED_INPUT = 1
    REQUIRES_GRAD = 2
    DROPOUT = 3
    BATCHNORM = 4


class MobileOptimizerType(enum.Enum):
    """What is done to it."""

    CONV_BN_FUSION = 1
    INSERT_FOLD_PREPACK_OPS = 2
    REMOVE_DROPOUT = 3
    FUSE_ADD_RELU = 4
    HOIST_CONV_PACKED_PARAMS = 5
    CONV_1D_TO_2D = 6
    VULKAN_AUTOMATIC_GPU_TRANSFER = 7


def optimize_for_mobile(script_module: object, *args: object, **kwargs: object) -> NoReturn:
    """TypeError: it takes a TorchScript program, and there are none here."""
    raise TypeError(
        f"optimize_for_mobile: Got {type(script_module)}, but ScriptModule is expected; there are none here"
    )


def generate_mobile_module_lints(script_module: object) -> NoReturn:
    """TypeError: it takes a TorchScript program, and there are none here."""
    raise TypeError(
        f"generate_mobile_module_lints: Got {type(script_module)}, but ScriptModule is expected; there are none here"
    )
