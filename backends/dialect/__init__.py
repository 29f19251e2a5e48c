"""The C dialect that OpenCL and CUDA share: printers of scalar expressions, and the preamble of each target."""
