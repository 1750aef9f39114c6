"""What the kernels share on the device: where a program works, and how it reads and writes a tile.

Names, here and in every kernel: b_ a block of values, p_ pointers, o_ offsets, m_ a mask, i_ a
program's index. A tensor of x's size is [N, C, P] with P = H * W and strides over sample, channel
and pixel, of which one of the last two is 1. All arithmetic is in float32.
"""

from .launch import tl, triton


@triton.jit
def chunk_of(pid, C, C_BLOCKS, CHUNK, SPLITS, BLOCK_C: tl.constexpr):
    """Sample, chunk of pixels, its first pixel, block of channels and their mask of a program."""
    i_s = pid % SPLITS
    i_c = pid // SPLITS % C_BLOCKS
    i_n = (pid // SPLITS // C_BLOCKS).to(tl.int64)
    c = i_c * BLOCK_C + tl.arange(0, BLOCK_C)
    m_c = c < C
    return i_n, i_s, i_s * CHUNK, c, m_c


@triton.jit
def pixels_of(pid, P, P_BLOCKS, BLOCK_P: tl.constexpr):
    """Sample, block of pixels and their mask of a program that has every channel of them."""
    p = pid % P_BLOCKS * BLOCK_P + tl.arange(0, BLOCK_P)
    i_n = (pid // P_BLOCKS).to(tl.int64)
    return i_n, p, p < P


@triton.jit
def pointers_to(x, i_n, first, c, stride_n, stride_c, stride_p):
    """Pointers to the first of a program's pixels in each of its channels, in 64 bits."""
    return x + i_n * stride_n + first.to(tl.int64) * stride_p + c.to(tl.int64) * stride_c


@triton.jit
def load_tile(p_x, lane, stride_p, mask):
    """A block [channels, pixels] of a tensor, 0 outside."""
    return tl.load(p_x[:, None] + (lane * stride_p)[None, :], mask, other=0).to(tl.float32)


@triton.jit
def prologue_of(scale, shift, c, m_c, PROLOGUE: tl.constexpr):
    """Scale and shift of a block of channels; 1 and 0 without a prologue."""
    if PROLOGUE:
        b_scale = tl.load(scale + c, m_c, other=0).to(tl.float32)[:, None]
        b_shift = tl.load(shift + c, m_c, other=0).to(tl.float32)[:, None]
    else:
        b_scale, b_shift = 1.0, 0.0
    return b_scale, b_shift


@triton.jit
def scaled(b_x, mask, b_scale, b_shift, PROLOGUE: tl.constexpr):
    """A block of a tensor behind its prologue, x * scale + shift; 0 outside."""
    if PROLOGUE:
        b_x = tl.where(mask, b_x * b_scale + b_shift, 0.0)
    return b_x


@triton.jit
def store_tile(p_y, lane, stride_p, b_y, mask):
    """Write a block of a result: what is still to be read is wanted from L2, this is not."""
    tl.store(
        p_y[:, None] + (lane * stride_p)[None, :], b_y.to(p_y.dtype.element_ty), mask,
        eviction_policy="evict_first",
    )  # fmt: skip


@triton.jit
def joined(part, i_n, c, m_c, C, SPLITS, BLOCK_S: tl.constexpr, BLOCK_C: tl.constexpr):
    """A sample's sums over chunks of pixels, part [N, SPLITS, C], added up."""
    b_sum = tl.zeros([BLOCK_C], tl.float32)
    for s0 in range(0, SPLITS, BLOCK_S):
        s = s0 + tl.arange(0, BLOCK_S)
        o_part = (i_n * SPLITS + s)[:, None] * C + c[None, :]
        m_part = (s < SPLITS)[:, None] & m_c[None, :]
        b_sum += tl.sum(tl.load(part + o_part, m_part, other=0), 0)
    return b_sum


@triton.jit
def prologue_join_kernel(part, out, C, ROWS, BLOCK_S: tl.constexpr, BLOCK_C: tl.constexpr):
    """Gradients of prologues, out [K, C]: sums of part [K, ROWS, C] over its rows, in order.

    One program a (block of channels, k). Reads 4 ROWS C bytes a k.
    """
    i_k = tl.program_id(1).to(tl.int64)
    c = tl.program_id(0) * BLOCK_C + tl.arange(0, BLOCK_C)
    m_c = c < C
    b_sum = joined(part, i_k, c, m_c, C, ROWS, BLOCK_S, BLOCK_C)
    tl.store(out + i_k * C + c, b_sum, m_c)
