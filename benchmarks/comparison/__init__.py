"""The comparison: certified pipelines beside unconstrained ones, same data, same attacks.

``python -m benchmarks NAME`` runs a task, ``python -m benchmarks report`` draws what was run.
"""
