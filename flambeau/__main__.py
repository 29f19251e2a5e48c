"""``python -m flambeau``: the commands. Each imports what it needs when it runs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from flambeau import __version__


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {number}")
    return number


def _demo(given: argparse.Namespace) -> int:
    from flambeau.demo import main as demo

    options = {"device": given.device, "epochs": given.epochs, "seed": given.seed}
    demo(**{name: value for name, value in options.items() if value is not None})
    return 0


def _doctor(given: argparse.Namespace) -> int:
    from flambeau.plugins import doctor

    return doctor.main(as_json=given.json)


def _coverage(given: argparse.Namespace) -> int:
    from flambeau.plugins import coverage

    return coverage.main(given.device, as_json_text=given.json)


def _explain(given: argparse.Namespace) -> int:
    from flambeau.core.explain import explain

    try:
        print(explain(given.op, given.device))
    except KeyError as error:  # an unknown op
        print(f"flambeau: {error.args[0]}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m flambeau", description="flambeau's commands")
    parser.add_argument("--version", action="version", version=f"flambeau {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    demo = commands.add_parser("demo", help="train a small convolutional network on scanned digits")
    demo.add_argument("--device", help="where to train (default: what FLAMBEAU_DEVICE picks)")
    demo.add_argument("--epochs", type=_positive, help="how many times to go through the data")
    demo.add_argument("--seed", type=int, help="the same seed gives the same losses, to the bit")
    demo.set_defaults(run=_demo)

    doctor = commands.add_parser(
        "doctor", help="plugins, devices, versions, settings", description="Exit status 1 when something is broken."
    )
    doctor.add_argument("--json", action="store_true", help="for programs")
    doctor.set_defaults(run=_doctor)

    coverage = commands.add_parser("coverage", help="how a device serves each op, by dtype")
    coverage.add_argument("--device", required=True, help="for example opencl:0")
    coverage.add_argument("--json", action="store_true", help="for programs")
    coverage.set_defaults(run=_coverage)

    explain = commands.add_parser("explain", help="an op's record, its generated code, and which kernel serves it")
    explain.add_argument("op", metavar="OP", help="for example add")
    explain.add_argument("--device", help="only this device")
    explain.set_defaults(run=_explain)
    return parser


def _is_for_users(error: Exception) -> bool:
    """Whether the text alone tells what to do: a device that is not there, a setting that is wrong."""
    from flambeau.backends.base import BackendUnavailableError
    from flambeau.core.config import ConfigError
    from flambeau.core.errors import DeviceError

    return isinstance(error, (BackendUnavailableError, ConfigError, DeviceError))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status: 2 when it could not run."""
    given = _parser().parse_args(arguments)
    try:
        status: int = given.run(given)
    except Exception as error:
        if not _is_for_users(error):
            raise
        print(f"flambeau: {error}", file=sys.stderr)
        return 2
    return status


if __name__ == "__main__":
    sys.exit(main())
