"""Fused selective fusion, forward: a pass that pools, small kernels, a pass that mixes.

Bytes, for u and v of B bytes each: pool reads 2 B; mix reads 2 B and writes B. The mix walks the
batch in the opposite direction, so that it starts on what still lies in L2: there device memory
sees towards 2 B read and B written. Between them is only what has [N, C] and [N, D] numbers,
done in two launches (three with a batch norm, which couples the batch); the same in PyTorch's
operators would be eight to twelve.

Names as in `tiles`; u, v and out have strides of their own each.
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
)
from ..launches import Launches
from ..tiles import chunk_of, load_tile, pointers_to, prologue_of, store_tile
from .gate import fusion_gate_kernel, fusion_hidden_kernel, fusion_norm_kernel


@triton.jit
def folded(p_x, lane, stride_p, mask, b_scale, b_shift, slope, PROLOGUE: tl.constexpr):
    """A block of a branch: leaky_relu(x * scale + shift) with a prologue, 0 outside."""
    b_x = load_tile(p_x, lane, stride_p, mask)
    if PROLOGUE:
        b_x = b_x * b_scale + b_shift
        b_x = tl.where(mask, tl.where(b_x > 0, b_x, b_x * slope), 0.0)
    return b_x


@triton.jit
def fusion_pool_kernel(
    u, v, u_scale, u_shift, v_scale, v_shift, part, slope,
    C, P, C_BLOCKS, CHUNK, SPLITS, stride_un, stride_uc, stride_up, stride_vn, stride_vc, stride_vp,
    FOLD_U: tl.constexpr, FOLD_V: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_P: tl.constexpr,
    STAGES: tl.constexpr,
):  # fmt: skip
    """Sums of u + v over a chunk of pixels, part [N, SPLITS, C].

    One program a (sample, block of channels, chunk of pixels). Reads u and v once: 2 B.
    """
    i_n, i_s, start, c, m_c = chunk_of(tl.program_id(0), C, C_BLOCKS, CHUNK, SPLITS, BLOCK_C)
    lane = tl.arange(0, BLOCK_P)
    p_u = pointers_to(u, i_n, start, c, stride_un, stride_uc, stride_up)
    p_v = pointers_to(v, i_n, start, c, stride_vn, stride_vc, stride_vp)
    u_a, u_b = prologue_of(u_scale, u_shift, c, m_c, FOLD_U)
    v_a, v_b = prologue_of(v_scale, v_shift, c, m_c, FOLD_V)
    acc = tl.zeros([BLOCK_C, BLOCK_P], tl.float32)
    for p0 in tl.range(start, tl.minimum(start + CHUNK, P), BLOCK_P, num_stages=STAGES):
        mask = m_c[:, None] & (p0 + lane < P)[None, :]
        b_u = folded(p_u, lane, stride_up, mask, u_a, u_b, slope, FOLD_U)
        b_v = folded(p_v, lane, stride_vp, mask, v_a, v_b, slope, FOLD_V)
        acc += b_u + b_v
        p_u += BLOCK_P * stride_up
        p_v += BLOCK_P * stride_vp
    tl.store(part + (i_n * SPLITS + i_s) * C + c, tl.sum(acc, 1), m_c)


@triton.jit
def fusion_mix_kernel(
    u, v, u_scale, u_shift, v_scale, v_shift, gate, out, slope,
    C, P, C_BLOCKS, CHUNK, SPLITS, stride_un, stride_uc, stride_up, stride_vn, stride_vc, stride_vp,
    stride_on, stride_oc, stride_op,
    FOLD_U: tl.constexpr, FOLD_V: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_P: tl.constexpr,
    STAGES: tl.constexpr,
):  # fmt: skip
    """out = gate * u + (1 - gate) * v.

    One program a (sample, block of channels, chunk of pixels), from the last to the first. Reads
    2 B, writes B.
    """
    pid = tl.num_programs(0) - 1 - tl.program_id(0)
    i_n, _, start, c, m_c = chunk_of(pid, C, C_BLOCKS, CHUNK, SPLITS, BLOCK_C)
    lane = tl.arange(0, BLOCK_P)
    p_u = pointers_to(u, i_n, start, c, stride_un, stride_uc, stride_up)
    p_v = pointers_to(v, i_n, start, c, stride_vn, stride_vc, stride_vp)
    p_o = pointers_to(out, i_n, start, c, stride_on, stride_oc, stride_op)
    u_a, u_b = prologue_of(u_scale, u_shift, c, m_c, FOLD_U)
    v_a, v_b = prologue_of(v_scale, v_shift, c, m_c, FOLD_V)
    b_gate = tl.load(gate + i_n * C + c, m_c, other=0)[:, None]
    for p0 in tl.range(start, tl.minimum(start + CHUNK, P), BLOCK_P, num_stages=STAGES):
        mask = m_c[:, None] & (p0 + lane < P)[None, :]
        b_u = folded(p_u, lane, stride_up, mask, u_a, u_b, slope, FOLD_U)
        b_v = folded(p_v, lane, stride_vp, mask, v_a, v_b, slope, FOLD_V)
        b_out = b_gate * b_u + (1 - b_gate) * b_v
        store_tile(p_o, lane, stride_op, b_out, mask)
        p_u += BLOCK_P * stride_up
        p_v += BLOCK_P * stride_vp
        p_o += BLOCK_P * stride_op


class FusionSaved(NamedTuple):
    """What the backward needs, in float32.

    pooled [N, C]; hidden [N, D] before its norm; gate [N, C]; stats [5, D] of the norm, [0, D]
    without one.
    """

    pooled: torch.Tensor
    hidden: torch.Tensor
    gate: torch.Tensor
    stats: torch.Tensor


def saved_by_fusion(u: torch.Tensor, fc_weight: torch.Tensor, norm: bool) -> tuple:
    """Shapes and dtypes of `FusionSaved`."""
    n, c, d = u.shape[0], u.shape[1], fc_weight.shape[0]
    sizes = (n, c), (n, d), (n, c), (5 if norm else 0, d)
    return tuple((size, torch.float32) for size in sizes)


def allocate_fusion(u, fc_weight, norm: bool) -> tuple[torch.Tensor, FusionSaved]:
    """The output and what is saved, unwritten; fakes and real calls of the operator share it."""
    saved = (
        torch.empty(shape, dtype=dtype, device=u.device)
        for shape, dtype in saved_by_fusion(u, fc_weight, norm)
    )
    return empty_like_shape(u, is_channels_last(u)), FusionSaved(*saved)


def launch_fusion_forward(
    u, v, fc_weight, fc_bias, a_weight, a_bias, b_weight, b_bias, norm_weight, norm_bias,
    running_mean, running_var, batch_stats, eps, u_scale, u_shift, v_scale, v_shift, slope,
    momentum=0.0, *, into=None, launches=None, update=False,
) -> tuple[torch.Tensor, FusionSaved]:  # fmt: skip
    """Launch the forward kernels; arguments as in `selective_fusion`.

    Parameters
    ----------
    into : pair or None
        What `allocate_fusion` returns.
    launches : Launches or None
        Launches the kernels.
    update : bool
        Write the running statistics; without it their new values are in `FusionSaved.stats` alone.
    """
    launch = launches or Launches()
    channels_last = is_channels_last(u)
    has_norm = norm_weight is not None
    out, saved = into or allocate_fusion(u, fc_weight, has_norm)
    if u.numel() == 0:
        launch.zero(*saved)
        return out, saved
    n, c, h, w = u.shape
    p, d = h * w, fc_weight.shape[0]
    u, v = dense(u, channels_last), dense(v, channels_last)
    fc_weight, fc_bias, a_weight, a_bias, b_weight, b_bias = packed(
        fc_weight, fc_bias, a_weight, a_bias, b_weight, b_bias
    )
    norm_weight, norm_bias, running_mean, running_var = packed(
        norm_weight, norm_bias, running_mean, running_var
    )
    prologue = packed(u_scale, u_shift, v_scale, v_shift)
    at = walk("selective_fusion", channels_last, c, p)
    (part,) = launch.scratch(u, ((n, at.splits, c), torch.float32))
    options = {
        "FOLD_U": u_scale is not None, "FOLD_V": v_scale is not None, "BLOCK_C": at.block_c,
        "BLOCK_P": at.block_p, "STAGES": at.stages, "num_warps": at.warps,
    }  # fmt: skip
    walked = (c, p, at.c_blocks, at.chunk, at.splits)
    branches = (*strides(u, channels_last), *strides(v, channels_last))
    wide = power_of_two(c)
    rows = max(1, 4096 // wide)
    block_d = min(power_of_two(d), rows)
    streams = n * at.c_blocks * at.splits
    with on_device_of(u):
        launch(
            fusion_pool_kernel, (streams,), u, v, *prologue, part, slope, *walked, *branches,
            **options,
        )  # fmt: skip
        launch(
            fusion_hidden_kernel, (n,), part, fc_weight, fc_bias, saved.pooled, saved.hidden, c, d,
            p, at.splits, HAS_BIAS=fc_bias is not None,
            BLOCK_S=min(power_of_two(at.splits), rows), BLOCK_D=block_d, BLOCK_C=wide, num_warps=8,
        )  # fmt: skip
        if has_norm:
            blended = batch_stats and running_mean is not None
            launch(
                fusion_norm_kernel, (ceil_div(d, 32),), saved.hidden, running_mean, running_var,
                saved.stats, n, d, eps, momentum, BATCH_STATS=batch_stats, BLEND=blended,
                UPDATE=blended and update, BLOCK_N=16, BLOCK_D=32,
            )  # fmt: skip
        launch(
            fusion_gate_kernel, (n,), saved.hidden, saved.stats, norm_weight, norm_bias, a_weight,
            a_bias, b_weight, b_bias, saved.gate, c, d, NORM=has_norm, HAS_A=a_bias is not None,
            HAS_B=b_bias is not None, BLOCK_D=block_d, BLOCK_C=wide, num_warps=8,
            **SPARE_REGISTERS,
        )  # fmt: skip
        launch(
            fusion_mix_kernel, (streams,), u, v, *prologue, saved.gate, out, slope, *walked,
            *branches, *strides(out, channels_last), **options,
        )  # fmt: skip
    return out, saved
