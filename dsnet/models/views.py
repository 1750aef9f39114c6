"""The mean of a network's answers to an image and its mirror images.

Public
------
``mean_over_views(answer, image) -> Tensor``
``view(tensor, k)``: one of the symmetries of the square, exactly; ``unview(tensor, k)`` undoes it

A lesion is one whichever way the slice lies. A network learns that from its augmentation and never
quite: the mean of what it says of all eight views of a square (four of an oblong) turns and flips
with the image, to the bit.
"""

from __future__ import annotations

from collections.abc import Callable

import torch


def mean_over_views(
    answer: Callable[[torch.Tensor], torch.Tensor], image: torch.Tensor
) -> torch.Tensor:
    """What `answer` says of the views of an image, turned back and averaged.

    Parameters
    ----------
    answer : callable
        From [N, C, H, W] to soft masks [N, 1, k * H, k * W], each sample for itself: a network in
        evaluation mode.
    image : Tensor [N, C, H, W]
        All channels move alike. Eight views where H and W are equal, else four.

    Returns
    -------
    Tensor [N, 1, k * H, k * W]
    """
    form = (
        torch.channels_last
        if image.is_contiguous(memory_format=torch.channels_last) and not image.is_contiguous()
        else torch.contiguous_format
    )

    def turned_back(k: int) -> torch.Tensor:
        # Dense: a view's strides could have another convolution, with other roundings.
        return unview(answer(view(image, k).clone(memory_format=form)), k)

    def mean(first: int) -> torch.Tensor:
        # Flips exchange the terms of a sum or both sums, and the diagonal does: no order changes.
        one, other = ((0, 3), (1, 2))
        a = turned_back(first + one[0]) + turned_back(first + one[1])
        b = turned_back(first + other[0]) + turned_back(first + other[1])
        return (a + b) / 4

    upright = mean(0)
    return (upright + mean(4)) / 2 if image.shape[2] == image.shape[3] else upright


def view(tensor: torch.Tensor, k: int) -> torch.Tensor:
    """Turn and flip [..., H, W]: bit 0 of `k` flips columns, bit 1 rows, bit 2 exchanges rows and
    columns, in that order."""
    tensor = tensor.flip(_flipped(k)) if k & 3 else tensor
    return tensor.transpose(-1, -2) if k & 4 else tensor


def unview(tensor: torch.Tensor, k: int) -> torch.Tensor:
    """The inverse of `view`."""
    tensor = tensor.transpose(-1, -2) if k & 4 else tensor
    return tensor.flip(_flipped(k)) if k & 3 else tensor


def _flipped(k: int) -> list[int]:
    return [axis for bit, axis in ((1, -1), (2, -2)) if k & bit]
