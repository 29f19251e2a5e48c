"""The old name of :mod:`flambeau.hub`'s downloads."""

from __future__ import annotations

from flambeau.utils.download import download_url_to_file, load_state_dict_from_url
from flambeau.utils.download import load_state_dict_from_url as load_url

__all__ = ["download_url_to_file", "load_state_dict_from_url", "load_url"]
