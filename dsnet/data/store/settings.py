"""What a store's labels depend on: a run that goes on with it must have the same."""

from __future__ import annotations

from typing import Any

# What older stores, which do not tell these settings, were made with.
IMPLIED = {"origin": 0.0}


def require_same(settings: dict[str, Any], stored: dict[str, Any]) -> None:
    """Nothing, where a run's settings are its store's.

    Raises
    ------
    ValueError
        Naming the one that differs.
    """
    for name, value in IMPLIED.items():
        if name in settings or name in stored:
            settings, stored = {name: value, **settings}, {name: value, **stored}
    for name in sorted(settings.keys() | stored.keys()):
        if name not in settings or name not in stored or settings[name] != stored[name]:
            raise ValueError(
                f"setting {name!r} differs from the store's: got"
                f" {settings.get(name, 'none')!r}, the store has {stored.get(name, 'none')!r}"
            )
