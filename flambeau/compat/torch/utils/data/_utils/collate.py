"""From samples to a batch."""

import re

from flambeau.utils.data import default_collate, default_convert
from flambeau.utils.data.collate import collate, default_collate_fn_map

__all__ = ["collate", "default_collate", "default_collate_fn_map", "default_convert"]

default_collate_err_msg_format = (
    "default_collate: batch must contain tensors, numpy arrays, numbers, dicts or lists; found {}"
)
#: The kinds of numpy's arrays that hold strings, bytes or objects, which no tensor can.
np_str_obj_array_pattern = re.compile(r"[SaUO]")
