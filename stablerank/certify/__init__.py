"""Certificates: how far the input may move before the prediction can change."""

from stablerank.certify.certificate import Certificates
from stablerank.certify.pipeline import certify, stability_chain
from stablerank.certify.threats import threat_space

__all__ = ["Certificates", "certify", "stability_chain", "threat_space"]
