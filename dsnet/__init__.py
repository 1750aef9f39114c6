"""Soft masks for CT lesions, and the networks that learn from them.

``dsnet.labeling`` turns RECIST marks, masks and several raters' masks into soft masks;
``dsnet.data`` reads and writes them. Importing this package loads none of it.
"""

from __future__ import annotations

from importlib import import_module

__version__ = "0.1.0"
__all__ = ["__version__", "build_info"]


def build_info() -> dict:
    """Say what was built.

    Returns
    -------
    dict
        ``version`` (str), ``compiler`` (str), ``cplusplus`` (int, the standard), ``build_type``
        (str), ``cuda`` (bool, whether CUDA code was compiled in), ``sanitizers`` (str) and
        ``pybind11`` (str).

    Raises
    ------
    ImportError
        If the compiled module ``dsnet._C`` is absent.
    """
    return {"version": __version__, **_compiled().build_info()}


def _compiled():
    try:
        return import_module("dsnet._C")
    except ModuleNotFoundError as error:
        if error.name != "dsnet._C":
            raise
        raise ImportError(
            f"the compiled module dsnet._C is not in {__path__[0]}: build it with"
            " `pip install -e .` in the checkout, or start Python outside of the checkout"
        ) from error


def __getattr__(name: str):
    # `from dsnet import _C` comes here first, so that a missing build is told in words.
    if name == "_C":
        return _compiled()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
