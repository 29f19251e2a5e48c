"""Settings of torch's compiler: those of compile."""

import sys

from flambeau.core.capture import settings

sys.modules[__name__] = settings
