"""Files from the net, whole or not at all, their checksums compared, and kept in one folder."""

from __future__ import annotations

import hashlib
import os
import re
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final
from urllib.parse import urlparse
from urllib.request import Request, urlopen

from tqdm import tqdm

from flambeau.utils.files import atomic_write
from flambeau.utils.safetensors import CheckpointError
from flambeau.utils.serialization import MapLocation, load

__all__ = ["download_url_to_file", "get_dir", "load_state_dict_from_url", "set_dir"]

_HASH_IN_NAME: Final = re.compile(r"-([a-f0-9]{8,})\.")
_PIECE: Final = 1 << 17
_chosen: str | None = None


def get_dir() -> str:
    """The folder of downloads: what :func:`set_dir` chose, else ``hub`` in ``TORCH_HOME``, else in the user's cache.

    >>> fb.hub.get_dir().endswith("hub")
    True
    """
    if _chosen is not None:
        return _chosen
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    home = os.environ.get("TORCH_HOME") or os.path.join(cache, "torch")
    return os.path.join(os.path.expanduser(home), "hub")


def set_dir(d: str | os.PathLike[str] | None) -> None:
    """Choose the folder of downloads; None goes back to what the environment says.

    >>> fb.hub.set_dir("here/hub")
    >>> fb.hub.get_dir()
    'here/hub'
    >>> fb.hub.set_dir(None)
    """
    global _chosen
    _chosen = None if d is None else os.path.expanduser(os.fspath(d))


def download_url_to_file(url: str, dst: str, hash_prefix: str | None = None, progress: bool = True) -> None:
    """Download ``url`` to the file ``dst``, which is there only when all of it came.

    Args:
        url: http, https, ftp, or a file's.
        dst: the path; a file that is there already is replaced.
        hash_prefix: what the file's SHA-256 must begin with, in hexadecimal.
        progress: show a bar on stderr.

    Raises:
        RuntimeError: the checksum is another.

    >>> from pathlib import Path
    >>> _ = Path("a.txt").write_text("hello")
    >>> fb.hub.download_url_to_file(Path("a.txt").absolute().as_uri(), "b.txt", hash_prefix="2cf24d", progress=False)
    >>> Path("b.txt").read_text()
    'hello'
    """
    found = hashlib.sha256()
    request = Request(url, headers={"User-Agent": "flambeau.hub"})
    with urlopen(request) as answer, atomic_write(dst) as file:
        size = int(answer.headers.get("Content-Length") or 0) or None
        with tqdm(total=size, disable=not progress, unit="B", unit_scale=True, unit_divisor=1024) as bar:
            for piece in _pieces(answer):
                file.write(piece)
                found.update(piece)
                bar.update(len(piece))
        if hash_prefix and not found.hexdigest().startswith(hash_prefix):
            raise RuntimeError(
                f"download_url_to_file: the SHA-256 of {url} is {found.hexdigest()}, and does not begin with "
                f"{hash_prefix!r}"
            )


def _pieces(answer: BinaryIO) -> Iterator[bytes]:
    while piece := answer.read(_PIECE):
        yield piece


def load_state_dict_from_url(
    url: str, model_dir: str | None = None, map_location: MapLocation = None, progress: bool = True,
    check_hash: bool = False, file_name: str | None = None, weights_only: bool = False,
) -> Any:  # Any: what is in the file  # fmt: skip
    """What is in a file of weights on the net, which is downloaded once.

    Args:
        url: of a file by :func:`flambeau.save` or ``torch.save``, or a zip file with one such file in it.
        model_dir: where it is kept; by default ``checkpoints`` in :func:`get_dir`.
        map_location: as for :func:`flambeau.load`.
        progress: show a bar on stderr.
        check_hash: the name ends in a dash and the first eight or more digits of its SHA-256, which must be so.
        file_name: under which it is kept; by default as in the URL.
        weights_only: accepted for PyTorch's sake; nothing else is ever read.

    >>> from pathlib import Path
    >>> fb.save({"w": fb.ones(2)}, "w.pt")
    >>> fb.hub.load_state_dict_from_url(Path("w.pt").absolute().as_uri(), model_dir="kept", progress=False)
    {'w': tensor([1., 1.])}
    """
    folder = Path(model_dir if model_dir is not None else os.path.join(get_dir(), "checkpoints"))
    folder.mkdir(parents=True, exist_ok=True)
    name = file_name or os.path.basename(urlparse(url).path)
    kept = folder / name
    if not kept.exists():
        print(f'Downloading: "{url}" to {kept}', file=sys.stderr)
        match = _HASH_IN_NAME.search(name) if check_hash else None
        download_url_to_file(url, str(kept), match[1] if match else None, progress)
    inner = _member(kept)
    return load(kept if inner is None else inner, map_location)


def _member(path: Path) -> Path | None:
    """The one file in a zip file that is not itself of the form that ``torch.save`` writes; None for all others."""
    if not zipfile.is_zipfile(path):
        return None
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if any(m.filename.endswith("data.pkl") for m in members):
            return None
        if len(members) != 1:
            raise CheckpointError(
                f"{path}: a zip file of {len(members)} members; it must have one, the file of weights"
            )
        target = path.parent / os.path.basename(members[0].filename)
        with archive.open(members[0]) as source, atomic_write(target) as file:
            for piece in _pieces(source):  # type: ignore[arg-type]  # it reads bytes
                file.write(piece)
        return target
