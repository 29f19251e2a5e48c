"""The conformance kit: what every backend must do, checked op by op against the CPU in float64.

Run it on an installed backend::

    pytest --pyargs flambeau.plugins.conformance --flambeau-device=opencl:0 --flambeau-report=matrix

The tests come from the op records. What a backend cannot do it declares in its ``limitations``
(:class:`flambeau.backends.base.Limitation`); these must fail, and one that passes is an error. The report
is the support matrix as markdown and JSON (:mod:`flambeau.plugins.support`).
"""
