"""Whoever doubts a certificate: re-derives files of certificates from models and clouds, by NumPy.

A second, small implementation that shares nothing with the first but GUDHI: no torch, no kernel of
ours, and none of the modules that certify. What it cannot derive it does not accept: it says
"not checked" and why.
"""

from stablerank.checker.check import Verdict, check_files
from stablerank.checker.file_format import diagram_rows

__all__ = ["Verdict", "check_files", "diagram_rows"]
