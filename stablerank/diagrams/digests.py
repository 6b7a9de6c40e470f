"""What a diagram was computed from, in 32 bytes: digests of inputs and of filtrations."""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections.abc import Mapping
from typing import Any

import joblib
import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

_PACKAGES = ("stablerank", "gudhi", "numba", "numpy")


def array_digest(*arrays: NDArray[Any]) -> bytes:
    """SHA-256 of arrays: of their types, shapes and bytes.

    Parameters
    ----------
    *arrays : ndarray
        Of numbers or text.

    Returns
    -------
    bytes
        32 of them. 0.0 and −0.0 differ, as all that differs in a bit.

    Examples
    --------
    >>> array_digest(np.zeros(2)) == array_digest(np.zeros((2, 1)))
    False
    """
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype.str} {array.shape} ".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.digest()


def filtration_digest(filtration: Any) -> str:
    """SHA-256 of all that a filtration's diagrams depend on besides its input.

    Parameters
    ----------
    filtration : Filtration
        Fitted. Of a :class:`~stablerank.diagrams.CachedPersistence` that which it caches.

    Returns
    -------
    str
        64 hexadecimal digits, of: class, parameters (without ``n_jobs``), what was fitted, and the
        versions that compute. With a new version of any of these nothing old is taken for new.

    Raises
    ------
    NotFittedError
        If it is not fitted.
    """
    filtration = getattr(filtration, "filtration_", filtration)
    check_is_fitted(filtration, "dimension_")
    parameters = {k: v for k, v in filtration.get_params(deep=False).items() if k != "n_jobs"}
    parameters["homology_dimensions"] = sorted(int(k) for k in filtration.homology_dimensions)
    fitted = {name: value for name, value in vars(filtration).items() if name.endswith("_")}
    kind = type(filtration)
    described = {
        "kind": f"{kind.__module__}.{kind.__qualname__}",
        "parameters": parameters,
        "fitted": fitted,
        "versions": dict(versions()),
    }
    # joblib tells arrays and objects apart by all of their content, which repr does not
    return hashlib.sha256(joblib.hash(described, "sha1").encode()).hexdigest()


def versions() -> Mapping[str, str]:
    """Of the packages on which the bits of a diagram depend."""
    return {name: importlib.metadata.version(name) for name in _PACKAGES}
