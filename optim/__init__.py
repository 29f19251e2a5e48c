"""Optimizers and learning rate schedules, as in torch.optim."""

from __future__ import annotations

from flambeau.core.blame import check_constructors as _check_constructors
from flambeau.core.blame import explain_methods as _explain_methods
from flambeau.optim import lr_scheduler, swa_utils
from flambeau.optim.adam import Adam, AdamW
from flambeau.optim.elementwise import ASGD, Adadelta, Adagrad, Adamax, NAdam, RAdam, RMSprop, Rprop
from flambeau.optim.factored import Adafactor, Muon
from flambeau.optim.lbfgs import LBFGS
from flambeau.optim.optimizer import Optimizer
from flambeau.optim.sgd import SGD
from flambeau.optim.sparse import SparseAdam
from flambeau.optim.swapping import swap_in_optimizer_params_and_state

__all__ = [
    "ASGD", "LBFGS", "SGD", "Adadelta", "Adafactor", "Adagrad", "Adam", "AdamW", "Adamax", "Muon", "NAdam", "Optimizer",
    "RAdam", "RMSprop", "Rprop", "SparseAdam", "lr_scheduler", "swa_utils", "swap_in_optimizer_params_and_state",
]  # fmt: skip

_check_constructors(*[v for n, v in list(globals().items()) if n in __all__ and isinstance(v, type)])
_explain_methods(Optimizer)
