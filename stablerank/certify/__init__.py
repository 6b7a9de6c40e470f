"""Certificates: how far the input may move before the prediction can change."""

from stablerank.certify.certificate import Certificates
from stablerank.certify.draws import Draws
from stablerank.certify.pipeline import certify, stability_chain
from stablerank.certify.smoothing import SmoothedClassifier
from stablerank.certify.threats import threat_space
from stablerank.certify.votes import HashedVotes

__all__ = [
    "Certificates",
    "Draws",
    "HashedVotes",
    "SmoothedClassifier",
    "certify",
    "stability_chain",
    "threat_space",
]
