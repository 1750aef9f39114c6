"""Fused selective fusion, backward: a pass for the gate, small kernels, a pass for the branches.

Bytes, for u and v of B bytes each: gate gradient reads dout, u and v: 3 B; branch gradient reads
dout (and u and v where a prologue needs them) and writes du and dv: 3 B, 5 B with both
prologues. The second pass walks the batch in the opposite direction. No gradient is added up
with atomics: partial sums are summed once, in a fixed order.

With u' and v' behind their prologues, gate = sigmoid(l), out = gate u' + (1 - gate) v':

    dgate = sum_p dout (u' - v')         dl = gate (1 - gate) dgate, for a's logit; -dl for b's
    dpool = fc'(norm'(relu'(a' dl - b' dl)))
    du'   = gate dout + dpool / P        dv' = (1 - gate) dout + dpool / P
    du    = scale leaky'(t) du' with t = u * scale + shift, and likewise dv
"""

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
from ..tiles import (
    chunk_of,
    load_tile,
    pointers_to,
    prologue_join_kernel,
    prologue_of,
    store_tile,
)
from .forward import FusionSaved, folded
from .gate import (
    fusion_hidden_gradient_kernel,
    fusion_norm_gradient_kernel,
    fusion_pooled_gradient_kernel,
    fusion_weight_gradient_kernel,
)


@triton.jit
def fusion_gate_gradient_kernel(
    dout, u, v, u_scale, u_shift, v_scale, v_shift, part, slope,
    C, P, C_BLOCKS, CHUNK, SPLITS, stride_un, stride_uc, stride_up, stride_vn, stride_vc, stride_vp,
    stride_gn, stride_gc, stride_gp,
    FOLD_U: tl.constexpr, FOLD_V: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_P: tl.constexpr,
    STAGES: tl.constexpr,
):  # fmt: skip
    """Sums of dout * (u - v) over a chunk of pixels, part [N, SPLITS, C].

    One program a (sample, block of channels, chunk of pixels). Reads dout, u and v: 3 B.
    """
    i_n, i_s, start, c, m_c = chunk_of(tl.program_id(0), C, C_BLOCKS, CHUNK, SPLITS, BLOCK_C)
    lane = tl.arange(0, BLOCK_P)
    p_u = pointers_to(u, i_n, start, c, stride_un, stride_uc, stride_up)
    p_v = pointers_to(v, i_n, start, c, stride_vn, stride_vc, stride_vp)
    p_g = pointers_to(dout, i_n, start, c, stride_gn, stride_gc, stride_gp)
    u_a, u_b = prologue_of(u_scale, u_shift, c, m_c, FOLD_U)
    v_a, v_b = prologue_of(v_scale, v_shift, c, m_c, FOLD_V)
    acc = tl.zeros([BLOCK_C, BLOCK_P], tl.float32)
    for p0 in tl.range(start, tl.minimum(start + CHUNK, P), BLOCK_P, num_stages=STAGES):
        mask = m_c[:, None] & (p0 + lane < P)[None, :]
        b_g = load_tile(p_g, lane, stride_gp, mask)
        b_u = folded(p_u, lane, stride_up, mask, u_a, u_b, slope, FOLD_U)
        b_v = folded(p_v, lane, stride_vp, mask, v_a, v_b, slope, FOLD_V)
        acc += b_g * b_u - b_g * b_v
        p_u += BLOCK_P * stride_up
        p_v += BLOCK_P * stride_vp
        p_g += BLOCK_P * stride_gp
    tl.store(part + (i_n * SPLITS + i_s) * C + c, tl.sum(acc, 1), m_c)


@triton.jit
def through_prologue(b_d, p_x, lane, stride_p, mask, b_scale, b_shift, slope):
    """Gradients of a block of x, and of its scale and shift before they are summed over pixels."""
    b_x = load_tile(p_x, lane, stride_p, mask)
    b_d = tl.where(b_x * b_scale + b_shift > 0, b_d, b_d * slope)
    b_d = tl.where(mask, b_d, 0.0)
    return b_d * b_scale, b_d * b_x, b_d


@triton.jit
def fusion_branch_gradient_kernel(
    dout, u, v, u_scale, u_shift, v_scale, v_shift, gate, dpooled, du, dv, part, slope,
    C, P, C_BLOCKS, CHUNK, SPLITS, stride_un, stride_uc, stride_up, stride_vn, stride_vc, stride_vp,
    stride_gn, stride_gc, stride_gp, stride_dun, stride_duc, stride_dup,
    stride_dvn, stride_dvc, stride_dvp,
    FOLD_U: tl.constexpr, FOLD_V: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_P: tl.constexpr,
    STAGES: tl.constexpr,
):  # fmt: skip
    """du and dv; part [4, N, SPLITS, C] has sums for u's scale and shift, then v's.

    One program a (sample, block of channels, chunk of pixels), from the last to the first. Reads
    dout, and of u and v what has a prologue; writes du and dv: 3 B to 5 B.
    """
    pid = tl.num_programs(0) - 1 - tl.program_id(0)
    i_n, i_s, start, c, m_c = chunk_of(pid, C, C_BLOCKS, CHUNK, SPLITS, BLOCK_C)
    lane = tl.arange(0, BLOCK_P)
    p_u = pointers_to(u, i_n, start, c, stride_un, stride_uc, stride_up)
    p_v = pointers_to(v, i_n, start, c, stride_vn, stride_vc, stride_vp)
    p_g = pointers_to(dout, i_n, start, c, stride_gn, stride_gc, stride_gp)
    p_du = pointers_to(du, i_n, start, c, stride_dun, stride_duc, stride_dup)
    p_dv = pointers_to(dv, i_n, start, c, stride_dvn, stride_dvc, stride_dvp)
    b_gate = tl.load(gate + i_n * C + c, m_c, other=0)[:, None]
    b_pool = tl.load(dpooled + i_n * C + c, m_c, other=0)[:, None]
    u_a, u_b = prologue_of(u_scale, u_shift, c, m_c, FOLD_U)
    v_a, v_b = prologue_of(v_scale, v_shift, c, m_c, FOLD_V)
    du_scale = tl.zeros([BLOCK_C, BLOCK_P], tl.float32)
    du_shift = tl.zeros([BLOCK_C, BLOCK_P], tl.float32)
    dv_scale = tl.zeros([BLOCK_C, BLOCK_P], tl.float32)
    dv_shift = tl.zeros([BLOCK_C, BLOCK_P], tl.float32)
    for p0 in tl.range(start, tl.minimum(start + CHUNK, P), BLOCK_P, num_stages=STAGES):
        mask = m_c[:, None] & (p0 + lane < P)[None, :]
        b_g = load_tile(p_g, lane, stride_gp, mask)
        b_du = b_g * b_gate + b_pool
        if FOLD_U:
            b_du, b_scale, b_shift = through_prologue(
                b_du, p_u, lane, stride_up, mask, u_a, u_b, slope
            )
            du_scale += b_scale
            du_shift += b_shift
            p_u += BLOCK_P * stride_up
        store_tile(p_du, lane, stride_dup, b_du, mask)
        b_dv = b_g * (1 - b_gate) + b_pool
        if FOLD_V:
            b_dv, b_scale, b_shift = through_prologue(
                b_dv, p_v, lane, stride_vp, mask, v_a, v_b, slope
            )
            dv_scale += b_scale
            dv_shift += b_shift
            p_v += BLOCK_P * stride_vp
        store_tile(p_dv, lane, stride_dvp, b_dv, mask)
        p_g += BLOCK_P * stride_gp
        p_du += BLOCK_P * stride_dup
        p_dv += BLOCK_P * stride_dvp
    if FOLD_U or FOLD_V:
        p_part = part + (i_n * SPLITS + i_s) * C + c
        size = (tl.num_programs(0) // C_BLOCKS).to(tl.int64) * C
        tl.store(p_part, tl.sum(du_scale, 1), m_c)
        tl.store(p_part + size, tl.sum(du_shift, 1), m_c)
        tl.store(p_part + 2 * size, tl.sum(dv_scale, 1), m_c)
        tl.store(p_part + 3 * size, tl.sum(dv_shift, 1), m_c)


def allocate_fusion_gradients(u, v, fc_weight, norm: bool, prologue: bool) -> tuple:
    """What `launch_fusion_backward` returns, unwritten; fakes and real calls share it."""

    def empty(*sizes):
        return torch.empty(sizes, dtype=torch.float32, device=u.device)

    channels_last = is_channels_last(u)
    d, c = fc_weight.shape
    return (
        empty_like_shape(u, channels_last), empty_like_shape(u, channels_last, v.dtype),
        empty(4 if prologue else 0, c), empty(d, c), empty(d), empty(c, d), empty(c), empty(c, d),
        empty(c), empty(d if norm else 0), empty(d if norm else 0),
    )  # fmt: skip


def launch_fusion_backward(
    dout, u, v, saved: FusionSaved, fc_weight, a_weight, b_weight, norm_weight, norm_bias,
    batch_stats, u_scale, u_shift, v_scale, v_shift, slope, *, into=None, launches=None,
) -> tuple[torch.Tensor, ...]:  # fmt: skip
    """Launch the backward kernels.

    Returns du, dv, the four gradients [4, C] of the prologues (0 of one that is absent, [0, C]
    without any) and float32 gradients of fc_weight, fc_bias, a_weight, a_bias, b_weight, b_bias,
    norm_weight, norm_bias (empty without a norm). `into` and `launches` as in
    `launch_fusion_forward`.
    """
    launch = launches or Launches()
    channels_last = is_channels_last(u)
    has_norm = norm_weight is not None
    prologue = u_scale is not None or v_scale is not None
    gradients = into or allocate_fusion_gradients(u, v, fc_weight, has_norm, prologue)
    du, dv, dprologue, dfc, dfc_bias, da, da_bias, db, db_bias, dnorm, dnorm_bias = gradients
    if u.numel() == 0:
        launch.zero(*gradients)
        return gradients
    n, c, h, w = u.shape
    p, d = h * w, fc_weight.shape[0]
    u, v, dout = (dense(tensor, channels_last) for tensor in (u, v, dout))
    fc_weight, a_weight, b_weight, norm_weight, norm_bias = packed(
        fc_weight, a_weight, b_weight, norm_weight, norm_bias
    )
    folds = packed(u_scale, u_shift, v_scale, v_shift)
    at = walk("selective_fusion", channels_last, c, p)
    options = {
        "FOLD_U": u_scale is not None, "FOLD_V": v_scale is not None, "BLOCK_C": at.block_c,
        "BLOCK_P": at.block_p, "STAGES": at.stages, "num_warps": at.warps,
    }  # fmt: skip
    if prologue:
        # Prologues beside three tensors, and four sums a pixel: whole blocks would want registers.
        options["BLOCK_P"] = max(16, at.block_p // 2)
    walked = (c, p, at.c_blocks, at.chunk, at.splits)
    inputs = [stride for tensor in (u, v, dout) for stride in strides(tensor, channels_last)]
    wide = power_of_two(c)
    rows = max(1, 4096 // wide)
    block_d = min(power_of_two(d), rows)
    streams = n * at.c_blocks * at.splits
    sizes = (
        (n, at.splits, c), (n, c), (n, c), (4 if prologue else 0, n, at.splits, c), (n, d), (n, d),
        (n if has_norm else 0, d),
    )  # fmt: skip
    part, dlogit, dpooled, part_prologue, units, dnormed, dhidden = launch.scratch(
        u, *((size, torch.float32) for size in sizes)
    )
    if not has_norm:
        dhidden = dnormed
    with on_device_of(u):
        launch(
            fusion_gate_gradient_kernel, (streams,), dout, u, v, *folds, part, slope, *walked,
            *inputs, **options, **SPARE_REGISTERS,
        )  # fmt: skip
        launch(
            fusion_hidden_gradient_kernel, (n,), part, saved.gate, saved.hidden, saved.stats,
            norm_weight, norm_bias, a_weight, b_weight, dlogit, units, dnormed, c, d, at.splits,
            NORM=has_norm, BLOCK_S=min(power_of_two(at.splits), rows), BLOCK_D=block_d,
            BLOCK_C=wide, num_warps=8,
        )  # fmt: skip
        if has_norm:
            launch(
                fusion_norm_gradient_kernel, (ceil_div(d, 32),), dnormed, saved.hidden,
                saved.stats, norm_weight, dhidden, dnorm, dnorm_bias, n, d,
                BATCH_STATS=batch_stats, BLOCK_N=16, BLOCK_D=32,
            )  # fmt: skip
        launch(
            fusion_pooled_gradient_kernel, (n,), dhidden, fc_weight, dpooled, c, d, p,
            BLOCK_D=block_d, BLOCK_C=wide, num_warps=8,
        )  # fmt: skip
        launch(
            fusion_weight_gradient_kernel, (ceil_div(c, 64), ceil_div(d, 16)), dlogit, units,
            dhidden, saved.pooled, dfc, dfc_bias, da, da_bias, db, db_bias, c, d, n, BLOCK_C=64,
            BLOCK_D=16,
        )  # fmt: skip
        launch(
            fusion_branch_gradient_kernel, (streams,), dout, u, v, *folds, saved.gate, dpooled, du,
            dv, part_prologue if prologue else None, slope, *walked, *inputs,
            *strides(du, channels_last), *strides(dv, channels_last), **options,
        )  # fmt: skip
        if prologue:
            launch(
                prologue_join_kernel, (ceil_div(c, 16), 4), part_prologue, dprologue, c,
                n * at.splits, BLOCK_S=128, BLOCK_C=16,
            )  # fmt: skip
    return gradients
