"""Fused CBAM, backward: three passes over x and dy and small kernels between them.

Bytes, for x of B bytes: spatial gradient reads 2 B (with a residual also the output, and writes
the residual's gradient: 4 B), gate gradient reads B, input gradient reads B (2 B with a
prologue) and writes B: 5 B, 7 B with a residual, 1 B more with a prologue. No gradient is added
up with atomics: weights' gradients come from partial buffers that are summed once, in a fixed
order.

With x' = x * gate, m and a its maximum and mean over channels, L = conv([m, a]),
z = norm(L), s = sigmoid(z), y = x' * s:

    dz  = s (1 - s) sum_c dy x'          dL = norm'(dz)        [dm, da] = conv'(dL)
    dx' = dy s + [c is the maximum] dm + da / C
    dgate = sum_p dx' x                  davg, dmax = MLP'(gate (1 - gate) dgate)
          = sum_p dy s x + sum_p ([c is the maximum] dm + da / C) x
    dx  = dx' gate + davg / P + [p is the maximum] dmax

The first sum of dgate needs no map's gradient and is taken in the first pass, so that the second
reads x only. A tie's gradient goes to the first of the equal values, as in max_pool2d and max(dim).
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
    walk_across,
)
from ..launches import Launches
from ..tiles import (
    chunk_of,
    load_tile,
    pixels_of,
    pointers_to,
    prologue_join_kernel,
    prologue_of,
    scaled,
    store_tile,
)
from .forward import CbamSaved
from .gates import (
    conv_weight_gradient_kernel,
    conv_weight_join_kernel,
    map_block,
    maps_gradient_kernel,
    mlp_gradient_kernel,
    mlp_weight_gradient_kernel,
    norm_gradient_kernel,
)


@triton.jit
def spatial_gradient_kernel(
    dy, x, scale, shift, y, masked, gate, logit, stats, dz, part, part_gate,
    C, P, P_BLOCKS,
    stride_gn, stride_gc, stride_gp, stride_n, stride_c, stride_p,
    stride_yn, stride_yc, stride_yp, stride_rn, stride_rc, stride_rp,
    PROLOGUE: tl.constexpr, NORM: tl.constexpr, RESIDUAL: tl.constexpr,
    BLOCK_C: tl.constexpr, BLOCK_P: tl.constexpr,
):  # fmt: skip
    """dz [N, P] = s (1 - s) sum_c dy x gate; with a residual also dy where y > 0, in masked.

    part_gate [N, P_BLOCKS, C] are sums of dy s x over the block's pixels; with NORM part
    [2, programs] are sums of dz and dz * normalised logit. One program a (sample, block of
    pixels). Reads x and dy once (and y): 2 B (3 B + 1 B written).
    """
    pid = tl.program_id(0)
    first = (pid % P_BLOCKS).to(tl.int64) * BLOCK_P
    lane = tl.arange(0, BLOCK_P)
    i_n, p, m_p = pixels_of(pid, P, P_BLOCKS, BLOCK_P)
    b_logit = tl.load(logit + i_n * P + p, m_p, other=0)
    b_z = b_logit
    if NORM:
        b_z = b_z * tl.load(stats) + tl.load(stats + 1)
    s = tl.sigmoid(b_z)
    p_part = part_gate + (i_n * P_BLOCKS + pid % P_BLOCKS) * C
    acc = tl.zeros([BLOCK_P], tl.float32)
    for c0 in range(0, C, BLOCK_C):
        c = c0 + tl.arange(0, BLOCK_C)
        m_c = c < C
        mask = m_c[:, None] & m_p[None, :]
        p_x = pointers_to(x, i_n, first, c, stride_n, stride_c, stride_p)
        p_g = pointers_to(dy, i_n, first, c, stride_gn, stride_gc, stride_gp)
        b_x = load_tile(p_x, lane, stride_p, mask)
        b_g = load_tile(p_g, lane, stride_gp, mask)
        if RESIDUAL:
            p_y = pointers_to(y, i_n, first, c, stride_yn, stride_yc, stride_yp)
            p_r = pointers_to(masked, i_n, first, c, stride_rn, stride_rc, stride_rp)
            b_y = load_tile(p_y, lane, stride_yp, mask)
            b_g = tl.where(b_y <= 0, 0.0, b_g)
            o_r = (lane * stride_rp)[None, :]
            tl.store(p_r[:, None] + o_r, b_g.to(masked.dtype.element_ty), mask)
        b_scale, b_shift = prologue_of(scale, shift, c, m_c, PROLOGUE)
        b_x = scaled(b_x, mask, b_scale, b_shift, PROLOGUE)
        b_gate = tl.load(gate + i_n * C + c, m_c, other=0)[:, None]
        b_gx = b_g * b_x
        acc += tl.sum(b_gx * b_gate, 0)
        tl.store(p_part + c, tl.sum(b_gx * s[None, :], 1), m_c)
    b_dz = tl.where(m_p, acc * s * (1 - s), 0.0)
    tl.store(dz + i_n * P + p, b_dz, m_p)
    if NORM:
        b_hat = (b_logit - tl.load(stats + 2)) * tl.load(stats + 3)
        tl.store(part + pid, tl.sum(b_dz))
        tl.store(part + tl.num_programs(0) + pid, tl.sum(b_dz * b_hat))


@triton.jit
def gate_gradient_kernel(
    x, scale, shift, dmaps, top, part_gate, part,
    C, P, P_BLOCKS, C_BLOCKS, CHUNK, SPLITS, stride_n, stride_c, stride_p,
    PROLOGUE: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_S: tl.constexpr,
    STAGES: tl.constexpr,
):  # fmt: skip
    """part [N, SPLITS, C]: sums of dx' x over a chunk of pixels.

    The chunk's share of part_gate [N, P_BLOCKS, C], an even part of its rows, is added here.
    One program a (sample, block of channels, chunk of pixels), from the last to the first.
    Reads x once: B.
    """
    pid = tl.num_programs(0) - 1 - tl.program_id(0)
    i_n, i_s, start, c, m_c = chunk_of(pid, C, C_BLOCKS, CHUNK, SPLITS, BLOCK_C)
    lane = tl.arange(0, BLOCK_P)
    p_x = pointers_to(x, i_n, start, c, stride_n, stride_c, stride_p)
    b_scale, b_shift = prologue_of(scale, shift, c, m_c, PROLOGUE)
    acc = tl.zeros([BLOCK_C, BLOCK_P], tl.float32)
    for p0 in tl.range(start, tl.minimum(start + CHUNK, P), BLOCK_P, num_stages=STAGES):
        p = p0 + lane
        m_p = p < P
        mask = m_c[:, None] & m_p[None, :]
        b_x = load_tile(p_x, lane, stride_p, mask)
        b_dmax = tl.load(dmaps + i_n * 2 * P + p, m_p, other=0)
        b_dmean = tl.load(dmaps + (i_n * 2 + 1) * P + p, m_p, other=0)
        b_top = tl.load(top + i_n * P + p, m_p, other=0).to(tl.int32)
        b_x = scaled(b_x, mask, b_scale, b_shift, PROLOGUE)
        b_d = b_dmean[None, :] + tl.where(c[:, None] == b_top[None, :], b_dmax[None, :], 0.0)
        acc += b_d * b_x
        p_x += BLOCK_P * stride_p
    b_sum = tl.sum(acc, 1)
    rows = tl.cdiv(P_BLOCKS, SPLITS)
    last = tl.minimum((i_s + 1) * rows, P_BLOCKS)
    for s0 in range(i_s * rows, last, BLOCK_S):
        s = s0 + tl.arange(0, BLOCK_S)
        p_part = part_gate + (i_n * P_BLOCKS + s)[None, :] * C + c[:, None]
        b_sum += tl.sum(tl.load(p_part, m_c[:, None] & (s < last)[None, :], other=0), 1)
    tl.store(part + (i_n * SPLITS + i_s) * C + c, b_sum, m_c)


@triton.jit
def input_gradient_kernel(
    dy, x, scale, gate, logit, stats, dmaps, top, dpooled, peak_index, dx, part,
    C, P, N, C_BLOCKS, CHUNK, SPLITS,
    stride_gn, stride_gc, stride_gp, stride_n, stride_c, stride_p, stride_dn, stride_dc, stride_dp,
    PROLOGUE: tl.constexpr, NORM: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_P: tl.constexpr,
    STAGES: tl.constexpr,
):  # fmt: skip
    """dx; with a prologue also part [2, N, SPLITS, C], sums for its scale and its shift.

    One program a (sample, block of channels, chunk of pixels). Reads dy (and x for a prologue),
    writes dx: 2 B (3 B).
    """
    i_n, i_s, start, c, m_c = chunk_of(tl.program_id(0), C, C_BLOCKS, CHUNK, SPLITS, BLOCK_C)
    lane = tl.arange(0, BLOCK_P)
    p_g = pointers_to(dy, i_n, start, c, stride_gn, stride_gc, stride_gp)
    p_d = pointers_to(dx, i_n, start, c, stride_dn, stride_dc, stride_dp)
    b_gate = tl.load(gate + i_n * C + c, m_c, other=0)[:, None]
    d_avg = tl.load(dpooled + i_n * C + c, m_c, other=0)[:, None]
    d_peak = tl.load(dpooled + (N + i_n) * C + c, m_c, other=0)[:, None]
    b_peak = tl.load(peak_index + i_n * C + c, m_c, other=0)[:, None]
    if PROLOGUE:
        p_x = pointers_to(x, i_n, start, c, stride_n, stride_c, stride_p)
        b_scale = tl.load(scale + c, m_c, other=0).to(tl.float32)[:, None]
        d_scale = tl.zeros([BLOCK_C, BLOCK_P], tl.float32)
        d_shift = tl.zeros([BLOCK_C, BLOCK_P], tl.float32)
    if NORM:
        n_scale = tl.load(stats)
        n_shift = tl.load(stats + 1)
    for p0 in tl.range(start, tl.minimum(start + CHUNK, P), BLOCK_P, num_stages=STAGES):
        p = p0 + lane
        m_p = p < P
        mask = m_c[:, None] & m_p[None, :]
        b_g = load_tile(p_g, lane, stride_gp, mask)
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
            b_x = load_tile(p_x, lane, stride_p, mask)
            b_dx = tl.where(mask, b_dx, 0.0)
            d_scale += b_dx * b_x
            d_shift += b_dx
            b_dx *= b_scale
            p_x += BLOCK_P * stride_p
        store_tile(p_d, lane, stride_dp, b_dx, mask)
        p_g += BLOCK_P * stride_gp
        p_d += BLOCK_P * stride_dp
    if PROLOGUE:
        o_part = (i_n * SPLITS + i_s) * C + c
        tl.store(part + o_part, tl.sum(d_scale, 1), m_c)
        o_part += (tl.num_programs(0) // C_BLOCKS).to(tl.int64) * C
        tl.store(part + o_part, tl.sum(d_shift, 1), m_c)


def allocate_cbam_gradients(x, w1, conv_weight, norm, residual_dtype, scale) -> tuple:
    """What `launch_cbam_backward` returns, unwritten; fakes and real calls share it."""

    def empty(*sizes):
        return torch.empty(sizes, dtype=torch.float32, device=x.device)

    channels_last = is_channels_last(x)
    c, r = x.shape[1], w1.shape[0]
    dresidual = empty(0)
    if residual_dtype is not None:
        dresidual = empty_like_shape(x, channels_last, residual_dtype)
    return (
        empty_like_shape(x, channels_last), dresidual, empty(0 if scale is None else 2, c),
        empty(r, c), empty(r), empty(c, r), empty(c), empty(*conv_weight.shape), empty(1),
        empty(1 if norm else 0), empty(1 if norm else 0),
    )  # fmt: skip


def launch_cbam_backward(
    dy, x, y, saved: CbamSaved, w1, b1, w2, b2, conv_weight, conv_bias, norm_weight, batch_stats,
    residual_dtype, scale, shift, *, into=None, launches=None,
) -> tuple[torch.Tensor, ...]:  # fmt: skip
    """Launch the backward kernels.

    Returns dx, dresidual (empty without one), the gradients of scale and shift [2, C] (empty
    without a prologue) and float32 gradients of w1, b1, w2, b2, conv_weight, conv_bias,
    norm_weight, norm_bias (empty without a norm). `into` and `launches` as in
    `launch_cbam_forward`.
    """
    launch = launches or Launches()
    channels_last = is_channels_last(x)
    has_residual, prologue = residual_dtype is not None, scale is not None
    has_norm = norm_weight is not None
    gradients = into or allocate_cbam_gradients(x, w1, conv_weight, has_norm, residual_dtype, scale)
    dx, dresidual, dprologue, dw1, db1, dw2, db2, dconv, dbias, dnorm, dnorm_bias = gradients
    if x.numel() == 0:
        launch.zero(*gradients)
        return gradients
    n, c, h, w = x.shape
    p, r, kernel = h * w, w1.shape[0], conv_weight.shape[-1]
    x, dy = dense(x, channels_last), dense(dy, channels_last)
    w1, b1, w2, conv_weight, scale, shift = packed(w1, b1, w2, conv_weight, scale, shift)
    at = walk("cbam", channels_last, c, p)
    across = walk_across("cbam", channels_last, c, p, tensors=3 if has_residual else 2)
    tile = {"BLOCK_C": at.block_c, "BLOCK_P": at.block_p, "STAGES": at.stages}
    x_strides = strides(x, channels_last)
    block, chunk = map_block(p), min(512, max(32, power_of_two(p)))
    blocks, chunks = ceil_div(p, block), ceil_div(p, chunk)
    taps = 2 * kernel * kernel + 1
    streams = n * at.c_blocks * at.splits
    wide = power_of_two(c)
    rows = max(1, 4096 // wide)
    masked = None
    if has_residual:
        # The later passes read dy from here: a narrower dresidual would not do.
        same = residual_dtype == dy.dtype
        masked = dresidual if same else empty_like_shape(x, channels_last, dy.dtype)
    sizes = (
        (n, p), (n, 2, h, w), (2, n * across.p_blocks), (3,), (n, across.p_blocks, c),
        (n, at.splits, c), (n * chunks, taps), (2 if prologue else 0, n, at.splits, c), (n, c),
        (2, n, c), (3, n, r),
    )  # fmt: skip
    (
        dz, dmaps, sums, coefficients, part_gate, part, part_taps, part_prologue, dlogit, dpooled,
        hidden,
    ) = launch.scratch(x, *((size, torch.float32) for size in sizes))  # fmt: skip
    with on_device_of(x):
        launch(
            spatial_gradient_kernel, (n * across.p_blocks,), dy, x, scale, shift, y, masked,
            saved.gate, saved.logit, saved.stats, dz, sums, part_gate, c, p, across.p_blocks,
            *strides(dy, channels_last), *x_strides,
            *(strides(y, channels_last) if has_residual else (0, 0, 0)),
            *(strides(masked, channels_last) if masked is not None else (0, 0, 0)),
            PROLOGUE=prologue, NORM=has_norm, RESIDUAL=has_residual, BLOCK_C=across.block_c,
            BLOCK_P=across.block_p, num_warps=across.warps, **SPARE_REGISTERS,
        )  # fmt: skip
        if masked is not None:
            dy = masked
            if masked is not dresidual:
                dresidual.copy_(masked)
        if has_norm:
            launch(
                norm_gradient_kernel, (1,), sums, norm_weight, saved.stats, coefficients, dnorm,
                dnorm_bias, n * across.p_blocks, n * p, BATCH_STATS=batch_stats, BLOCK=1024,
            )  # fmt: skip
        launch(
            maps_gradient_kernel, (n * blocks,), dz, saved.logit, saved.stats, coefficients,
            conv_weight, dmaps, c, h, w, p, blocks, KERNEL=kernel, NORM=has_norm, BLOCK_P=block,
        )  # fmt: skip
        launch(
            conv_weight_gradient_kernel, (n * chunks,), dz, saved.logit, saved.stats,
            coefficients, saved.maps, part_taps, h, w, p, chunks, KERNEL=kernel, NORM=has_norm,
            BLOCK_P=chunk, num_warps=1,
        )  # fmt: skip
        launch(
            conv_weight_join_kernel, (ceil_div(taps, 16),), part_taps, dconv, dbias, n * chunks,
            KERNEL=kernel, BLOCK=256,
        )  # fmt: skip
        launch(
            gate_gradient_kernel, (streams,), x, scale, shift, dmaps, saved.top, part_gate, part,
            c, p, across.p_blocks, at.c_blocks, at.chunk, at.splits, *x_strides,
            PROLOGUE=prologue, BLOCK_S=16, num_warps=at.warps, **tile,
        )  # fmt: skip
        launch(
            mlp_gradient_kernel, (n,), part, saved.gate, saved.pooled, w1, b1, w2, dlogit, hidden,
            dpooled, c, r, p, n, at.splits, HAS_B1=b1 is not None,
            BLOCK_S=min(power_of_two(at.splits), rows), BLOCK_R=rows, BLOCK_C=wide, num_warps=8,
        )  # fmt: skip
        launch(
            mlp_weight_gradient_kernel, (ceil_div(c, 64), ceil_div(r, 16)), dlogit, hidden,
            saved.pooled, dw1, db1, dw2, db2, c, r, n, BLOCK_C=64, BLOCK_R=16,
        )  # fmt: skip
        launch(
            input_gradient_kernel, (streams,), dy, x, scale, saved.gate, saved.logit, saved.stats,
            dmaps, saved.top, dpooled, saved.peak_index, dx, part_prologue if prologue else None,
            c, p, n, at.c_blocks, at.chunk, at.splits, *strides(dy, channels_last), *x_strides,
            *strides(dx, channels_last),
            PROLOGUE=prologue, NORM=has_norm, num_warps=at.warps, **tile,
        )  # fmt: skip
        if prologue:
            launch(
                prologue_join_kernel, (ceil_div(c, 16), 2), part_prologue, dprologue, c,
                n * at.splits, BLOCK_S=128, BLOCK_C=16,
            )  # fmt: skip
    return gradients
