"""How the functions of the kernel are compiled, and how a changed one is noticed."""

import functools
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numba import njit

# For functions that only compiled code calls: `@inner()`. Without a door for Python and one for C,
# which would each unpack a dozen arrays, all compiles in two thirds of the time.
inner: Any = functools.partial(njit, nogil=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)


def outer(function: Callable[..., Any]) -> Any:
    """Compile a function that Python calls, or load it from numba's cache.

    Nothing else is cached: whatever is inside would be an older version as easily.
    """
    try:
        return njit(cache=True, nogil=True)(function)
    except RuntimeError:  # numba found no folder to write to: compile in every process
        return njit(nogil=True)(function)


def digest_of_sources() -> str:
    """Return one hash of all files of this package.

    numba's cache notices a change of the file whose function it holds, and of what that function
    closes over, but not of the other files whose functions are compiled into it: without this in
    its closure, the kernel would go on running an old version of an edited predicate.
    """
    sources = sorted(Path(__file__).parent.glob("*.py"))
    return hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()
