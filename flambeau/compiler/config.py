"""The settings of compile: this name stands for the module that holds them."""

import sys

from flambeau.core.capture import settings
from flambeau.core.capture.settings import *  # noqa: F403  # for type checkers

sys.modules[__name__] = settings
