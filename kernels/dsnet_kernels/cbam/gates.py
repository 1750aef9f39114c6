"""CBAM's two gates: the small kernels between the passes over x, forward and backward.

The channel gate works on [N, C], the spatial gate on maps of one and two channels. All
arithmetic is in float32; names as in `tiles`.
"""

from ..launch import power_of_two, tl, triton
from ..tiles import joined, pixels_of


def map_block(pixels: int) -> int:
    """Pixels a program of the convolutions over the maps: more amortise the loads of weights."""
    return min(128 if pixels < 2**14 else 256, max(16, power_of_two(pixels)))


@triton.jit
def channel_gate_kernel(
    part_sum, part_max, part_index, w1, b1, w2, b2, pooled, peak_index, gate,
    C, R, P, N, SPLITS,
    HAS_B1: tl.constexpr, HAS_B2: tl.constexpr,
    BLOCK_S: tl.constexpr, BLOCK_R: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """Join the partial pools and pass them through the MLP: gate = sigmoid(MLP(avg) + MLP(max)).

    pooled is [2, N, C], average then maximum; w1 [R, C], w2 [C, R]. One program a sample. Reads
    12 SPLITS C + 8 R C bytes a sample, writes 16 C.
    """
    i_n = tl.program_id(0).to(tl.int64)
    c = tl.arange(0, BLOCK_C)
    m_c = c < C
    b_sum = tl.zeros([BLOCK_C], tl.float32)
    b_max = tl.full([BLOCK_C], float("-inf"), tl.float32)
    b_index = tl.zeros([BLOCK_C], tl.int32)
    for s0 in range(0, SPLITS, BLOCK_S):
        s = s0 + tl.arange(0, BLOCK_S)
        o_part = (i_n * SPLITS + s)[:, None] * C + c[None, :]
        m_part = (s < SPLITS)[:, None] & m_c[None, :]
        b_sum += tl.sum(tl.load(part_sum + o_part, m_part, other=0), 0)
        b_part = tl.load(part_max + o_part, m_part, other=float("-inf"))
        b_where = tl.load(part_index + o_part, m_part, other=2147483647)
        b_top = tl.max(b_part, 0)
        b_first = tl.min(tl.where(b_part == b_top[None, :], b_where, 2147483647), 0)
        better = b_top > b_max
        b_max = tl.where(better, b_top, b_max)
        b_index = tl.where(better, b_first, b_index)
    b_avg = b_sum / P
    # A maximum skips NaN, a sum does not.
    b_max = tl.where(b_sum != b_sum, b_sum, b_max)
    tl.store(pooled + i_n * C + c, b_avg, m_c)
    tl.store(pooled + (N + i_n) * C + c, b_max, m_c)
    tl.store(peak_index + i_n * C + c, b_index, m_c)
    b_avg = tl.where(m_c, b_avg, 0.0)
    b_max = tl.where(m_c, b_max, 0.0)
    b_logit = tl.zeros([BLOCK_C], tl.float32)
    if HAS_B2:
        b_logit += 2 * tl.load(b2 + c, m_c, other=0).to(tl.float32)
    for r0 in range(0, R, BLOCK_R):
        r = r0 + tl.arange(0, BLOCK_R)
        mask = (r < R)[:, None] & m_c[None, :]
        b_w1 = tl.load(w1 + r[:, None] * C + c[None, :], mask, other=0).to(tl.float32)
        h_avg = tl.sum(b_w1 * b_avg[None, :], 1)
        h_max = tl.sum(b_w1 * b_max[None, :], 1)
        if HAS_B1:
            b_b1 = tl.load(b1 + r, r < R, other=0).to(tl.float32)
            h_avg += b_b1
            h_max += b_b1
        # Not a maximum with 0, which would turn NaN into 0; and 0 beyond R, where inf * 0 is NaN.
        h = tl.where(h_avg < 0, 0.0, h_avg) + tl.where(h_max < 0, 0.0, h_max)
        h = tl.where(r < R, h, 0.0)
        b_w2 = tl.load(w2 + c[None, :] * R + r[:, None], mask, other=0).to(tl.float32)
        b_logit += tl.sum(b_w2 * h[:, None], 0)
    tl.store(gate + i_n * C + c, tl.sigmoid(b_logit), m_c)


@triton.jit
def mlp_gradient_kernel(
    part, gate, pooled, w1, b1, w2, dlogit, hidden, dpooled,
    C, R, P, N, SPLITS,
    HAS_B1: tl.constexpr, BLOCK_S: tl.constexpr, BLOCK_R: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """Through the gate and the MLP: dlogit [N, C]; dpooled [2, N, C], the average's over P.

    hidden [3, N, R]: the sum of both hidden vectors, and the gradient of each before its ReLU.
    One program a sample. Reads 4 SPLITS C + 8 R C + 12 C bytes a sample, writes 12 (C + R).
    """
    i_n = tl.program_id(0).to(tl.int64)
    c = tl.arange(0, BLOCK_C)
    m_c = c < C
    b_dgate = joined(part, i_n, c, m_c, C, SPLITS, BLOCK_S, BLOCK_C)
    b_gate = tl.load(gate + i_n * C + c, m_c, other=0)
    b_dl = b_dgate * b_gate * (1 - b_gate)
    tl.store(dlogit + i_n * C + c, b_dl, m_c)
    b_avg = tl.load(pooled + i_n * C + c, m_c, other=0)
    b_max = tl.load(pooled + (N + i_n) * C + c, m_c, other=0)
    d_avg = tl.zeros([BLOCK_C], tl.float32)
    d_max = tl.zeros([BLOCK_C], tl.float32)
    for r0 in range(0, R, BLOCK_R):
        r = r0 + tl.arange(0, BLOCK_R)
        m_r = r < R
        mask = m_r[:, None] & m_c[None, :]
        b_w1 = tl.load(w1 + r[:, None] * C + c[None, :], mask, other=0).to(tl.float32)
        h_avg = tl.sum(b_w1 * b_avg[None, :], 1)
        h_max = tl.sum(b_w1 * b_max[None, :], 1)
        if HAS_B1:
            b_b1 = tl.load(b1 + r, m_r, other=0).to(tl.float32)
            h_avg += b_b1
            h_max += b_b1
        b_w2 = tl.load(w2 + c[None, :] * R + r[:, None], mask, other=0).to(tl.float32)
        dh = tl.where(m_r, tl.sum(b_w2 * b_dl[None, :], 1), 0.0)
        dh_avg = tl.where(h_avg <= 0, 0.0, dh)
        dh_max = tl.where(h_max <= 0, 0.0, dh)
        h = tl.where(h_avg < 0, 0.0, h_avg) + tl.where(h_max < 0, 0.0, h_max)
        tl.store(hidden + i_n * R + r, h, m_r)
        tl.store(hidden + (N + i_n) * R + r, dh_avg, m_r)
        tl.store(hidden + (2 * N + i_n) * R + r, dh_max, m_r)
        d_avg += tl.sum(b_w1 * dh_avg[:, None], 0)
        d_max += tl.sum(b_w1 * dh_max[:, None], 0)
    tl.store(dpooled + i_n * C + c, d_avg / P, m_c)
    tl.store(dpooled + (N + i_n) * C + c, d_max, m_c)


@triton.jit
def mlp_weight_gradient_kernel(
    dlogit, hidden, pooled, dw1, db1, dw2, db2, C, R, N,
    BLOCK_C: tl.constexpr, BLOCK_R: tl.constexpr,
):  # fmt: skip
    """dw1 [R, C], db1 [R], dw2 [C, R], db2 [C]: sums over the batch, in order.

    One program a (block of channels, block of hidden units). Reads 12 N (C + R) bytes, writes
    8 R C + 4 (C + R).
    """
    c = tl.program_id(0) * BLOCK_C + tl.arange(0, BLOCK_C)
    r = tl.program_id(1) * BLOCK_R + tl.arange(0, BLOCK_R)
    m_c = c < C
    m_r = r < R
    d1 = tl.zeros([BLOCK_R, BLOCK_C], tl.float32)
    d2 = tl.zeros([BLOCK_R, BLOCK_C], tl.float32)
    d1_bias = tl.zeros([BLOCK_R], tl.float32)
    d2_bias = tl.zeros([BLOCK_C], tl.float32)
    for i in tl.range(N, loop_unroll_factor=4):
        b_dl = tl.load(dlogit + i * C + c, m_c, other=0)
        b_avg = tl.load(pooled + i * C + c, m_c, other=0)
        b_max = tl.load(pooled + (N + i) * C + c, m_c, other=0)
        h = tl.load(hidden + i * R + r, m_r, other=0)
        dh_avg = tl.load(hidden + (N + i) * R + r, m_r, other=0)
        dh_max = tl.load(hidden + (2 * N + i) * R + r, m_r, other=0)
        d1 += dh_avg[:, None] * b_avg[None, :] + dh_max[:, None] * b_max[None, :]
        d2 += h[:, None] * b_dl[None, :]
        d1_bias += dh_avg + dh_max
        d2_bias += 2 * b_dl
    mask = m_r[:, None] & m_c[None, :]
    tl.store(dw1 + r[:, None] * C + c[None, :], d1, mask)
    tl.store(dw2 + c[None, :] * R + r[:, None], d2, mask)
    if tl.program_id(0) == 0:
        tl.store(db1 + r, d1_bias, m_r)
    if tl.program_id(1) == 0:
        tl.store(db2 + c, d2_bias, m_c)


@triton.jit
def spatial_logit_kernel(
    maps, weight, bias, logit, part,
    H, W, P, P_BLOCKS,
    KERNEL: tl.constexpr, HAS_BIAS: tl.constexpr, MOMENTS: tl.constexpr, BLOCK_P: tl.constexpr,
):  # fmt: skip
    """KERNEL x KERNEL convolution of the two maps [N, 2, P] with weight [2, KERNEL, KERNEL].

    With MOMENTS also the count, mean and sum of squared deviations of each program's logits,
    part [3, programs]. One program a (sample, block of pixels). Reads 8 bytes a pixel, writes 4.
    """
    pid = tl.program_id(0)
    i_n, p, m_p = pixels_of(pid, P, P_BLOCKS, BLOCK_P)
    h = p // W
    w = p % W
    p_maps = maps + i_n * 2 * P + p
    acc = tl.zeros([BLOCK_P], tl.float32)
    for i in range(KERNEL):
        dh = i - KERNEL // 2
        m_h = m_p & (h + dh >= 0) & (h + dh < H)
        for j in tl.static_range(KERNEL):
            dw = j - KERNEL // 2
            mask = m_h & (w + dw >= 0) & (w + dw < W)
            b_max = tl.load(p_maps + dh * W + dw, mask, other=0)
            b_mean = tl.load(p_maps + P + dh * W + dw, mask, other=0)
            tap = weight + i * KERNEL + j
            acc += b_max * tl.load(tap).to(tl.float32)
            acc += b_mean * tl.load(tap + KERNEL * KERNEL).to(tl.float32)
    if HAS_BIAS:
        acc += tl.load(bias).to(tl.float32)
    tl.store(logit + i_n * P + p, acc, m_p)
    if MOMENTS:
        total = tl.num_programs(0)
        count = tl.sum(m_p.to(tl.float32))
        mean = tl.sum(tl.where(m_p, acc, 0.0)) / count
        off = tl.where(m_p, acc - mean, 0.0)
        tl.store(part + pid, count)
        tl.store(part + total + pid, mean)
        tl.store(part + 2 * total + pid, tl.sum(off * off))


@triton.jit
def logit_norm_kernel(
    part, running_mean, running_var, weight, bias, stats, PARTS, eps, momentum,
    BATCH_STATS: tl.constexpr, BLEND: tl.constexpr, UPDATE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Batch norm of the one-channel logits: stats = scale, shift, mean, 1 / deviation, variance.

    With BLEND two more: the running mean and variance with the batch's blended in; with UPDATE
    these are also written where they were read. Partial moments are joined by Chan's formula: no
    difference of large squares. One program. Reads 20 PARTS bytes, writes 28.
    """
    if BATCH_STATS:
        lane = tl.arange(0, BLOCK)
        count = tl.zeros([BLOCK], tl.float32)
        total = tl.zeros([BLOCK], tl.float32)
        for i in range(0, PARTS, BLOCK):
            mask = i + lane < PARTS
            b_count = tl.load(part + i + lane, mask, other=0)
            count += b_count
            total += b_count * tl.load(part + PARTS + i + lane, mask, other=0)
        n = tl.sum(count)
        mean = tl.sum(total) / n
        squares = tl.zeros([BLOCK], tl.float32)
        for i in range(0, PARTS, BLOCK):
            mask = i + lane < PARTS
            b_count = tl.load(part + i + lane, mask, other=0)
            off = tl.load(part + PARTS + i + lane, mask, other=0) - mean
            squares += tl.load(part + 2 * PARTS + i + lane, mask, other=0)
            squares += tl.where(mask, b_count * off * off, 0.0)
        square = tl.sum(squares)
        var = square / n
        if BLEND:
            r_mean = tl.load(running_mean).to(tl.float32)
            r_var = tl.load(running_var).to(tl.float32)
            r_mean += momentum * (mean - r_mean)
            r_var += momentum * (square / (n - 1) - r_var)
            tl.store(stats + 5, r_mean)
            tl.store(stats + 6, r_var)
            if UPDATE:
                tl.store(running_mean, r_mean)
                tl.store(running_var, r_var)
    else:
        mean = tl.load(running_mean).to(tl.float32)
        var = tl.load(running_var).to(tl.float32)
    rstd = 1.0 / tl.sqrt(var + eps)
    scale = tl.load(weight).to(tl.float32) * rstd
    tl.store(stats, scale)
    tl.store(stats + 1, tl.load(bias).to(tl.float32) - mean * scale)
    tl.store(stats + 2, mean)
    tl.store(stats + 3, rstd)
    tl.store(stats + 4, var)


@triton.jit
def norm_gradient_kernel(
    part, weight, stats, coefficients, dweight, dbias, PARTS, COUNT,
    BATCH_STATS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Sums over the batch for the spatial norm: its two gradients, and what `norm_input` needs.

    coefficients: weight / deviation, mean of dz, mean of dz * normalised logit (the means are 0
    where the statistics were given). One program. Reads 8 PARTS bytes, writes 20.
    """
    lane = tl.arange(0, BLOCK)
    total = tl.zeros([BLOCK], tl.float32)
    product = tl.zeros([BLOCK], tl.float32)
    for i in range(0, PARTS, BLOCK):
        mask = i + lane < PARTS
        total += tl.load(part + i + lane, mask, other=0)
        product += tl.load(part + PARTS + i + lane, mask, other=0)
    b_total = tl.sum(total)
    b_product = tl.sum(product)
    tl.store(dbias, b_total)
    tl.store(dweight, b_product)
    tl.store(coefficients, tl.load(weight).to(tl.float32) * tl.load(stats + 3))
    if BATCH_STATS:
        tl.store(coefficients + 1, b_total / COUNT)
        tl.store(coefficients + 2, b_product / COUNT)
    else:
        tl.store(coefficients + 1, 0.0)
        tl.store(coefficients + 2, 0.0)


@triton.jit
def norm_input(b_dz, p_logit, mask, stats, coefficients):
    """dL of the normalised logits from dz."""
    b_logit = tl.load(p_logit, mask, other=0)
    b_hat = (b_logit - tl.load(stats + 2)) * tl.load(stats + 3)
    b_off = b_dz - tl.load(coefficients + 1) - b_hat * tl.load(coefficients + 2)
    return tl.where(mask, b_off * tl.load(coefficients), 0.0)


@triton.jit
def maps_gradient_kernel(
    dz, logit, stats, coefficients, weight, dmaps,
    C, H, W, P, P_BLOCKS,
    KERNEL: tl.constexpr, NORM: tl.constexpr, BLOCK_P: tl.constexpr,
):  # fmt: skip
    """dmaps [N, 2, P] = transposed convolution of dL; the mean's is divided by C already.

    One program a (sample, block of pixels). Reads 4 bytes a pixel (8 with NORM), writes 8.
    """
    i_n, p, m_p = pixels_of(tl.program_id(0), P, P_BLOCKS, BLOCK_P)
    h = p // W
    w = p % W
    d_max = tl.zeros([BLOCK_P], tl.float32)
    d_mean = tl.zeros([BLOCK_P], tl.float32)
    for i in range(KERNEL):
        dh = KERNEL // 2 - i
        m_h = m_p & (h + dh >= 0) & (h + dh < H)
        for j in tl.static_range(KERNEL):
            dw = KERNEL // 2 - j
            mask = m_h & (w + dw >= 0) & (w + dw < W)
            o_q = i_n * P + p + (dh * W + dw)
            b_dl = tl.load(dz + o_q, mask, other=0)
            if NORM:
                b_dl = norm_input(b_dl, logit + o_q, mask, stats, coefficients)
            tap = weight + i * KERNEL + j
            d_max += b_dl * tl.load(tap).to(tl.float32)
            d_mean += b_dl * tl.load(tap + KERNEL * KERNEL).to(tl.float32)
    tl.store(dmaps + i_n * 2 * P + p, d_max, m_p)
    tl.store(dmaps + (i_n * 2 + 1) * P + p, d_mean / C, m_p)


@triton.jit
def conv_weight_gradient_kernel(
    dz, logit, stats, coefficients, maps, part,
    H, W, P, P_BLOCKS,
    KERNEL: tl.constexpr, NORM: tl.constexpr, BLOCK_P: tl.constexpr,
):  # fmt: skip
    """Partial gradients of the 2 * KERNEL^2 taps and, last, of the bias: part [programs, taps + 1].

    One program, of one warp, a (sample, block of pixels). Reads 12 bytes a pixel (16 with NORM).
    """
    pid = tl.program_id(0)
    i_n, p, m_p = pixels_of(pid, P, P_BLOCKS, BLOCK_P)
    h = p // W
    w = p % W
    b_dl = tl.load(dz + i_n * P + p, m_p, other=0)
    if NORM:
        b_dl = norm_input(b_dl, logit + i_n * P + p, m_p, stats, coefficients)
    p_maps = maps + i_n * 2 * P + p
    p_part = part + pid.to(tl.int64) * (2 * KERNEL * KERNEL + 1)
    for i in range(KERNEL):
        dh = i - KERNEL // 2
        m_h = m_p & (h + dh >= 0) & (h + dh < H)
        for j in tl.static_range(KERNEL):
            dw = j - KERNEL // 2
            mask = m_h & (w + dw >= 0) & (w + dw < W)
            b_max = tl.load(p_maps + dh * W + dw, mask, other=0)
            b_mean = tl.load(p_maps + P + dh * W + dw, mask, other=0)
            p_tap = p_part + i * KERNEL + j
            tl.store(p_tap, tl.sum(b_max * b_dl))
            tl.store(p_tap + KERNEL * KERNEL, tl.sum(b_mean * b_dl))
    tl.store(p_part + 2 * KERNEL * KERNEL, tl.sum(b_dl))


@triton.jit
def conv_weight_join_kernel(
    part, dweight, dbias, PARTS, KERNEL: tl.constexpr, BLOCK: tl.constexpr
):  # fmt: skip
    """Sum `conv_weight_gradient_kernel`'s parts in order. One program every 16 taps.

    Reads 4 PARTS (2 KERNEL^2 + 1) bytes.
    """
    tap = tl.program_id(0) * 16 + tl.arange(0, 16)
    LAST: tl.constexpr = 2 * KERNEL * KERNEL
    acc = tl.zeros([BLOCK, 16], tl.float32)
    for i in range(0, PARTS, BLOCK):
        row = i + tl.arange(0, BLOCK)
        mask = (row < PARTS)[:, None] & (tap <= LAST)[None, :]
        acc += tl.load(part + row.to(tl.int64)[:, None] * (LAST + 1) + tap[None, :], mask, other=0)
    total = tl.sum(acc, 0)
    tl.store(dweight + tap, total, tap < LAST)
    tl.store(dbias + tap - LAST, total, tap == LAST)
