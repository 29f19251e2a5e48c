"""Models from folders and repositories that have a ``hubconf.py``, and files of weights from the net.

A ``hubconf.py`` is a program: what it defines is imported and run. A folder is one that you name; a repository of
GitHub is downloaded only after you have said that you trust it.
"""

from __future__ import annotations

import builtins
import contextlib
import importlib.util
import os
import re
import shutil
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, Final, Literal
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from flambeau.utils.download import download_url_to_file, get_dir, load_state_dict_from_url, set_dir

__all__ = ["download_url_to_file", "get_dir", "help", "list", "load", "load_state_dict_from_url", "set_dir"]

Trust = bool | Literal["check"] | None
_CONFIG: Final = "hubconf.py"
_REPOSITORY: Final = re.compile(r"([\w.-]+)/([\w.-]+)(?::(.+))?")


def load(
    repo_or_dir: str, model: str, *args: Any, source: Literal["github", "local"] = "github",
    trust_repo: Trust = "check", force_reload: bool = False, verbose: bool = True, skip_validation: bool = False,
    **kwargs: Any,
) -> Any:  # Any: what the entry makes  # fmt: skip
    """What ``model(*args, **kwargs)`` makes, where ``model`` is a function of a ``hubconf.py``.

    Args:
        repo_or_dir: a folder, or ``owner/name[:branch or tag]`` of GitHub.
        source: "local" for a folder.
        trust_repo: of a repository that you have not trusted before: "check" asks, True says yes, False asks each time.
        force_reload: download the repository again.
        verbose: say where a kept copy is used.
        skip_validation: do not ask GitHub whether the branch is there.

    >>> import pathlib
    >>> _ = pathlib.Path("hubconf.py").write_text("def double(x):\\n    return 2 * x\\n")
    >>> fb.hub.load(".", "double", 4, source="local")
    8
    """
    if source not in ("github", "local"):
        raise ValueError(f'load: Unknown source: "{source}". Allowed values: "github" | "local".')
    with _config(repo_or_dir, source, trust_repo, force_reload, verbose, skip_validation) as config:
        return _entry(config, model)(*args, **kwargs)


def list(  # PyTorch's name
    github: str, force_reload: bool = False, skip_validation: bool = False, trust_repo: Trust = "check",
    verbose: bool = True, *, source: Literal["github", "local"] = "github",
) -> builtins.list[str]:  # fmt: skip
    """The names of the functions that a ``hubconf.py`` offers.

    >>> import pathlib
    >>> _ = pathlib.Path("hubconf.py").write_text("def double(x):\\n    return 2 * x\\n")
    >>> fb.hub.list(".", source="local")
    ['double']
    """
    with _config(github, source, trust_repo, force_reload, verbose, skip_validation) as config:
        return [n for n, v in vars(config).items() if callable(v) and not n.startswith("_")]


def help(  # PyTorch's name
    github: str, model: str, force_reload: bool = False, skip_validation: bool = False, trust_repo: Trust = "check", *,
    source: Literal["github", "local"] = "github",
) -> str | None:  # fmt: skip
    """The docstring of such a function.

    >>> import pathlib
    >>> _ = pathlib.Path("hubconf.py").write_text("def double(x):\\n    'Twice x.'\\n    return 2 * x\\n")
    >>> fb.hub.help(".", "double", source="local")
    'Twice x.'
    """
    with _config(github, source, trust_repo, force_reload, True, skip_validation) as config:
        return _entry(config, model).__doc__


# -- the program -----------------------------------------------------------------------------------------
@contextlib.contextmanager
def _config(
    where: str, source: str, trust: Trust, force: bool, verbose: bool, skip_validation: bool
) -> Iterator[ModuleType]:
    """The module ``hubconf.py``, whose folder imports are looked for in first."""
    if source == "local":
        folder = Path(where)
    else:
        folder = _repository(where, trust, force, verbose, skip_validation)
    file = folder / _CONFIG
    if not file.is_file():
        raise FileNotFoundError(f"hub: there is no {_CONFIG} in {str(folder)!r}")
    sys.path.insert(0, str(folder))
    try:
        yield _imported(file)
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(str(folder))


def _imported(file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    missing = [n for n in getattr(module, "dependencies", ()) if importlib.util.find_spec(n) is None]
    if missing:
        raise RuntimeError(f"hub: {file} needs packages that are not installed: {', '.join(missing)}")
    return module


def _entry(config: ModuleType, model: str) -> Callable[..., Any]:
    if not isinstance(model, str):
        raise ValueError(f"hub: model must be the name of a function, got {type(model).__name__}")
    found = getattr(config, model, None)
    if not callable(found):
        raise RuntimeError(f"hub: Cannot find callable {model} in {_CONFIG}")
    function: Callable[..., Any] = found
    return function


# -- repositories ------------------------------------------------------------------------------------------
def _repository(github: str, trust: Trust, force: bool, verbose: bool, skip_validation: bool) -> Path:
    """The folder of a repository, downloaded unless it is there."""
    match = _REPOSITORY.fullmatch(github)
    if match is None:
        raise ValueError(f"hub: expected 'owner/name' or 'owner/name:branch', got {github!r}")
    owner, name, ref = match.groups()
    ref = ref or _default_branch(owner, name)
    home = Path(get_dir())
    home.mkdir(parents=True, exist_ok=True)
    folder = home / "_".join((owner, name, ref.replace("/", "_")))
    _ask(home, owner, name, trust)
    if folder.exists() and not force:
        if verbose:
            print(f"Using cache found in {folder}", file=sys.stderr)
        return folder
    if not skip_validation:
        _check_branch(owner, name, ref)
    archive = home / f"{folder.name}.zip"
    download_url_to_file(f"https://github.com/{owner}/{name}/zipball/{ref}", str(archive), progress=False)
    _unpack(archive, folder)
    archive.unlink()
    return folder


def _unpack(archive: Path, folder: Path) -> None:
    """Put what is in the one folder of a zip file in place of ``folder``."""
    new = folder.with_name(f"{folder.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    with zipfile.ZipFile(archive) as zipped:
        zipped.extractall(new)  # it leads no member out of the folder
    (inside,) = new.iterdir()
    shutil.rmtree(folder, ignore_errors=True)
    inside.replace(folder)
    new.rmdir()


def _asked(url: str) -> bool:
    """Whether the net has ``url``."""
    headers = {"Accept": "application/vnd.github.v3+json"}
    if token := os.environ.get("GITHUB_TOKEN"):
        headers["Authorization"] = f"token {token}"
    try:
        with urlopen(Request(url, headers=headers)):
            return True
    except HTTPError as error:
        if error.code == 404:
            return False
        raise


def _default_branch(owner: str, name: str) -> str:
    try:
        return "main" if _asked(f"https://github.com/{owner}/{name}/tree/main/") else "master"
    except URLError:  # no net: what was downloaded before
        kept = sorted(Path(get_dir()).glob(f"{owner}_{name}_ma*"))
        for ref in ("main", "master"):
            if any(path.name == f"{owner}_{name}_{ref}" for path in kept):
                return ref
        raise RuntimeError(f"hub: {owner}/{name} is not in {get_dir()}, and there is no way to github.com") from None


def _check_branch(owner: str, name: str, ref: str) -> None:
    api = f"https://api.github.com/repos/{owner}/{name}"
    if not any(_asked(f"{api}/{kind}/{ref}") for kind in ("branches", "git/ref/tags", "commits")):
        raise ValueError(
            f"hub: Cannot find {ref} in https://github.com/{owner}/{name}; a fork's commits are not its own"
        )


def _ask(home: Path, owner: str, name: str, trust: Trust) -> None:
    """Go on if the repository is trusted; RuntimeError if the user says no."""
    file = home / "trusted_list"
    trusted = file.read_text().split() if file.is_file() else []
    entry = f"{owner}_{name}"
    if entry in trusted and trust is not False or trust is None:
        return
    if trust is not True:
        said = input(f"The program in https://github.com/{owner}/{name} will run here. Trust it? (y/N) ")
        if said not in ("y", "Y"):
            raise RuntimeError(f"hub: {owner}/{name} is not trusted")
    if entry not in trusted:
        file.write_text("\n".join([*trusted, entry]) + "\n")
