"""Random numbers on the devices of type cuda: the one generator's."""

from __future__ import annotations

from flambeau.cuda._here import here as _here

get_rng_state = _here.get_rng_state
get_rng_state_all = _here.get_rng_state_all
initial_seed = _here.initial_seed
manual_seed = _here.manual_seed
manual_seed_all = _here.manual_seed_all
seed = _here.seed
seed_all = _here.seed_all
set_rng_state = _here.set_rng_state
set_rng_state_all = _here.set_rng_state_all

__all__ = [
    "get_rng_state", "get_rng_state_all", "initial_seed", "manual_seed", "manual_seed_all", "seed", "seed_all",
    "set_rng_state", "set_rng_state_all",
]  # fmt: skip
