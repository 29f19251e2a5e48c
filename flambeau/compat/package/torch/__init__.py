"""flambeau under the name torch: importing this package makes the modules of torch flambeau's."""

import importlib
import sys

from flambeau.compat.torch import install

__flambeau__ = True
install(children=False)
_shell = sys.modules.pop(__name__)
importlib.import_module(__name__)
