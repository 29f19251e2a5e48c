"""Settings of torch's tracer: those of compile, which has both under one roof."""

import sys

from flambeau.core.capture import settings

sys.modules[__name__] = settings
