"""Values of a trimap: uint8 [H, W]."""

BACKGROUND = 0
UNKNOWN = 128
FOREGROUND = 255
