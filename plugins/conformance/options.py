"""The kit's command line. A pytest plugin by entry point, since options must be known before collection."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("flambeau", "flambeau's conformance kit")
    group.addoption("--flambeau-device", metavar="TYPE[:N]", help="the device that the conformance kit checks")
    group.addoption(
        "--flambeau-dtypes",
        choices=("all", "few"),
        default="all",
        help="every dtype that the device supports, or float32, int64, bool and float64 alone",
    )
    group.addoption(
        "--flambeau-sizes",
        choices=("all", "small"),
        default="all",
        help="tensors larger than a work-group and every sample, or small ones and the first samples alone, "
        "for a backend whose kernels are slow",
    )
    group.addoption(
        "--flambeau-sample",
        metavar="N[:SEED]",
        help="N of the tests alone, spread evenly over ops, kinds of test and dtypes; the same ones in every run, "
        "others with another seed",
    )
    group.addoption("--flambeau-report", metavar="FOLDER", help="write the support matrix there (markdown and JSON)")


def pytest_configure(config: pytest.Config) -> None:
    """Keep the kit's results where pytest-xdist brings them together: in the process that prints them."""
    if config.getoption("--flambeau-device") and not hasattr(config, "workerinput"):
        from flambeau.plugins.conformance.report import Recorder  # lazy for start-up: every pytest run loads this file

        config.pluginmanager.register(Recorder(config), "flambeau-conformance")
