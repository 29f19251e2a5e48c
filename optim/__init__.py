"""Optimizers and learning rate schedules, as in torch.optim."""

from __future__ import annotations

from flambeau.core.blame import check_constructors as _check_constructors
from flambeau.core.blame import explain_methods as _explain_methods
from flambeau.optim import lr_scheduler, swa_utils
from flambeau.optim.adam import Adam, AdamW
from flambeau.optim.elementwise import ASGD, Adadelta, Adagrad, Adamax, NAdam, RAdam, RMSprop, Rprop
from flambeau.optim.lbfgs import LBFGS
from flambeau.optim.optimizer import Optimizer
from flambeau.optim.sgd import SGD

__all__ = [
    "ASGD", "LBFGS", "SGD", "Adadelta", "Adagrad", "Adam", "AdamW", "Adamax", "NAdam", "Optimizer", "RAdam",
    "RMSprop", "Rprop", "lr_scheduler", "swa_utils",
]  # fmt: skip

_check_constructors(*[v for n, v in list(globals().items()) if n in __all__ and isinstance(v, type)])
_explain_methods(Optimizer)
