"""Programs recorded once and run again without their Python: :class:`flambeau.core.capture.captured.Captured`."""
