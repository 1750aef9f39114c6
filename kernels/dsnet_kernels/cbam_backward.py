"""Fused CBAM, backward: three passes over x and dy and small kernels between them.

Bytes, for x of B bytes: spatial gradient reads 2 B (with a residual also the output, and writes
the residual's gradient: 4 B), gate gradient reads 2 B, input gradient reads B (2 B with a
prologue) and writes B. No gradient is added up with atomics: weights' gradients come from
partial buffers that are summed once, in a fixed order.

With x' = x * gate, m and a its maximum and mean over channels, L = conv([m, a]),
z = norm(L), s = sigmoid(z), y = x' * s:

    dz  = s (1 - s) sum_c dy x'          dL = norm'(dz)        [dm, da] = conv'(dL)
    dx' = dy s + [c is the maximum] dm + da / C
    dgate = sum_p dx' x                  davg, dmax = MLP'(gate (1 - gate) dgate)
    dx  = dx' gate + davg / P + [p is the maximum] dmax

A tie's gradient goes to the first of the equal values, as in max_pool2d and max(dim).
"""

import torch

from .cbam_forward import CbamSaved
from .cbam_gates import (
    conv_weight_gradient_kernel,
    maps_gradient_kernel,
    mlp_gradient_kernel,
    mlp_weight_gradient_kernel,
    norm_gradient_kernel,
)
from .launch import (
    ceil_div,
    dense,
    empty_like_shape,
    is_channels_last,
    on_device_of,
    power_of_two,
    strides,
    tl,
    triton,
    walk,
)

MOST_CHUNKS = 1024


@triton.jit
def spatial_gradient_kernel(
    dy, x, scale, shift, y, dresidual, gate, logit, stats, dz, part,
    C, P, P_BLOCKS,
    stride_gn, stride_gc, stride_gp, stride_n, stride_c, stride_p,
    stride_yn, stride_yc, stride_yp, stride_rn, stride_rc, stride_rp,
    PROLOGUE: tl.constexpr, NORM: tl.constexpr, RESIDUAL: tl.constexpr,
    BLOCK_C: tl.constexpr, BLOCK_P: tl.constexpr,
):  # fmt: skip
    """dz [N, P] = s (1 - s) sum_c dy x gate; with a residual also dy where y > 0, written out.

    With NORM also each program's sums of dz and dz * normalised logit, part [2, programs]. One
    program a (sample, block of pixels). Reads x and dy once (and y): 2 B (3 B + 1 B written).
    """
    pid = tl.program_id(0)
    first = (pid % P_BLOCKS).to(tl.int64) * BLOCK_P
    lane = tl.arange(0, BLOCK_P)
    p = pid % P_BLOCKS * BLOCK_P + lane
    i_n = (pid // P_BLOCKS).to(tl.int64)
    m_p = p < P
    acc = tl.zeros([BLOCK_C, BLOCK_P], tl.float32)
    for c0 in range(0, C, BLOCK_C):
        c = c0 + tl.arange(0, BLOCK_C)
        c64 = c.to(tl.int64)
        m_c = c < C
        mask = m_c[:, None] & m_p[None, :]
        p_x = x + i_n * stride_n + first * stride_p + c64 * stride_c
        p_g = dy + i_n * stride_gn + first * stride_gp + c64 * stride_gc
        b_x = tl.load(p_x[:, None] + (lane * stride_p)[None, :], mask, other=0).to(tl.float32)
        b_g = tl.load(p_g[:, None] + (lane * stride_gp)[None, :], mask, other=0).to(tl.float32)
        if RESIDUAL:
            p_y = y + i_n * stride_yn + first * stride_yp + c64 * stride_yc
            p_r = dresidual + i_n * stride_rn + first * stride_rp + c64 * stride_rc
            b_y = tl.load(p_y[:, None] + (lane * stride_yp)[None, :], mask, other=0)
            b_g = tl.where(b_y.to(tl.float32) <= 0, 0.0, b_g)
            o_r = (lane * stride_rp)[None, :]
            tl.store(p_r[:, None] + o_r, b_g.to(dresidual.dtype.element_ty), mask)
        if PROLOGUE:
            b_scale = tl.load(scale + c, m_c, other=0).to(tl.float32)
            b_shift = tl.load(shift + c, m_c, other=0).to(tl.float32)
            b_x = b_x * b_scale[:, None] + b_shift[:, None]
        b_gate = tl.load(gate + i_n * C + c, m_c, other=0)[:, None]
        acc += tl.where(mask, b_g * (b_x * b_gate), 0.0)
    b_logit = tl.load(logit + i_n * P + p, m_p, other=0)
    b_z = b_logit
    if NORM:
        b_z = b_z * tl.load(stats) + tl.load(stats + 1)
    s = tl.sigmoid(b_z)
    b_dz = tl.where(m_p, tl.sum(acc, 0) * s * (1 - s), 0.0)
    tl.store(dz + i_n * P + p, b_dz, m_p)
    if NORM:
        b_hat = (b_logit - tl.load(stats + 2)) * tl.load(stats + 3)
        tl.store(part + pid, tl.sum(b_dz))
        tl.store(part + tl.num_programs(0) + pid, tl.sum(b_dz * b_hat))


@triton.jit
def gate_gradient_kernel(
    dy, x, scale, shift, logit, stats, dmaps, top, part,
    C, P, C_BLOCKS, CHUNK, SPLITS,
    stride_gn, stride_gc, stride_gp, stride_n, stride_c, stride_p,
    PROLOGUE: tl.constexpr, NORM: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_P: tl.constexpr,
):  # fmt: skip
    """part [N, SPLITS, C]: sums of dx' x over a chunk of pixels.

    One program a (sample, block of channels, chunk of pixels), from the last to the first.
    Reads x and dy once: 2 B.
    """
    pid = tl.num_programs(0) - 1 - tl.program_id(0)
    i_s = pid % SPLITS
    i_c = pid // SPLITS % C_BLOCKS
    i_n = (pid // SPLITS // C_BLOCKS).to(tl.int64)
    c = i_c * BLOCK_C + tl.arange(0, BLOCK_C)
    c64 = c.to(tl.int64)
    m_c = c < C
    start = i_s * CHUNK
    first = start.to(tl.int64)
    lane = tl.arange(0, BLOCK_P)
    p_x = x + i_n * stride_n + first * stride_p + c64 * stride_c
    p_g = dy + i_n * stride_gn + first * stride_gp + c64 * stride_gc
    if PROLOGUE:
        b_scale = tl.load(scale + c, m_c, other=0).to(tl.float32)[:, None]
        b_shift = tl.load(shift + c, m_c, other=0).to(tl.float32)[:, None]
    if NORM:
        n_scale = tl.load(stats)
        n_shift = tl.load(stats + 1)
    acc = tl.zeros([BLOCK_C, BLOCK_P], tl.float32)
    for p0 in range(start, tl.minimum(start + CHUNK, P), BLOCK_P):
        p = p0 + lane
        m_p = p < P
        mask = m_c[:, None] & m_p[None, :]
        b_x = tl.load(p_x[:, None] + (lane * stride_p)[None, :], mask, other=0).to(tl.float32)
        b_g = tl.load(p_g[:, None] + (lane * stride_gp)[None, :], mask, other=0).to(tl.float32)
        b_z = tl.load(logit + i_n * P + p, m_p, other=0)
        b_dmax = tl.load(dmaps + i_n * 2 * P + p, m_p, other=0)
        b_dmean = tl.load(dmaps + (i_n * 2 + 1) * P + p, m_p, other=0)
        b_top = tl.load(top + i_n * P + p, m_p, other=0).to(tl.int32)
        if NORM:
            b_z = b_z * n_scale + n_shift
        if PROLOGUE:
            b_x = tl.where(mask, b_x * b_scale + b_shift, 0.0)
        b_dx = b_g * tl.sigmoid(b_z)[None, :] + b_dmean[None, :]
        b_dx += tl.where(c[:, None] == b_top[None, :], b_dmax[None, :], 0.0)
        acc += b_dx * b_x
        p_x += BLOCK_P * stride_p
        p_g += BLOCK_P * stride_gp
    tl.store(part + (i_n * SPLITS + i_s) * C + c, tl.sum(acc, 1), m_c)


@triton.jit
def input_gradient_kernel(
    dy, x, scale, gate, logit, stats, dmaps, top, dpooled, peak_index, dx, part,
    C, P, N, C_BLOCKS, CHUNK, SPLITS,
    stride_gn, stride_gc, stride_gp, stride_n, stride_c, stride_p, stride_dn, stride_dc, stride_dp,
    PROLOGUE: tl.constexpr, NORM: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_P: tl.constexpr,
):  # fmt: skip
    """dx; with a prologue also part [2, N, SPLITS, C], sums for its scale and its shift.

    One program a (sample, block of channels, chunk of pixels). Reads dy (and x for a prologue),
    writes dx: 2 B (3 B).
    """
    pid = tl.program_id(0)
    i_s = pid % SPLITS
    i_c = pid // SPLITS % C_BLOCKS
    i_n = (pid // SPLITS // C_BLOCKS).to(tl.int64)
    c = i_c * BLOCK_C + tl.arange(0, BLOCK_C)
    c64 = c.to(tl.int64)
    m_c = c < C
    start = i_s * CHUNK
    first = start.to(tl.int64)
    lane = tl.arange(0, BLOCK_P)
    p_g = dy + i_n * stride_gn + first * stride_gp + c64 * stride_gc
    p_d = dx + i_n * stride_dn + first * stride_dp + c64 * stride_dc
    b_gate = tl.load(gate + i_n * C + c, m_c, other=0)[:, None]
    d_avg = tl.load(dpooled + i_n * C + c, m_c, other=0)[:, None]
    d_peak = tl.load(dpooled + (N + i_n) * C + c, m_c, other=0)[:, None]
    b_peak = tl.load(peak_index + i_n * C + c, m_c, other=0)[:, None]
    if PROLOGUE:
        p_x = x + i_n * stride_n + first * stride_p + c64 * stride_c
        b_scale = tl.load(scale + c, m_c, other=0).to(tl.float32)[:, None]
        d_scale = tl.zeros([BLOCK_C, BLOCK_P], tl.float32)
        d_shift = tl.zeros([BLOCK_C, BLOCK_P], tl.float32)
    if NORM:
        n_scale = tl.load(stats)
        n_shift = tl.load(stats + 1)
    for p0 in range(start, tl.minimum(start + CHUNK, P), BLOCK_P):
        p = p0 + lane
        m_p = p < P
        mask = m_c[:, None] & m_p[None, :]
        b_g = tl.load(p_g[:, None] + (lane * stride_gp)[None, :], mask, other=0).to(tl.float32)
        b_z = tl.load(logit + i_n * P + p, m_p, other=0)
        b_dmax = tl.load(dmaps + i_n * 2 * P + p, m_p, other=0)
        b_dmean = tl.load(dmaps + (i_n * 2 + 1) * P + p, m_p, other=0)
        b_top = tl.load(top + i_n * P + p, m_p, other=0).to(tl.int32)
        if NORM:
            b_z = b_z * n_scale + n_shift
        b_dx = b_g * tl.sigmoid(b_z)[None, :] + b_dmean[None, :]
        b_dx += tl.where(c[:, None] == b_top[None, :], b_dmax[None, :], 0.0)
        b_dx = b_dx * b_gate + d_avg
        b_dx += tl.where(p[None, :] == b_peak, d_peak, 0.0)
        if PROLOGUE:
            b_x = tl.load(p_x[:, None] + (lane * stride_p)[None, :], mask, other=0)
            b_dx = tl.where(mask, b_dx, 0.0)
            d_scale += b_dx * b_x.to(tl.float32)
            d_shift += b_dx
            b_dx *= b_scale
            p_x += BLOCK_P * stride_p
        tl.store(p_d[:, None] + (lane * stride_dp)[None, :], b_dx.to(dx.dtype.element_ty), mask)
        p_g += BLOCK_P * stride_gp
        p_d += BLOCK_P * stride_dp
    if PROLOGUE:
        o_part = (i_n * SPLITS + i_s) * C + c
        tl.store(part + o_part, tl.sum(d_scale, 1), m_c)
        o_part += (tl.num_programs(0) // C_BLOCKS).to(tl.int64) * C
        tl.store(part + o_part, tl.sum(d_shift, 1), m_c)


def launch_cbam_backward(
    dy, x, y, saved: CbamSaved, w1, b1, w2, b2, conv_weight, conv_bias, norm_weight, batch_stats,
    residual_dtype, scale, shift,
) -> tuple[torch.Tensor, ...]:  # fmt: skip
    """Launch the backward kernels.

    Returns dx, dresidual (empty without one), dscale and dshift (empty without a prologue) and
    float32 gradients of w1, b1, w2, b2, conv_weight, conv_bias, norm_weight, norm_bias.
    """
    channels_last = is_channels_last(x)
    n, c, h, w = x.shape
    p, r, kernel = h * w, w1.shape[0], conv_weight.shape[-1]
    options = {"dtype": torch.float32, "device": x.device}
    dx = empty_like_shape(x, channels_last)
    has_residual, prologue = residual_dtype is not None, scale is not None
    has_norm = norm_weight is not None
    dresidual = (
        empty_like_shape(x, channels_last, residual_dtype)
        if has_residual
        else torch.empty(0, device=x.device)
    )
    dw1, dw2 = torch.empty(r, c, **options), torch.empty(c, r, **options)
    db1, db2 = torch.empty(r, **options), torch.empty(c, **options)
    dnorm = torch.zeros(2, **options)
    taps = 2 * kernel * kernel
    if x.numel() == 0:
        for tensor in (dw1, dw2, db1, db2):
            tensor.zero_()
        dconv = torch.zeros(taps + 1, **options)
        dprologue = torch.zeros(2, c if prologue else 0, **options)
    else:
        x, dy = dense(x, channels_last), dense(dy, channels_last)
        at = walk("cbam", channels_last, c, p)
        tile = {"BLOCK_C": at.block_c, "BLOCK_P": at.block_p, "num_warps": at.warps}
        flat = torch.empty(n, p, **options)
        sums = torch.empty(2, n * at.p_blocks, **options)
        coefficients = torch.empty(3, **options)
        dmaps = torch.empty_like(saved.maps)
        with on_device_of(x):
            spatial_gradient_kernel[(n * at.p_blocks,)](
                dy, x, scale, shift, y, dresidual, saved.gate, saved.logit, saved.stats, flat, sums,
                c, p, at.p_blocks, *strides(dy, channels_last), *strides(x, channels_last),
                *strides(y, channels_last),
                *(strides(dresidual, channels_last) if has_residual else (0, 0, 0)),
                PROLOGUE=prologue, NORM=has_norm, RESIDUAL=has_residual, **tile,
            )  # fmt: skip
            if has_residual:
                dy = dresidual
            if has_norm:
                norm_gradient_kernel[(1,)](
                    sums, norm_weight, saved.stats, coefficients, dnorm[0], dnorm[1],
                    n * at.p_blocks, n * p, BATCH_STATS=batch_stats, BLOCK=1024,
                )  # fmt: skip
            block = min(256, max(16, power_of_two(p)))
            blocks = ceil_div(p, block)
            maps_gradient_kernel[(n * blocks,)](
                flat, saved.logit, saved.stats, coefficients, conv_weight.contiguous(), dmaps,
                c, h, w, p, blocks, KERNEL=kernel, NORM=has_norm, BLOCK_P=block,
            )  # fmt: skip
            chunk = 32 * max(32, ceil_div(p, 32 * MOST_CHUNKS))
            chunks = ceil_div(p, chunk)
            lanes = power_of_two(taps + 1)
            part = torch.empty(n * chunks, lanes, **options)
            conv_weight_gradient_kernel[(n * chunks,)](
                flat, saved.logit, saved.stats, coefficients, saved.maps, part,
                h, w, p, chunks, chunk, KERNEL=kernel, NORM=has_norm, TAPS=lanes, BLOCK_P=32,
            )  # fmt: skip
            dconv = part.sum(0)[: taps + 1]
            streams = n * at.c_blocks * at.splits
            part = torch.empty(n, at.splits, c, **options)
            gate_gradient_kernel[(streams,)](
                dy, x, scale, shift, saved.logit, saved.stats, dmaps, saved.top, part,
                c, p, at.c_blocks, at.chunk, at.splits,
                *strides(dy, channels_last), *strides(x, channels_last),
                PROLOGUE=prologue, NORM=has_norm, **tile,
            )  # fmt: skip
            dlogit, dpooled = torch.empty(n, c, **options), torch.empty(2, n, c, **options)
            hidden = torch.empty(3, n, r, **options)
            wide = power_of_two(c)
            mlp_gradient_kernel[(n,)](
                part, saved.gate, saved.pooled, w1.contiguous(), b1, w2.contiguous(),
                dlogit, hidden, dpooled, c, r, p, n, at.splits, HAS_B1=b1 is not None,
                BLOCK_S=min(16, max(1, 4096 // wide)), BLOCK_R=max(1, 4096 // wide), BLOCK_C=wide,
                num_warps=8,
            )  # fmt: skip
            mlp_weight_gradient_kernel[(ceil_div(c, 64), ceil_div(r, 16))](
                dlogit, hidden, saved.pooled, dw1, db1, dw2, db2, c, r, n, BLOCK_C=64, BLOCK_R=16
            )
            part = torch.empty(2, n, at.splits, c if prologue else 0, **options)
            input_gradient_kernel[(streams,)](
                dy, x, scale, saved.gate, saved.logit, saved.stats, dmaps, saved.top, dpooled,
                saved.peak_index, dx, part, c, p, n, at.c_blocks, at.chunk, at.splits,
                *strides(dy, channels_last), *strides(x, channels_last),
                *strides(dx, channels_last), PROLOGUE=prologue, NORM=has_norm, **tile,
            )  # fmt: skip
            dprologue = part.sum((1, 2))
    return (
        dx, dresidual, dprologue[0].clone(), dprologue[1].clone(), dw1, db1, dw2, db2,
        dconv[:taps].view(conv_weight.shape).clone(), dconv[taps:].clone(),
        dnorm[:1].clone(), dnorm[1:].clone(),
    )  # fmt: skip
