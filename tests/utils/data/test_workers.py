"""When the processes of a loader end."""

import contextlib
import gc
import multiprocessing

from flambeau.utils.data import DataLoader
from tests.utils.data.helpers import Failing


def test_workers_end_with_the_iterator_that_raised_without_a_collection():
    before = set(multiprocessing.active_children())
    gc.disable()
    try:
        with contextlib.suppress(KeyError):
            list(DataLoader(Failing(5), 2, num_workers=2))
        assert set(multiprocessing.active_children()) <= before
    finally:
        gc.enable()
