"""With this folder on PYTHONPATH, ``import torch`` is flambeau. Python runs this file at its start.

Nothing of flambeau is imported before somebody asks for torch, and another sitecustomize further on the path is run.
"""

import importlib.machinery
import os
import sys

_FOLDER = os.path.dirname(os.path.abspath(__file__))


class _AskedForTorch:
    """Installs flambeau's finder when torch, or its version, is asked for the first time."""

    busy = False

    def find_spec(self, fullname, path=None, target=None):
        if fullname == "torch" or fullname.startswith("torch."):
            return self._answer(lambda finder: finder.find_spec(fullname, path, target), None)
        return None

    def find_distributions(self, context=None):
        if context is not None and context.name is not None and context.name.lower() == "torch":
            return self._answer(lambda finder: finder.find_distributions(context), ())
        return ()

    def invalidate_caches(self):
        """Nothing is kept."""

    def _answer(self, ask, otherwise):
        if self in sys.meta_path:
            sys.meta_path.remove(self)
            try:
                from flambeau.compat.torch import install
            except ModuleNotFoundError as error:
                if error.name != "flambeau":
                    raise
                return otherwise  # another Python, without flambeau: its torch is its own
            install()
        return ask(sys.meta_path[0])


def _run_the_next():
    """Run the sitecustomize that this one hides."""
    from importlib import util  # here, since every start of Python comes by

    paths = [p for p in sys.path if os.path.abspath(p or ".") != _FOLDER]
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", paths)
    if spec is not None and spec.loader is not None:
        module = util.module_from_spec(spec)
        spec.loader.exec_module(module)


sys.meta_path.insert(0, _AskedForTorch())
_run_the_next()
