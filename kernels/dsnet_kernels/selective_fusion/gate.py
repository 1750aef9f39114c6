"""Selective fusion's gate: the small kernels between the passes, forward and backward.

They work on [N, C] and [N, D]. A sample has a program of its own but in the kernels of the batch
norm, which couples the batch, and of the weights' gradients, which sum over it in order. All
arithmetic is in float32; names as in `tiles`.
"""

from ..launch import tl, triton
from ..tiles import joined


@triton.jit
def fusion_hidden_kernel(
    part, fc_weight, fc_bias, pooled, hidden, C, D, P, SPLITS,
    HAS_BIAS: tl.constexpr, BLOCK_S: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """Join the partial sums, pooled [N, C], and the first layer: hidden [N, D], before its norm.

    One program a sample. Reads 4 SPLITS C + 4 D C bytes a sample, writes 4 (C + D).
    """
    i_n = tl.program_id(0).to(tl.int64)
    c = tl.arange(0, BLOCK_C)
    m_c = c < C
    b_mean = joined(part, i_n, c, m_c, C, SPLITS, BLOCK_S, BLOCK_C) / P
    tl.store(pooled + i_n * C + c, b_mean, m_c)
    for d0 in range(0, D, BLOCK_D):
        d = d0 + tl.arange(0, BLOCK_D)
        m_d = d < D
        b_w = tl.load(fc_weight + d[:, None] * C + c[None, :], m_d[:, None] & m_c[None, :], other=0)
        b_h = tl.sum(b_w.to(tl.float32) * b_mean[None, :], 1)
        if HAS_BIAS:
            b_h += tl.load(fc_bias + d, m_d, other=0).to(tl.float32)
        tl.store(hidden + i_n * D + d, b_h, m_d)


@triton.jit
def fusion_norm_kernel(
    hidden, running_mean, running_var, stats, N, D, eps, momentum,
    BATCH_STATS: tl.constexpr, BLEND: tl.constexpr, UPDATE: tl.constexpr,
    BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """Batch norm's stats [5, D]: mean, 1 / deviation, variance of the hidden units, two more.

    With BLEND those are the running mean and variance with the batch's blended in; with UPDATE
    they are also written where they were read. One program a block of units. Reads 8 N bytes a
    unit, writes 20.
    """
    d = tl.program_id(0) * BLOCK_D + tl.arange(0, BLOCK_D)
    m_d = d < D
    if BATCH_STATS:
        total = tl.zeros([BLOCK_D], tl.float32)
        for n0 in range(0, N, BLOCK_N):
            i = n0 + tl.arange(0, BLOCK_N)
            mask = (i < N)[:, None] & m_d[None, :]
            total += tl.sum(tl.load(hidden + i[:, None] * D + d[None, :], mask, other=0), 0)
        mean = total / N
        squares = tl.zeros([BLOCK_D], tl.float32)
        for n0 in range(0, N, BLOCK_N):
            i = n0 + tl.arange(0, BLOCK_N)
            mask = (i < N)[:, None] & m_d[None, :]
            off = tl.load(hidden + i[:, None] * D + d[None, :], mask, other=0) - mean[None, :]
            squares += tl.sum(tl.where(mask, off * off, 0.0), 0)
        var = squares / N
        if BLEND:
            r_mean = tl.load(running_mean + d, m_d, other=0).to(tl.float32)
            r_var = tl.load(running_var + d, m_d, other=0).to(tl.float32)
            r_mean += momentum * (mean - r_mean)
            r_var += momentum * (squares / (N - 1) - r_var)
            tl.store(stats + 3 * D + d, r_mean, m_d)
            tl.store(stats + 4 * D + d, r_var, m_d)
            if UPDATE:
                tl.store(running_mean + d, r_mean, m_d)
                tl.store(running_var + d, r_var, m_d)
    else:
        mean = tl.load(running_mean + d, m_d, other=0).to(tl.float32)
        var = tl.load(running_var + d, m_d, other=0).to(tl.float32)
    tl.store(stats + d, mean, m_d)
    tl.store(stats + D + d, 1.0 / tl.sqrt(var + eps), m_d)
    tl.store(stats + 2 * D + d, var, m_d)


@triton.jit
def normed(b_h, d, m_d, stats, norm_weight, norm_bias, D, NORM: tl.constexpr):
    """Hidden units behind the batch norm, where there is one."""
    if NORM:
        b_h = (b_h - tl.load(stats + d, m_d, other=0)) * tl.load(stats + D + d, m_d, other=0)
        b_h *= tl.load(norm_weight + d, m_d, other=0).to(tl.float32)
        b_h += tl.load(norm_bias + d, m_d, other=0).to(tl.float32)
    return b_h


@triton.jit
def fusion_gate_kernel(
    hidden, stats, norm_weight, norm_bias, a_weight, a_bias, b_weight, b_bias, gate, C, D,
    NORM: tl.constexpr, HAS_A: tl.constexpr, HAS_B: tl.constexpr,
    BLOCK_D: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """gate [N, C] = sigmoid(a z - b z) with z = relu(norm(hidden)); a and b are [C, D].

    One program a sample. Reads 4 D + 8 D C bytes a sample, writes 4 C.
    """
    i_n = tl.program_id(0).to(tl.int64)
    c = tl.arange(0, BLOCK_C)
    m_c = c < C
    logit_a = tl.zeros([BLOCK_C], tl.float32)
    logit_b = tl.zeros([BLOCK_C], tl.float32)
    for d0 in range(0, D, BLOCK_D):
        d = d0 + tl.arange(0, BLOCK_D)
        m_d = d < D
        b_z = tl.load(hidden + i_n * D + d, m_d, other=0)
        b_z = normed(b_z, d, m_d, stats, norm_weight, norm_bias, D, NORM)
        # Not a maximum with 0, which would turn NaN into 0; and 0 beyond D, where inf * 0 is NaN.
        b_z = tl.where((b_z < 0) | (d >= D), 0.0, b_z)[:, None]
        o_w = c[None, :] * D + d[:, None]
        mask = m_d[:, None] & m_c[None, :]
        logit_a += tl.sum(tl.load(a_weight + o_w, mask, other=0).to(tl.float32) * b_z, 0)
        logit_b += tl.sum(tl.load(b_weight + o_w, mask, other=0).to(tl.float32) * b_z, 0)
    if HAS_A:
        logit_a += tl.load(a_bias + c, m_c, other=0).to(tl.float32)
    if HAS_B:
        logit_b += tl.load(b_bias + c, m_c, other=0).to(tl.float32)
    tl.store(gate + i_n * C + c, tl.sigmoid(logit_a - logit_b), m_c)


@triton.jit
def fusion_hidden_gradient_kernel(
    part, gate, hidden, stats, norm_weight, norm_bias, a_weight, b_weight, dlogit, units, dhidden,
    C, D, SPLITS,
    NORM: tl.constexpr, BLOCK_S: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """dlogit [N, C] of a's logit (b's is its negative), z, and dz before the ReLU, each [N, D].

    One program a sample. Reads 4 SPLITS C + 8 D C + 4 (C + D) bytes a sample, writes 4 C + 8 D.
    """
    i_n = tl.program_id(0).to(tl.int64)
    c = tl.arange(0, BLOCK_C)
    m_c = c < C
    b_dgate = joined(part, i_n, c, m_c, C, SPLITS, BLOCK_S, BLOCK_C)
    b_gate = tl.load(gate + i_n * C + c, m_c, other=0)
    b_dl = b_dgate * b_gate * (1 - b_gate)
    tl.store(dlogit + i_n * C + c, b_dl, m_c)
    for d0 in range(0, D, BLOCK_D):
        d = d0 + tl.arange(0, BLOCK_D)
        m_d = d < D
        b_z = tl.load(hidden + i_n * D + d, m_d, other=0)
        b_z = normed(b_z, d, m_d, stats, norm_weight, norm_bias, D, NORM)
        o_w = c[None, :] * D + d[:, None]
        mask = m_d[:, None] & m_c[None, :]
        # Not the weights' difference: an infinite dl gives NaN where their signs are the same.
        b_dz = tl.sum(tl.load(a_weight + o_w, mask, other=0).to(tl.float32) * b_dl[None, :], 1)
        b_dz -= tl.sum(tl.load(b_weight + o_w, mask, other=0).to(tl.float32) * b_dl[None, :], 1)
        b_dz = tl.where(b_z <= 0, 0.0, b_dz)
        tl.store(units + i_n * D + d, tl.where(b_z < 0, 0.0, b_z), m_d)
        tl.store(dhidden + i_n * D + d, b_dz, m_d)


@triton.jit
def fusion_norm_gradient_kernel(
    dnormed, hidden, stats, norm_weight, dhidden, dweight, dbias, N, D,
    BATCH_STATS: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """Through the batch norm: dhidden [N, D], dweight [D], dbias [D].

    One program a block of units. Reads 16 N bytes a unit, writes 4 N + 8.
    """
    d = tl.program_id(0) * BLOCK_D + tl.arange(0, BLOCK_D)
    m_d = d < D
    mean = tl.load(stats + d, m_d, other=0)[None, :]
    rstd = tl.load(stats + D + d, m_d, other=0)[None, :]
    total = tl.zeros([BLOCK_D], tl.float32)
    product = tl.zeros([BLOCK_D], tl.float32)
    for n0 in range(0, N, BLOCK_N):
        i = n0 + tl.arange(0, BLOCK_N)
        mask = (i < N)[:, None] & m_d[None, :]
        o_h = i[:, None] * D + d[None, :]
        b_d = tl.load(dnormed + o_h, mask, other=0)
        b_hat = (tl.load(hidden + o_h, mask, other=0) - mean) * rstd
        total += tl.sum(b_d, 0)
        product += tl.sum(tl.where(mask, b_d * b_hat, 0.0), 0)
    tl.store(dbias + d, total, m_d)
    tl.store(dweight + d, product, m_d)
    scale = tl.load(norm_weight + d, m_d, other=0).to(tl.float32)[None, :] * rstd
    for n0 in range(0, N, BLOCK_N):
        i = n0 + tl.arange(0, BLOCK_N)
        mask = (i < N)[:, None] & m_d[None, :]
        o_h = i[:, None] * D + d[None, :]
        b_d = tl.load(dnormed + o_h, mask, other=0)
        if BATCH_STATS:
            b_hat = (tl.load(hidden + o_h, mask, other=0) - mean) * rstd
            b_d -= (total[None, :] + b_hat * product[None, :]) / N
        tl.store(dhidden + o_h, b_d * scale, mask)


@triton.jit
def fusion_pooled_gradient_kernel(
    dhidden, fc_weight, dpooled, C, D, P, BLOCK_D: tl.constexpr, BLOCK_C: tl.constexpr
):
    """dpooled [N, C] over P: what every pixel of either branch gets through the pool.

    One program a sample. Reads 4 D + 4 D C bytes a sample, writes 4 C.
    """
    i_n = tl.program_id(0).to(tl.int64)
    c = tl.arange(0, BLOCK_C)
    m_c = c < C
    acc = tl.zeros([BLOCK_C], tl.float32)
    for d0 in range(0, D, BLOCK_D):
        d = d0 + tl.arange(0, BLOCK_D)
        m_d = d < D
        b_d = tl.load(dhidden + i_n * D + d, m_d, other=0)
        b_w = tl.load(fc_weight + d[:, None] * C + c[None, :], m_d[:, None] & m_c[None, :], other=0)
        acc += tl.sum(b_w.to(tl.float32) * b_d[:, None], 0)
    tl.store(dpooled + i_n * C + c, acc / P, m_c)


@triton.jit
def fusion_weight_gradient_kernel(
    dlogit, units, dhidden, pooled, dfc, dfc_bias, da, da_bias, db, db_bias, C, D, N,
    BLOCK_C: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """dfc [D, C], da and db [C, D] and the biases' gradients: sums over the batch, in order.

    One program a (block of channels, block of hidden units). Reads 8 N (C + D) bytes, writes
    12 D C + 4 D + 8 C.
    """
    c = tl.program_id(0) * BLOCK_C + tl.arange(0, BLOCK_C)
    d = tl.program_id(1) * BLOCK_D + tl.arange(0, BLOCK_D)
    m_c = c < C
    m_d = d < D
    acc_fc = tl.zeros([BLOCK_D, BLOCK_C], tl.float32)
    acc_a = tl.zeros([BLOCK_D, BLOCK_C], tl.float32)
    acc_fc_bias = tl.zeros([BLOCK_D], tl.float32)
    acc_a_bias = tl.zeros([BLOCK_C], tl.float32)
    for i in tl.range(N, loop_unroll_factor=4):
        b_dl = tl.load(dlogit + i * C + c, m_c, other=0)
        b_mean = tl.load(pooled + i * C + c, m_c, other=0)
        b_z = tl.load(units + i * D + d, m_d, other=0)
        b_dh = tl.load(dhidden + i * D + d, m_d, other=0)
        acc_fc += b_dh[:, None] * b_mean[None, :]
        acc_a += b_z[:, None] * b_dl[None, :]
        acc_fc_bias += b_dh
        acc_a_bias += b_dl
    mask = m_d[:, None] & m_c[None, :]
    o_w = c[None, :] * D + d[:, None]
    tl.store(dfc + d[:, None] * C + c[None, :], acc_fc, mask)
    tl.store(da + o_w, acc_a, mask)
    tl.store(db + o_w, -acc_a, mask)
    if tl.program_id(0) == 0:
        tl.store(dfc_bias + d, acc_fc_bias, m_d)
    if tl.program_id(1) == 0:
        tl.store(da_bias + c, acc_a_bias, m_c)
        tl.store(db_bias + c, -acc_a_bias, m_c)
