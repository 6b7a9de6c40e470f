"""Lipschitz networks: layers with constants, and the classifier that is built of them."""

from stablerank.nn.activations import Abs, GroupSort, MaxMin
from stablerank.nn.annealing import LogitAnnealing
from stablerank.nn.certificate_losses import CertificateRegularization, GloRoCrossEntropy
from stablerank.nn.circular import CircularLinear
from stablerank.nn.classifier import LipschitzClassifier
from stablerank.nn.hinge import HingeLoss, HingeMixture
from stablerank.nn.hkr import HKRLoss
from stablerank.nn.householder import Householder
from stablerank.nn.linf import LinfDistance, LinfLinear, Standardize
from stablerank.nn.losses import (
    BoxCrossEntropy,
    CertifiedMarginLoss,
    OffsetCrossEntropy,
    TemperatureCrossEntropy,
)
from stablerank.nn.margins import margin_bounds
from stablerank.nn.network import StableRankNetwork, chain_of_layers
from stablerank.nn.orthogonal import (
    BjorckLinear,
    BlockReflectorLinear,
    CayleyLinear,
    ExponentialLinear,
)
from stablerank.nn.rescaled import (
    AlmostOrthogonalLinear,
    GramLinear,
    SpectralLinear,
    UnitRowLinear,
)
from stablerank.nn.residual import ConvexPotential, SDPResidual
from stablerank.nn.sortnet import SortNet
from stablerank.nn.spectral import gram_norm, spectral_norm_upper

__all__ = [
    "Abs",
    "AlmostOrthogonalLinear",
    "BjorckLinear",
    "BlockReflectorLinear",
    "BoxCrossEntropy",
    "CayleyLinear",
    "CertificateRegularization",
    "CertifiedMarginLoss",
    "CircularLinear",
    "ConvexPotential",
    "ExponentialLinear",
    "GloRoCrossEntropy",
    "GramLinear",
    "GroupSort",
    "HKRLoss",
    "HingeLoss",
    "HingeMixture",
    "Householder",
    "LinfDistance",
    "LinfLinear",
    "LipschitzClassifier",
    "LogitAnnealing",
    "MaxMin",
    "OffsetCrossEntropy",
    "SDPResidual",
    "SortNet",
    "SpectralLinear",
    "StableRankNetwork",
    "Standardize",
    "TemperatureCrossEntropy",
    "UnitRowLinear",
    "chain_of_layers",
    "gram_norm",
    "margin_bounds",
    "spectral_norm_upper",
]
