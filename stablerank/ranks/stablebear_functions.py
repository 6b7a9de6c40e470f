"""Stable ranks and step functions as the piecewise-constant functions of stablebear, and back."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np

from stablerank.ranks.function import StableRankFunction
from stablerank.ranks.jumps import check_jumps
from stablerank.ranks.step_function import StepFunction


def to_stablebear(functions: Any) -> Any:
    """Functions as those of stablebear, in float64.

    Parameters
    ----------
    functions : StableRankFunction or StepFunction, a sequence of them, or array-like
        An array, of shape (n_ranks, n_jumps), has jump points, as
        :func:`~stablerank.ranks.rank_jumps` gives them.

    Returns
    -------
    stablebear.Pcf or stablebear.PcfTensor of shape (n_functions,)
        A function for one, a tensor for many. No bit of a jump or a value changes.

    Raises
    ------
    ImportError
        If stablebear is not installed.
    ValueError, TypeError
        For anything else than such functions; the message names which.

    Examples
    --------
    Where the package is installed, ``to_stablebear(StableRankFunction([5, 3])).to_numpy()`` has the
    rows (0, 2), (3, 1), (5, 0).
    """
    library = _stablebear()
    if isinstance(functions, (StableRankFunction, StepFunction)):
        return _to_pcf(library, functions)
    kinds = (StableRankFunction, StepFunction)
    if not len(functions) or not all(isinstance(own, kinds) for own in functions):
        functions = [StableRankFunction(row) for row in check_jumps(functions, "functions")]
    return library.PcfTensor([_to_pcf(library, own) for own in functions])


def from_stablebear(functions: Any) -> Any:
    """Functions of stablebear as step functions.

    Parameters
    ----------
    functions : stablebear.Pcf, or stablebear.PcfTensor or IntPcfTensor of shape (n_functions,)
        Of any precision.

    Returns
    -------
    StepFunction or list of StepFunction
        A function for one, a list for a tensor. Where it is a stable rank,
        :meth:`StableRankFunction.from_steps` makes it one.

    Raises
    ------
    ImportError
        If stablebear is not installed.
    TypeError
        For anything else.
    ValueError
        For a tensor of another shape, or values that are infinite or NaN.

    Examples
    --------
    Where the package is installed, ``from_stablebear(stablebear.mean(tensor))`` is
    ``[mean_rank(ranks)]`` for ``tensor = to_stablebear(ranks)``, up to rounding.
    """
    library = _stablebear()
    if isinstance(functions, library.Pcf):
        return _from_pcf(functions)
    if not isinstance(functions, (library.PcfTensor, library.IntPcfTensor)):
        raise TypeError(
            f"functions is a {type(functions).__name__}: expected a stablebear.Pcf or PcfTensor."
        )
    if len(functions.shape) != 1:
        raise ValueError(
            f"functions has shape {tuple(functions.shape)}: expected one axis. Flatten it first."
        )
    return [_from_pcf(functions[i]) for i in range(len(functions))]


def _stablebear() -> Any:
    try:
        return import_module("stablebear")
    except ImportError as error:
        raise ImportError(
            "Functions of stablebear need that package: pip install stablebear."
        ) from error


def _to_pcf(library: Any, function: StableRankFunction | StepFunction) -> Any:
    steps = function.to_steps() if isinstance(function, StableRankFunction) else function
    return library.Pcf(np.column_stack([steps.starts, steps.values]))


def _from_pcf(function: Any) -> StepFunction:
    rows = np.asarray(function.to_numpy(), dtype=np.float64)
    # it may hold several rows of one time, of which the last counts
    last = np.append(np.diff(rows[:, 0]) > 0, True)
    return StepFunction(rows[last, 0], rows[last, 1])
