"""Fused CBAM, forward: three passes over x and small kernels between them.

Bytes, for x of B bytes: channel pool reads B; spatial pool reads B; apply reads B and writes B
(and reads B of a residual). The maps between them are [N, 2, H, W] and [N, H, W] in float32 and
an int16 index: 14 / (C * itemsize) of B, 11 % at 64 channels in bfloat16. Every pass walks the
batch in the opposite direction to the one before, so that it starts on what still lies in L2.

Names as in `tiles`.
"""

from typing import NamedTuple

import torch

from ..launch import (
    SPARE_REGISTERS,
    ceil_div,
    dense,
    empty_like_shape,
    is_channels_last,
    on_device_of,
    packed,
    power_of_two,
    strides,
    tl,
    triton,
    walk,
    walk_across,
)
from ..launches import Launches
from ..tiles import (
    chunk_of,
    load_tile,
    pixels_of,
    pointers_to,
    prologue_of,
    scaled,
    store_tile,
)
from .gates import channel_gate_kernel, logit_norm_kernel, map_block, spatial_logit_kernel


@triton.jit
def channel_pool_kernel(
    x, scale, shift, part_sum, part_max, part_index,
    C, P, C_BLOCKS, CHUNK, SPLITS, stride_n, stride_c, stride_p,
    PROLOGUE: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_P: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """Sum, maximum and its first index over a chunk of pixels, each [N, SPLITS, C].

    One program a (sample, block of channels, chunk of pixels). Reads x once: B bytes.
    """
    i_n, i_s, start, c, m_c = chunk_of(tl.program_id(0), C, C_BLOCKS, CHUNK, SPLITS, BLOCK_C)
    lane = tl.arange(0, BLOCK_P)
    p_x = pointers_to(x, i_n, start, c, stride_n, stride_c, stride_p)
    b_scale, b_shift = prologue_of(scale, shift, c, m_c, PROLOGUE)
    b_sum = tl.zeros([BLOCK_C, BLOCK_P], tl.float32)
    b_max = tl.full([BLOCK_C, BLOCK_P], float("-inf"), tl.float32)
    b_index = tl.zeros([BLOCK_C, BLOCK_P], tl.int32)
    for p0 in tl.range(start, tl.minimum(start + CHUNK, P), BLOCK_P, num_stages=STAGES):
        p = p0 + lane
        mask = m_c[:, None] & (p < P)[None, :]
        b_x = load_tile(p_x, lane, stride_p, mask)
        b_x = scaled(b_x, mask, b_scale, b_shift, PROLOGUE)
        better = mask & (b_x > b_max)
        b_sum += b_x
        b_max = tl.where(better, b_x, b_max)
        b_index = tl.where(better, p[None, :], b_index)
        p_x += BLOCK_P * stride_p
    b_top = tl.max(b_max, 1)
    b_first = tl.min(tl.where(b_max == b_top[:, None], b_index, 2147483647), 1)
    o_part = (i_n * SPLITS + i_s) * C + c
    tl.store(part_sum + o_part, tl.sum(b_sum, 1), m_c)
    tl.store(part_max + o_part, b_top, m_c)
    tl.store(part_index + o_part, b_first, m_c)


@triton.jit
def spatial_pool_kernel(
    x, scale, shift, gate, maps, top,
    C, P, P_BLOCKS, stride_n, stride_c, stride_p,
    PROLOGUE: tl.constexpr, EVEN: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_P: tl.constexpr,
):  # fmt: skip
    """Maximum, mean and first index of the maximum over channels of x * gate.

    maps is [N, 2, P], maximum then mean; top [N, P]; EVEN: BLOCK_C divides C. One program a
    (sample, block of pixels), from the last to the first. Reads x once: B bytes.
    """
    pid = tl.num_programs(0) - 1 - tl.program_id(0)
    i_n, p, m_p = pixels_of(pid, P, P_BLOCKS, BLOCK_P)
    first = (pid % P_BLOCKS).to(tl.int64) * BLOCK_P
    lane = tl.arange(0, BLOCK_P)
    b_sum = tl.zeros([BLOCK_P], tl.float32)
    b_max = tl.full([BLOCK_P], float("-inf"), tl.float32)
    b_index = tl.zeros([BLOCK_P], tl.int32)
    for c0 in range(0, C, BLOCK_C):
        c = c0 + tl.arange(0, BLOCK_C)
        m_c = c < C
        p_x = pointers_to(x, i_n, first, c, stride_n, stride_c, stride_p)
        b_x = load_tile(p_x, lane, stride_p, m_c[:, None] & m_p[None, :])
        b_scale, b_shift = prologue_of(scale, shift, c, m_c, PROLOGUE)
        if PROLOGUE:
            b_x = b_x * b_scale + b_shift
        b_x *= tl.load(gate + i_n * C + c, m_c, other=0)[:, None]
        b_sum += tl.sum(b_x, 0)
        if not EVEN:
            b_x = tl.where(m_c[:, None], b_x, float("-inf"))
        # A maximum need not carry NaN on: the sum does.
        b_top = tl.max(b_x, 0)
        b_first = tl.min(tl.where(b_x == b_top[None, :], c[:, None], 2147483647), 0)
        b_index = tl.where(b_top > b_max, b_first, b_index)
        b_max = tl.where(b_top > b_max, b_top, b_max)
    b_max = tl.where(b_sum != b_sum, b_sum, b_max)
    tl.store(maps + i_n * 2 * P + p, b_max, m_p)
    tl.store(maps + (i_n * 2 + 1) * P + p, b_sum / C, m_p)
    tl.store(top + i_n * P + p, b_index.to(top.dtype.element_ty), m_p)


@triton.jit
def apply_kernel(
    x, scale, shift, gate, logit, stats, residual, y,
    C, P, C_BLOCKS, CHUNK, SPLITS,
    stride_n, stride_c, stride_p, stride_rn, stride_rc, stride_rp, stride_yn, stride_yc, stride_yp,
    PROLOGUE: tl.constexpr, NORM: tl.constexpr, RESIDUAL: tl.constexpr,
    BLOCK_C: tl.constexpr, BLOCK_P: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """y = x * gate * sigmoid(norm(logit)), then relu(y + residual) where there is one.

    One program a (sample, block of channels, chunk of pixels). Reads B (2 B with a residual),
    writes B.
    """
    i_n, _, start, c, m_c = chunk_of(tl.program_id(0), C, C_BLOCKS, CHUNK, SPLITS, BLOCK_C)
    lane = tl.arange(0, BLOCK_P)
    p_x = pointers_to(x, i_n, start, c, stride_n, stride_c, stride_p)
    p_y = pointers_to(y, i_n, start, c, stride_yn, stride_yc, stride_yp)
    if RESIDUAL:
        p_r = pointers_to(residual, i_n, start, c, stride_rn, stride_rc, stride_rp)
    b_scale, b_shift = prologue_of(scale, shift, c, m_c, PROLOGUE)
    if NORM:
        n_scale = tl.load(stats)
        n_shift = tl.load(stats + 1)
    b_gate = tl.load(gate + i_n * C + c, m_c, other=0)[:, None]
    for p0 in tl.range(start, tl.minimum(start + CHUNK, P), BLOCK_P, num_stages=STAGES):
        p = p0 + lane
        mask = m_c[:, None] & (p < P)[None, :]
        b_x = load_tile(p_x, lane, stride_p, mask)
        b_z = tl.load(logit + i_n * P + p, p < P, other=0)
        if NORM:
            b_z = b_z * n_scale + n_shift
        if PROLOGUE:
            b_x = b_x * b_scale + b_shift
        b_y = b_x * b_gate * tl.sigmoid(b_z)[None, :]
        if RESIDUAL:
            b_y += load_tile(p_r, lane, stride_rp, mask)
            b_y = tl.where(b_y < 0, 0.0, b_y)
            p_r += BLOCK_P * stride_rp
        store_tile(p_y, lane, stride_yp, b_y, mask)
        p_x += BLOCK_P * stride_p
        p_y += BLOCK_P * stride_yp


class CbamSaved(NamedTuple):
    """What the backward needs, all but the index maps in float32.

    pooled [2, N, C] average and maximum; peak_index int32 [N, C] pixel of the maximum; gate
    [N, C]; maps [N, 2, H, W]; top int16 [N, H, W] channel of the maximum; logit
    [N, H, W]; stats [7] of the spatial batch norm, [0] without one.
    """

    pooled: torch.Tensor
    peak_index: torch.Tensor
    gate: torch.Tensor
    maps: torch.Tensor
    top: torch.Tensor
    logit: torch.Tensor
    stats: torch.Tensor


def saved_by_cbam(x: torch.Tensor, norm: bool) -> tuple:
    """Shapes and dtypes of `CbamSaved`."""
    n, c, h, w = x.shape
    single = torch.float32
    return (
        ((2, n, c), single), ((n, c), torch.int32), ((n, c), single), ((n, 2, h, w), single),
        ((n, h, w), torch.int16), ((n, h, w), single), ((7 if norm else 0,), single),
    )  # fmt: skip


def allocate_cbam(x: torch.Tensor, norm: bool) -> tuple[torch.Tensor, CbamSaved]:
    """The output and what is saved, unwritten; fakes and real calls of the operator share it."""
    saved = (
        torch.empty(shape, dtype=dtype, device=x.device) for shape, dtype in saved_by_cbam(x, norm)
    )
    return empty_like_shape(x, is_channels_last(x)), CbamSaved(*saved)


def launch_cbam_forward(
    x, w1, b1, w2, b2, conv_weight, conv_bias, norm_weight, norm_bias, running_mean, running_var,
    batch_stats, eps, residual, scale, shift, momentum=0.0, *, into=None, launches=None,
    update=False,
) -> tuple[torch.Tensor, CbamSaved]:  # fmt: skip
    """Launch the forward kernels; arguments as in `cbam`.

    Parameters
    ----------
    into : pair or None
        What `allocate_cbam` returns.
    launches : Launches or None
        Launches the kernels.
    update : bool
        Write the running statistics; without it their new values are in `CbamSaved.stats` alone.
    """
    launch = launches or Launches()
    has_norm = norm_weight is not None
    channels_last = is_channels_last(x)
    y, saved = into or allocate_cbam(x, has_norm)
    if x.numel() == 0:
        launch.zero(*saved)
        return y, saved
    n, c, h, w = x.shape
    p, r, kernel = h * w, w1.shape[0], conv_weight.shape[-1]
    x = dense(x, channels_last)
    w1, b1, w2, b2, conv_weight, scale, shift = packed(w1, b1, w2, b2, conv_weight, scale, shift)
    at = walk("cbam", channels_last, c, p)
    across = walk_across("cbam", channels_last, c, p)
    block = map_block(p)
    blocks = ceil_div(p, block)
    streams = n * at.c_blocks * at.splits
    tile = {"BLOCK_C": at.block_c, "BLOCK_P": at.block_p, "STAGES": at.stages}
    prologue = scale is not None
    wide = power_of_two(c)
    rows = max(1, 4096 // wide)
    chunks = (n, at.splits, c)
    part_sum, part_max, part_index, part = launch.scratch(
        x, (chunks, torch.float32), (chunks, torch.float32), (chunks, torch.int32),
        ((3, n * blocks), torch.float32),
    )  # fmt: skip
    with on_device_of(x):
        launch(
            channel_pool_kernel, (streams,), x, scale, shift, part_sum, part_max, part_index,
            c, p, at.c_blocks, at.chunk, at.splits, *strides(x, channels_last),
            PROLOGUE=prologue, num_warps=at.warps, **tile,
        )  # fmt: skip
        launch(
            channel_gate_kernel, (n,), part_sum, part_max, part_index, w1, b1, w2, b2,
            saved.pooled, saved.peak_index, saved.gate, c, r, p, n, at.splits,
            HAS_B1=b1 is not None, HAS_B2=b2 is not None,
            BLOCK_S=min(power_of_two(at.splits), rows), BLOCK_R=rows, BLOCK_C=wide, num_warps=8,
            **SPARE_REGISTERS,
        )  # fmt: skip
        launch(
            spatial_pool_kernel, (n * across.p_blocks,), x, scale, shift, saved.gate, saved.maps,
            saved.top, c, p, across.p_blocks, *strides(x, channels_last), PROLOGUE=prologue,
            EVEN=c % across.block_c == 0, BLOCK_C=across.block_c, BLOCK_P=across.block_p,
            num_warps=across.warps, **SPARE_REGISTERS,
        )  # fmt: skip
        launch(
            spatial_logit_kernel, (n * blocks,), saved.maps, conv_weight, conv_bias, saved.logit,
            part, h, w, p, blocks, KERNEL=kernel, HAS_BIAS=conv_bias is not None,
            MOMENTS=has_norm and batch_stats, BLOCK_P=block,
        )  # fmt: skip
        if has_norm:
            blended = batch_stats and running_mean is not None
            launch(
                logit_norm_kernel, (1,), part, running_mean, running_var, norm_weight, norm_bias,
                saved.stats, n * blocks, eps, momentum, BATCH_STATS=batch_stats, BLEND=blended,
                UPDATE=blended and update, BLOCK=1024,
            )  # fmt: skip
        if residual is not None:
            residual = dense(residual, channels_last)
        launch(
            apply_kernel, (streams,), x, scale, shift, saved.gate, saved.logit, saved.stats,
            residual, y, c, p, at.c_blocks, at.chunk, at.splits, *strides(x, channels_last),
            *(strides(residual, channels_last) if residual is not None else (0, 0, 0)),
            *strides(y, channels_last),
            PROLOGUE=prologue, NORM=has_norm, RESIDUAL=residual is not None,
            num_warps=at.warps, **tile,
        )  # fmt: skip
    return y, saved
