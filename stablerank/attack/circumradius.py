"""How fast a simplex's circumradius grows when its vertices move.

With its centre z = Σ λ_i p_i, Σ λ_i = 1, in the affine hull of p_0, …, p_k the circumradius R has
dR = Σ λ_i u_i·dp_i with u_i = (p_i − z)/R (the formula behind fact D6): differentiate
R² = ‖p_i − z‖², weigh by λ_i and add up, and dz drops out because Σ λ_i (p_i − z) = 0. An edge has
λ = ½, ½.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def circumradius_gradients(simplices: NDArray[np.float64]) -> NDArray[np.float64]:
    """The gradient of each simplex's circumradius with respect to its vertices.

    Parameters
    ----------
    simplices : ndarray of shape (n, k + 1, d), float64
        The vertices of n simplices of dimension k, 1 <= k <= d.

    Returns
    -------
    ndarray of shape (n, k + 1, d)
        Without unit. 0 for simplices whose vertices are affinely dependent.

    Examples
    --------
    >>> circumradius_gradients(np.array([[[0.0, 0.0], [3.0, 4.0]]]))
    array([[[-0.3, -0.4],
            [ 0.3,  0.4]]])
    """
    edges = simplices[:, 1:] - simplices[:, :1]
    size = np.abs(edges).max(axis=(1, 2), initial=0.0)
    edges = edges / np.where(size > 0, size, 1.0)[:, None, None]  # squares neither over- nor under.
    weights = _centre_weights(edges)
    centre = np.einsum("nk,nkd->nd", weights, edges)  # seen from the first vertex
    radius = np.sqrt(np.einsum("nd,nd->n", centre, centre))
    directions = np.empty(simplices.shape)
    directions[:, 0] = -centre
    np.subtract(edges, centre[:, None], out=directions[:, 1:])
    shares = np.empty(simplices.shape[:2])
    shares[:, 0] = 1 - weights.sum(axis=1)
    shares[:, 1:] = weights
    degenerate = ~(np.isfinite(radius) & (radius > 0))
    shares /= np.where(degenerate, 1.0, radius)[:, None]
    shares[degenerate], directions[degenerate] = 0.0, 0.0
    directions *= shares[:, :, None]
    return directions


def _centre_weights(edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """The circumcentre as a combination of the edges from the first vertex, shape (n, k).

    It is as far from each vertex as from the first: 2 ⟨c, e_i⟩ = ‖e_i‖² for c = Σ w_j e_j.
    """
    k = edges.shape[1]
    if k == 1:
        return np.full((len(edges), 1), 0.5)
    gram = np.einsum("nid,njd->nij", edges, edges)
    squares = np.einsum("nii->ni", gram)
    if k == 2:  # Cramer's rule: this is the plane, where time matters
        a, b, c = squares[:, 0], squares[:, 1], gram[:, 0, 1]
        twice = 2 * (a * b - c * c)
        twice = np.where(twice > 0, twice, np.nan)
        return np.stack([b * (a - c), a * (b - c)], axis=1) / twice[:, None]
    return np.einsum("nij,nj->ni", np.linalg.pinv(gram, hermitian=True), squares / 2)
