"""Values of a trimap: uint8 [H, W]."""

from __future__ import annotations

BACKGROUND = 0
UNKNOWN = 128
FOREGROUND = 255
