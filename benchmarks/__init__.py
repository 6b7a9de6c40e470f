"""Measurements behind the numbers in the README: one module a table, results as JSON beside it."""
