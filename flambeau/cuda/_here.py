"""The devices of type cuda, or of the type that it is an alias of."""

from flambeau.accelerator.of_type import DeviceModule

here = DeviceModule("cuda")
