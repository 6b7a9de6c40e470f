"""Delaunay triangulation of one planar cloud: scale, sort, drop duplicates, sweep, flip.

Points enter in lexicographic order, so each lies outside the convex hull of those before it and
sees the one before: nothing has to be located. It is joined to the hull edges that it sees, and
the triangles around it are flipped until no circle holds a point (Lawson). All signs are exact, so
every flip is right and the sweep ends on any cloud; a budget of in-circle tests stops it on those
(points of a parabola, in the wrong order) where it would be quadratic.

A mesh is one array, eight places a triangle, so that a triangle is half a cache line: triangle t
has the half-edges h = 8t, 8t+1, 8t+2, counterclockwise; ``mesh[h]`` is the vertex where h starts,
``mesh[h + 4]`` the other half of its edge, `NO_TWIN` on the hull. Place 8t+3 is free for whoever
comes next, 8t+7 stays unused.
"""

import math

import numpy as np
from numpy.typing import NDArray

from stablerank.diagrams.planar.compiling import inner
from stablerank.diagrams.planar.predicates import (
    in_circle,
    in_circle_bound,
    orientation,
    orientation_bound,
)
from stablerank.diagrams.planar.sorting import sort_pairs

NO_TWIN = np.uint32(0xFFFFFFFF)
OVER_BUDGET = -1

_TESTS_PER_POINT = 400  # one orbit in a hundred takes more than 60; GUDHI's answer costs some 4,000
_LARGEST_EXPONENT = 200  # of coordinates after scaling; predicates.py allows 250
_SMALLEST_EXPONENT = -250  # of their lowest bits


@inner()
def scaling_exponent(points: NDArray[np.float64], start: int, stop: int) -> tuple[int, bool]:
    """Find the power of two that keeps the predicates clear of overflow and underflow.

    Returns
    -------
    exponent : int
        Coordinates are to be multiplied by ``2**exponent``; 0 wherever possible.
    possible : bool
        False if the coordinates span too many orders of magnitude (about 120) for any factor, or
        distances may be beyond the largest float.
    """
    largest, smallest = 0.0, np.inf
    for i in range(start, stop):
        for k in range(2):
            size = abs(points[i, k])
            largest = max(largest, size)
            if 0.0 < size < smallest:
                smallest = size
    if largest == 0.0:
        return 0, True
    top = math.frexp(largest)[1]
    bottom = max(math.frexp(smallest)[1] - 53, -1074)
    exponent = 0
    if top > _LARGEST_EXPONENT or bottom < _SMALLEST_EXPONENT:
        exponent = _LARGEST_EXPONENT - top
    return exponent, bottom + exponent >= _SMALLEST_EXPONENT and top <= 1020


@inner()
def sort_points(
    points: NDArray[np.float64],
    start: int,
    stop: int,
    axis: int,
    exponent: int,
    xs: NDArray[np.float64],
    ys: NDArray[np.float64],
    index: NDArray[np.uint32],
    keys: NDArray[np.float64],
    tags: NDArray[np.uint32],
    slots: NDArray[np.uint32],
    counts: NDArray[np.uint32],
) -> int:
    """Write the distinct points of a cloud in lexicographic order; return how many there are.

    ``xs`` holds coordinate `axis`, which comes first in the order, ``ys`` the other, both times
    ``2**exponent``; ``index`` tells where each point was in the cloud, the first of its duplicates.
    """
    n = stop - start
    for i in range(n):
        keys[i] = points[start + i, axis]
        tags[i] = i
    sort_pairs(keys, tags, n, xs, index, slots, counts, False)
    for i in range(n):
        ys[i] = points[start + np.int64(index[i]), 1 - axis]
    first = 0
    while first < n:
        last = first + 1
        while last < n and xs[last] == xs[first]:
            last += 1
        if last - first > 1:
            for i in range(first, last):
                keys[i - first] = ys[i]
                tags[i - first] = index[i]
            sort_pairs(keys, tags, last - first, ys[first:], index[first:], slots, counts, False)
        first = last
    distinct = 0
    for i in range(n):
        if i == 0 or xs[i] != xs[distinct - 1] or ys[i] != ys[distinct - 1]:
            xs[distinct] = xs[i]
            ys[distinct] = ys[i]
            index[distinct] = index[i]
            distinct += 1
    if exponent != 0:
        for i in range(distinct):
            xs[i] = math.ldexp(xs[i], exponent)
            ys[i] = math.ldexp(ys[i], exponent)
    return distinct


@inner()
def sweep(
    xs: NDArray[np.float64],
    ys: NDArray[np.float64],
    n: int,
    mesh: NDArray[np.uint32],
    after: NDArray[np.uint32],
    before: NDArray[np.uint32],
    hull: NDArray[np.uint32],
) -> int:
    """Triangulate n distinct points in lexicographic order.

    Parameters
    ----------
    xs, ys : ndarray of shape (>= n,), float64
        Coordinates as `sort_points` leaves them.
    mesh : ndarray of shape (>= 16 n,), uint32
        Written.
    after, before, hull : ndarray of shape (>= n,), uint32
        Room for the hull: the neighbours of a hull vertex, counterclockwise and clockwise, and the
        half-edge that leaves it along the hull.

    Returns
    -------
    int
        How many triangles there are; 0 if all points are on a line, `OVER_BUDGET` if the budget of
        in-circle tests ran out.
    """
    entered = 2
    turn = 0.0
    while entered < n:
        turn = orientation(
            xs[entered - 2],
            ys[entered - 2],
            xs[entered - 1],
            ys[entered - 1],
            xs[entered],
            ys[entered],
        )
        if turn != 0.0:
            break
        entered += 1
    if turn == 0.0:
        return 0
    n_triangles = _fan(entered, turn > 0.0, mesh, after, before, hull)

    lowest, highest = ys[0], ys[0]
    for i in range(1, n):
        lowest, highest = min(lowest, ys[i]), max(highest, ys[i])
    clear_turn = orientation_bound(xs[n - 1] - xs[0], highest - lowest)
    clear_circle = in_circle_bound(xs[n - 1] - xs[0], highest - lowest)
    tests = _TESTS_PER_POINT * n
    capacity = 2 * n
    for p in range(entered + 1, n):
        px, py = xs[p], ys[p]
        # Clockwise from the newest hull vertex to the last one that p sees.
        low = np.int64(p - 1)
        while True:
            tests -= 1
            if tests < 0:
                return OVER_BUDGET
            w = np.int64(before[low])
            det = (xs[w] - px) * (ys[low] - py) - (ys[w] - py) * (xs[low] - px)
            if det > clear_turn:
                break
            if det >= -clear_turn and orientation(xs[w], ys[w], xs[low], ys[low], px, py) >= 0.0:
                break
            low = w
        # Counterclockwise from there, a triangle for each hull edge that p sees.
        first = 8 * n_triangles
        high = low
        passed = low == p - 1
        while True:
            v = np.int64(after[high])
            if passed:
                det = (xs[high] - px) * (ys[v] - py) - (ys[high] - py) * (xs[v] - px)
                if det > clear_turn or (
                    det >= -clear_turn
                    and orientation(xs[high], ys[high], xs[v], ys[v], px, py) >= 0.0
                ):
                    break
            elif v == p - 1:
                passed = True
            if n_triangles >= capacity:
                return OVER_BUDGET  # unreachable while signs are exact: no write out of bounds
            h = 8 * n_triangles
            below = hull[high]
            mesh[h] = p
            mesh[h + 1] = v
            mesh[h + 2] = high
            mesh[h + 4] = NO_TWIN
            mesh[h + 5] = below
            mesh[np.int64(below) + 4] = h + 1
            if h == first:
                mesh[h + 6] = NO_TWIN
            else:
                mesh[h + 6] = h - 8
                mesh[h - 4] = h + 2
            n_triangles += 1
            high = v
        if first == 8 * n_triangles:
            return OVER_BUDGET  # unreachable as well: the newest hull vertex is always in sight
        hull[low] = first + 2
        hull[p] = 8 * n_triangles - 8
        after[low] = p
        before[p] = low
        after[p] = high
        before[high] = p

        # Around p, counterclockwise: flip the far edge (v to u) of its triangle (p, v, u) while
        # the point beyond is in its circle. A flip keeps p at the first place of both triangles.
        t = np.int64(first)
        v, u = np.int64(mesh[t + 1]), np.int64(mesh[t + 2])
        ux, uy = xs[u] - px, ys[u] - py
        vx, vy = xs[v] - px, ys[v] - py
        u_lift, v_lift = ux * ux + uy * uy, vx * vx + vy * vy
        while True:
            beyond = mesh[t + 5]
            if beyond != NO_TWIN:
                tests -= 1
                if tests < 0:
                    return OVER_BUDGET
                b = np.int64(beyond)
                corner = b & 3
                b_next = b - 2 if corner == 2 else b + 1
                b_last = b + 2 if corner == 0 else b - 1
                w = np.int64(mesh[b_last])
                wx, wy = xs[w] - px, ys[w] - py
                w_lift = wx * wx + wy * wy
                det = (
                    u_lift * (vx * wy - wx * vy)
                    + v_lift * (wx * uy - ux * wy)
                    + w_lift * (ux * vy - vx * uy)
                )
                if det > clear_circle or (
                    det >= -clear_circle
                    and in_circle(xs[u], ys[u], xs[v], ys[v], xs[w], ys[w], px, py) > 0.0
                ):
                    s = b - corner
                    outer, far, near = mesh[t + 4], mesh[b_next + 4], mesh[b_last + 4]
                    # (p, v, u) and (u, v, w) become (p, w, u) and (p, v, w).
                    mesh[t + 1] = w
                    mesh[s] = p
                    mesh[s + 1] = v
                    mesh[s + 2] = w
                    mesh[t + 4] = s + 2
                    mesh[s + 6] = t
                    mesh[t + 5] = near
                    mesh[s + 4] = outer
                    mesh[s + 5] = far
                    if near == NO_TWIN:
                        hull[w] = t + 1
                    else:
                        mesh[np.int64(near) + 4] = t + 1
                    if outer == NO_TWIN:
                        hull[p] = s
                    else:
                        mesh[np.int64(outer) + 4] = s
                    if far == NO_TWIN:
                        hull[v] = s + 1
                    else:
                        mesh[np.int64(far) + 4] = s + 1
                    v, vx, vy, v_lift = w, wx, wy, w_lift
                    continue
            following = mesh[t + 4]
            if following == NO_TWIN:
                break
            t = np.int64(following) - 2
            u, ux, uy, u_lift = v, vx, vy, v_lift
            v = np.int64(mesh[t + 1])
            vx, vy = xs[v] - px, ys[v] - py
            v_lift = vx * vx + vy * vy
    return n_triangles


@inner()
def _fan(
    p: int,
    left: bool,
    mesh: NDArray[np.uint32],
    after: NDArray[np.uint32],
    before: NDArray[np.uint32],
    hull: NDArray[np.uint32],
) -> int:
    """Join point p to the points 0 .. p-1 of a line, which it is on the left or right side of."""
    for i in range(p - 1):
        h = 8 * i
        mesh[h] = p
        # Counterclockwise: from the line's edge, run through forwards or backwards, to p.
        mesh[h + 1] = i if left else i + 1
        mesh[h + 2] = i + 1 if left else i
        mesh[h + 5] = NO_TWIN
        # Edge p to i + 1 (or i) is shared with the triangle above (or below) on the line.
        ahead, behind = (h + 2, h) if left else (h, h + 2)
        if i + 2 < p:
            mesh[ahead + 4] = h + 8 if left else h + 10
            mesh[h + 12 if left else h + 14] = ahead
        else:
            mesh[ahead + 4] = NO_TWIN
        if i == 0:
            mesh[behind + 4] = NO_TWIN
        hull[i if left else i + 1] = h + 1
    if left:
        for i in range(p + 1):
            after[i] = 0 if i == p else i + 1
            before[i] = p if i == 0 else i - 1
        hull[p - 1] = 8 * (p - 2) + 2
        hull[p] = 0
    else:
        for i in range(p + 1):
            after[i] = p if i == 0 else i - 1
            before[i] = 0 if i == p else i + 1
        hull[0] = 2
        hull[p] = 8 * (p - 2)
    return p - 1
