"""The progress bar of downloads."""

from tqdm.auto import tqdm

__all__ = ["tqdm"]
