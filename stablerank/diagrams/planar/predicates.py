"""On which side of a line, in or out of a circle: exact signs from float64 coordinates.

The sweep of ``delaunay.py`` loops forever, or builds triangles that overlap, when a sign is wrong,
and on clouds of near-collinear or near-cocircular points rounding makes plain floats wrong. Here
each sign is found by the cheapest arithmetic that can vouch for it [1]_:

1. plain floats and one bound for the whole cloud (`orientation_bound`, `in_circle_bound`),
2. plain floats and a bound from the very numbers of the call,
3. for the in-circle test, double-double arithmetic (about 106 bits) with its own bound,
4. expansions: sums of floats that hold the determinant without any rounding.

Overflow and underflow are excluded by the caller: coordinates are multiples of ``2**-250`` and at
most ``2**250`` (`planar_alpha` scales by a power of two and gives up on clouds that span more), so
a product of four of their differences is a multiple of ``2**-1000`` and at most ``2**1004``.

References
----------
.. [1] Shewchuk (1997), "Adaptive precision floating-point arithmetic and fast robust geometric
   predicates", Discrete & Computational Geometry 18.
.. [2] Joldes, Muller, Popescu (2017), "Tight and rigorous error bounds for basic building blocks
   of double-word arithmetic", ACM Transactions on Mathematical Software 44.
"""

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from stablerank.diagrams.planar.compiling import inner

_UNIT = 2.0**-53  # the relative error of one rounded operation
_SPLITTER = 2.0**27 + 1.0
_ORIENTATION_FILTER = (3.0 + 16.0 * _UNIT) * _UNIT
_IN_CIRCLE_FILTER = (10.0 + 96.0 * _UNIT) * _UNIT
# Double-double operations err by at most 3u^2 (sum) and 5u^2 (product) relatively [2]_, and the
# longest chain of the in-circle determinant is 5 (minor), 3, 5 + 3 (lift), 5 (product), 3 + 3:
# 27u^2 of the permanent. Twice that and more covers higher orders and the permanent's rounding.
_DOUBLE_DOUBLE_FILTER = 64.0 * _UNIT * _UNIT


@njit(nogil=True)
def orientation(ax: float, ay: float, bx: float, by: float, cx: float, cy: float) -> float:
    """Sign of the turn a, b, c: +1.0 to the left, -1.0 to the right, 0.0 on one line. Exact."""
    left = (ax - cx) * (by - cy)
    right = (ay - cy) * (bx - cx)
    det = left - right
    if abs(det) > _ORIENTATION_FILTER * (abs(left) + abs(right)):
        return 1.0 if det > 0.0 else -1.0
    return _orientation_exact(ax, ay, bx, by, cx, cy)


@njit(nogil=True)
def in_circle(
    ax: float, ay: float, bx: float, by: float, cx: float, cy: float, dx: float, dy: float
) -> float:
    """Whether d is inside (+1.0), on (0.0) or outside (-1.0) the circle of a, b, c. Exact.

    For a, b, c counterclockwise; if they turn clockwise the sign is the opposite one.
    """
    adx, ady = ax - dx, ay - dy
    bdx, bdy = bx - dx, by - dy
    cdx, cdy = cx - dx, cy - dy
    bc, cb = bdx * cdy, cdx * bdy
    ca, ac = cdx * ady, adx * cdy
    ab, ba = adx * bdy, bdx * ady
    a_lift = adx * adx + ady * ady
    b_lift = bdx * bdx + bdy * bdy
    c_lift = cdx * cdx + cdy * cdy
    det = a_lift * (bc - cb) + b_lift * (ca - ac) + c_lift * (ab - ba)
    permanent = (
        a_lift * (abs(bc) + abs(cb)) + b_lift * (abs(ca) + abs(ac)) + c_lift * (abs(ab) + abs(ba))
    )
    if abs(det) > _IN_CIRCLE_FILTER * permanent:
        return 1.0 if det > 0.0 else -1.0
    det = _in_circle_double_double(ax, ay, bx, by, cx, cy, dx, dy)
    if abs(det) > _DOUBLE_DOUBLE_FILTER * permanent:
        return 1.0 if det > 0.0 else -1.0
    # Every number of that computation is a multiple of step**4, its rounding errors too: an error
    # below one step**4 is no error. This settles the ties of grids without expansions.
    step = min(
        min(min(_lowest_bit(ax), _lowest_bit(ay)), min(_lowest_bit(bx), _lowest_bit(by))),
        min(min(_lowest_bit(cx), _lowest_bit(cy)), min(_lowest_bit(dx), _lowest_bit(dy))),
    )
    if _DOUBLE_DOUBLE_FILTER * permanent < (step * step) * (step * step):
        return 1.0 if det > 0.0 else (-1.0 if det < 0.0 else 0.0)
    return _in_circle_exact(ax, ay, bx, by, cx, cy, dx, dy)


@inner()
def orientation_bound(width: float, height: float) -> float:
    """A plain-float orientation beyond this has the right sign, anywhere in a box of that size."""
    return _ORIENTATION_FILTER * 2.0 * width * height * (1.0 + 64.0 * _UNIT)


@inner()
def in_circle_bound(width: float, height: float) -> float:
    """A plain-float in-circle determinant beyond this has the right sign, anywhere in the box."""
    lift = width * width + height * height
    return _IN_CIRCLE_FILTER * 3.0 * lift * (2.0 * width * height) * (1.0 + 64.0 * _UNIT)


@njit(nogil=True)
def _orientation_exact(ax: float, ay: float, bx: float, by: float, cx: float, cy: float) -> float:
    expansion = np.empty(16)
    n = _add_product_of_differences(expansion, 0, ax, cx, by, cy, 1.0)
    n = _add_product_of_differences(expansion, n, ay, cy, bx, cx, -1.0)
    return _sign(expansion, n)


@njit(nogil=True)
def _in_circle_exact(
    ax: float, ay: float, bx: float, by: float, cx: float, cy: float, dx: float, dy: float
) -> float:
    minor = np.empty(16)
    lift = np.empty(16)
    expansion = np.empty(1536)  # three products of 16 by 16 terms, two floats each
    n = 0
    for _ in range(3):
        n_minor = _add_product_of_differences(minor, 0, bx, dx, cy, dy, 1.0)
        n_minor = _add_product_of_differences(minor, n_minor, cx, dx, by, dy, -1.0)
        n_lift = _add_product_of_differences(lift, 0, ax, dx, ax, dx, 1.0)
        n_lift = _add_product_of_differences(lift, n_lift, ay, dy, ay, dy, 1.0)
        for i in range(n_minor):
            for j in range(n_lift):
                high, low = _two_product(minor[i], lift[j])
                n = _grow(expansion, n, low)
                n = _grow(expansion, n, high)
        ax, ay, bx, by, cx, cy = bx, by, cx, cy, ax, ay
    return _sign(expansion, n)


@njit(nogil=True)
def _in_circle_double_double(
    ax: float, ay: float, bx: float, by: float, cx: float, cy: float, dx: float, dy: float
) -> float:
    det, det_low = 0.0, 0.0
    for _ in range(3):
        px, px_low = _two_difference(ax, dx)
        py, py_low = _two_difference(ay, dy)
        qx, qx_low = _two_difference(bx, dx)
        qy, qy_low = _two_difference(by, dy)
        rx, rx_low = _two_difference(cx, dx)
        ry, ry_low = _two_difference(cy, dy)
        left, left_low = _times(qx, qx_low, ry, ry_low)
        right, right_low = _times(rx, rx_low, qy, qy_low)
        minor, minor_low = _plus(left, left_low, -right, -right_low)
        xx, xx_low = _times(px, px_low, px, px_low)
        yy, yy_low = _times(py, py_low, py, py_low)
        lift, lift_low = _plus(xx, xx_low, yy, yy_low)
        term, term_low = _times(minor, minor_low, lift, lift_low)
        det, det_low = _plus(det, det_low, term, term_low)
        ax, ay, bx, by, cx, cy = bx, by, cx, cy, ax, ay
    return det  # the low half never turns the sign of the high one


@inner()
def _lowest_bit(x: float) -> float:
    """The largest power of two that x is a whole multiple of; infinity for zero."""
    if x == 0.0:
        return np.inf
    fraction, exponent = math.frexp(x)
    whole = np.int64(math.ldexp(abs(fraction), 53))
    return math.ldexp(np.float64(whole & -whole), exponent - 53)


@inner()
def _add_product_of_differences(
    expansion: NDArray[np.float64], n: int, a: float, b: float, c: float, d: float, sign: float
) -> int:
    """Add ``sign * (a - b) * (c - d)``, without rounding, to an expansion of n terms."""
    high, low = _two_difference(a, b)
    other_high, other_low = _two_difference(c, d)
    for x in (low, high):
        for y in (other_low, other_high):
            product, error = _two_product(x, y)
            n = _grow(expansion, n, sign * error)
            n = _grow(expansion, n, sign * product)
    return n


@inner()
def _grow(expansion: NDArray[np.float64], n: int, x: float) -> int:
    """Add x to an expansion of n terms (increasing, not overlapping, none zero): the new n.

    One more term at most, so a buffer as long as the number of additions never overflows.
    """
    if x == 0.0:
        return n
    kept = 0
    for i in range(n):
        x, error = _two_sum(x, expansion[i])
        if error != 0.0:
            expansion[kept] = error
            kept += 1
    if x != 0.0:
        expansion[kept] = x
        kept += 1
    return kept


@inner()
def _sign(expansion: NDArray[np.float64], n: int) -> float:
    if n == 0:
        return 0.0
    return 1.0 if expansion[n - 1] > 0.0 else -1.0


@inner()
def _times(a: float, a_low: float, b: float, b_low: float) -> tuple[float, float]:
    high, low = _two_product(a, b)
    low += a * b_low + a_low * b
    total = high + low
    return total, low - (total - high)


@inner()
def _plus(a: float, a_low: float, b: float, b_low: float) -> tuple[float, float]:
    high, low = _two_sum(a, b)
    middle, rest = _two_sum(a_low, b_low)
    low += middle
    total = high + low
    low = low - (total - high)
    low += rest
    high = total + low
    return high, low - (high - total)


@inner()
def _two_sum(a: float, b: float) -> tuple[float, float]:
    total = a + b
    b_part = total - a
    return total, (a - (total - b_part)) + (b - b_part)


@inner()
def _two_difference(a: float, b: float) -> tuple[float, float]:
    total = a - b
    b_part = a - total
    return total, (a - (total + b_part)) + (b_part - b)


@inner()
def _two_product(a: float, b: float) -> tuple[float, float]:
    product = a * b
    wide = _SPLITTER * a
    a_high = wide - (wide - a)
    a_low = a - a_high
    wide = _SPLITTER * b
    b_high = wide - (wide - b)
    b_low = b - b_high
    error = a_low * b_low - (((product - a_high * b_high) - a_low * b_high) - a_high * b_low)
    return product, error
