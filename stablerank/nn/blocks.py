"""A first layer that sees blocks of coordinates: what moves together in ℓ2 moves its rows less."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from stablerank.nn.affine import UNIT_ROUNDOFF
from stablerank.stability import Block, StabilityError, multiply_up, root_sum_squares_up


def row_constants(
    weight: NDArray[np.float64], blocks: Sequence[Block], scales: NDArray[np.float64]
) -> NDArray[np.float64]:
    """How far each row of an affine map moves when an adversary moves by 1.

    Parameters
    ----------
    weight : ndarray of shape (n_out, n_in)
        The rows.
    blocks : sequence of Block
        How far its inputs move, before they are scaled, block after block.
    scales : ndarray of shape (n_in,)
        Factors >= 0 by which the inputs are multiplied before the map.

    Returns
    -------
    ndarray of shape (n_out,)
        Rounded up.

    Raises
    ------
    StabilityError
        If the blocks have not as many coordinates in all as the map.

    Notes
    -----
    In a block, with v_i = w_i f_i, Σ v_i Δ_i is at most ‖v‖₂ ‖Δ‖₂ (Cauchy–Schwarz) and at most
    Σ |v_i| |Δ_i|; the smaller of the two counts, in each block and row. By the second alone this is
    the bound in ℓ∞ or less, so that nothing is lost by taking blocks.

    Examples
    --------
    A hundred numbers that move by 1 at most, and by 2 together; their mean moves by 0.2.

    >>> mean, block = np.full((1, 100), 0.01), Block(2.0, np.ones(100))
    >>> row_constants(mean, [block], np.ones(100)).round(9)
    array([0.2])
    """
    sizes = [block.each.size for block in blocks]
    if sum(sizes) != weight.shape[1] or scales.shape != weight.shape[1:]:
        raise StabilityError(
            f"The first layer takes {weight.shape[1]} coordinates, but the stages before it give "
            f"{sum(sizes)}."
        )
    rows = np.asarray(multiply_up(np.abs(weight), scales))
    totals = np.zeros(len(rows))
    start = 0
    for block, size in zip(blocks, sizes, strict=True):
        own = rows[:, start : start + size]
        start += size
        norms = np.array([root_sum_squares_up(row) for row in own])
        together = np.asarray(multiply_up(norms, block.together))
        # a product and size − 1 sums of numbers >= 0
        each = (own @ block.each) * (1 + (size + 2) * 2 * UNIT_ROUNDOFF) + size * 1e-300
        totals = np.nextafter(totals + np.minimum(together, each), np.inf)
    return totals
