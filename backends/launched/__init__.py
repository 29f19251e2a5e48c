"""What backends share that launch kernels of the C dialect: OpenCL and CUDA stand beside each other on it.

A family of kernels, a module each, is written over a :class:`~.launcher.Launcher`: it says which program runs on which
arrays, with how many items. A driver comes in above: its backend derives from :class:`~.backend.LaunchedBackend`, its
devices from :class:`~.device.Device`.
"""
