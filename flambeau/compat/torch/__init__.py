"""``import torch`` is flambeau: for programs and packages that are written for PyTorch.

>>> from flambeau.compat import torch as compat
>>> compat.__all__
['install', 'installed']
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

from flambeau.compat import namespace
from flambeau.compat.namespace import installed
from flambeau.core.naming import show_as

__all__ = ["install", "installed"]

#: A folder with a sitecustomize.py: every Python that starts with it on PYTHONPATH imports flambeau for torch.
SITE: Final = Path(__file__).parent.parent / "site"


def install(*, children: bool = True) -> None:
    """Make ``import torch`` and every ``import torch.X`` of this process give flambeau.

    ``importlib.metadata.version("torch")`` is then "2.13.0". With ``children`` the processes that this one starts do
    the same, worker processes of every start method too: ``PYTHONPATH`` gets a folder whose ``sitecustomize`` does it.
    A second call does nothing. RuntimeError when another torch has been imported: the two never mix.
    """
    there = sys.modules.get("torch")
    if there is not None and not namespace.is_ours(there) and not getattr(there, "__flambeau__", False):
        raise RuntimeError(
            f"flambeau.compat.torch.install: torch is imported already, from {there.__file__}; call install() before "
            "the first `import torch`, or start the program by `python -m flambeau run`"
        )
    enter()
    if children:
        hand_down()


def enter(*, distribution: bool = True) -> None:
    """Put the finder in front of all others; with ``distribution`` it answers for the version of torch too."""
    if not installed():
        sys.meta_path.insert(0, namespace.Finder(distribution))
        show_as("torch")


def hand_down() -> None:
    """Let the processes that this one starts import flambeau for torch: the folder ``SITE`` goes on PYTHONPATH."""
    paths = [p for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p and p != str(SITE)]
    root = str(SITE.parent.parent.parent)
    if root not in paths and not any("site-packages" in part for part in Path(root).parts):
        paths.append(root)  # a checkout that the parent found on its own sys.path
    os.environ["PYTHONPATH"] = os.pathsep.join([str(SITE), *paths])
