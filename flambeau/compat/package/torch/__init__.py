"""flambeau under the name torch: importing this package makes the modules of torch flambeau's."""

import importlib
import sys

from flambeau.compat.torch import enter

__flambeau__ = True
enter(distribution=False)  # the wheel's own says its version
_shell = sys.modules.pop(__name__)
importlib.import_module(__name__)
