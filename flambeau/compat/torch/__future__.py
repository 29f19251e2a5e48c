"""How conversions such as ``module.double()`` put their results into a module."""

from flambeau.nn.moving import CONVERSION

__all__ = [
    "get_overwrite_module_params_on_conversion", "get_swap_module_params_on_conversion",
    "set_overwrite_module_params_on_conversion", "set_swap_module_params_on_conversion",
]  # fmt: skip


def set_overwrite_module_params_on_conversion(value: bool) -> None:
    """Whether a module gets new parameters: others that were taken from it before do not change then."""
    CONVERSION["overwrite"] = value


def get_overwrite_module_params_on_conversion() -> bool:
    """What :func:`set_overwrite_module_params_on_conversion` was told last; False at first."""
    return CONVERSION["overwrite"]


def set_swap_module_params_on_conversion(value: bool) -> None:
    """Whether parameters and their gradients stay the same objects."""
    CONVERSION["swap"] = value


def get_swap_module_params_on_conversion() -> bool:
    """What :func:`set_swap_module_params_on_conversion` was told last; False at first."""
    return CONVERSION["swap"]
