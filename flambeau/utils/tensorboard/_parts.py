"""What is asked of other packages, once it is needed."""

from __future__ import annotations

import importlib
from typing import Any


def part(name: str) -> Any:  # Any: a module that need not be installed
    """A module of the package ``tensorboard``."""
    return _module(name, "flambeau.utils.tensorboard writes through", "tensorboard")


def pillow(name: str, asked: str) -> Any:  # Any: as above
    """A module of the package ``pillow``, for what is ``asked``."""
    return _module(f"PIL.{name}", f"{asked} needs", "pillow")


def _module(name: str, why: str, package: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ModuleNotFoundError(
            f"{why} the package {package}, which is not here ({error}); pip install {package}", name=error.name
        ) from error
