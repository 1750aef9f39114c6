"""numba's just-in-time compiler as dsnet uses it. Importing this loads numba."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from numba import njit


def compiled(function: Callable | None = None, **options: Any) -> Callable:
    """Compile on the first call, keep the machine code, release the GIL.

    The code is kept beside the source file or, where that is read-only, in the user's cache
    folder; where neither can be written it is compiled anew in each process.
    """
    if function is None:
        return functools.partial(compiled, **options)
    try:
        return njit(cache=True, nogil=True, **options)(function)
    except RuntimeError:  # numba found no folder for its cache
        return njit(nogil=True, **options)(function)
