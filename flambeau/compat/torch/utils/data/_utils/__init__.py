"""Parts of torch's DataLoader that packages reach for."""

MP_STATUS_CHECK_INTERVAL = 5.0
HAS_NUMPY = True
python_exit_status = False
