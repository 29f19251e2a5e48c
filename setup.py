"""Where the packages stand: core/ at the root is flambeau.core, and so on. All else is in pyproject.toml."""

from setuptools import find_packages, setup

HOUSES = ("core", "backends", "plugins", "nn", "optim", "utils")

package_dir = {"flambeau": "flambeau"} | {f"flambeau.{house}": house for house in HOUSES}
packages = ["flambeau"]
for house in HOUSES:
    packages += [f"flambeau.{house}", *(f"flambeau.{house}.{name}" for name in find_packages(house))]

setup(packages=packages, package_dir=package_dir)
