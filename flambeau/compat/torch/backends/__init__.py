"""torch.backends: which of torch's libraries are at work. None is; the switches are kept for who reads them."""

fp32_precision = "none"
