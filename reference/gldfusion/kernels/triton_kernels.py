"""The two Triton kernels. `triton_gpu` launches them and explains what they do."""

# pyright: reportMissingImports=false, reportOperatorIssue=false, reportCallIssue=false, reportArgumentType=false
# (Triton compiles these functions itself, and its type annotations do not describe what they may contain)

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _logits(
    x_ptr, w_ptr, b_ptr, rows, columns, n, v, h, scale, softcap,
    HAS_BIAS: tl.constexpr, HAS_CAP: tl.constexpr, EVEN: tl.constexpr,
    BLOCK_N: tl.constexpr, BLOCK_V: tl.constexpr, BLOCK_H: tl.constexpr,
):  # fmt: skip
    """Computes a float32 tile of logits. Rows and columns past the end repeat the last one."""
    x_rows = x_ptr + tl.minimum(rows, n - 1).to(tl.int64)[:, None] * h
    w_rows = w_ptr + tl.minimum(columns, v - 1).to(tl.int64)[None, :] * h
    z = tl.zeros((BLOCK_N, BLOCK_V), dtype=tl.float32)
    for start in range(0, h, BLOCK_H):
        d = start + tl.arange(0, BLOCK_H)
        if EVEN:
            x, w = tl.load(x_rows + d[None, :]), tl.load(w_rows + d[:, None])
        else:
            x = tl.load(x_rows + d[None, :], mask=d[None, :] < h, other=0.0)
            w = tl.load(w_rows + d[:, None], mask=d[:, None] < h, other=0.0)
        z = tl.dot(x, w, z, input_precision="ieee")
    if HAS_BIAS:
        z += tl.load(b_ptr + tl.minimum(columns, v - 1))[None, :].to(tl.float32)
    z *= scale
    if HAS_CAP:
        decay = tl.exp(-2.0 * tl.abs(z) / softcap)  # a tanh that cannot overflow
        z = softcap * tl.where(z < 0, -1.0, 1.0) * (1.0 - decay) / (1.0 + decay)
    return z


@triton.jit
def sweep_kernel(
    x_ptr, w_ptr, b_ptr, labels_ptr, statistics_ptr, values_ptr, ids_ptr,
    n, v, h, k, share, scale, softcap,
    HAS_BIAS: tl.constexpr, HAS_CAP: tl.constexpr, EVEN: tl.constexpr, SLOTS: tl.constexpr,
    BLOCK_N: tl.constexpr, BLOCK_V: tl.constexpr, BLOCK_H: tl.constexpr,
):  # fmt: skip
    """Statistics and the k largest logits of BLOCK_N rows over `share` vocabulary entries (a multiple of BLOCK_V)."""
    rows = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
    part, parts = tl.program_id(1), tl.num_programs(1)
    slots, lanes = tl.arange(0, SLOTS), tl.arange(0, BLOCK_V)
    labels = tl.load(labels_ptr + tl.minimum(rows, n - 1))
    # slots past k hold +inf, so they are never the smallest; empty slots have different ids, so one is filled at a time
    values = tl.where(slots[None, :] < k, float("-inf"), float("inf")) + tl.zeros((BLOCK_N, SLOTS), tl.float32)
    ids = 2147483647 - slots[None, :] + tl.zeros((BLOCK_N, SLOTS), tl.int32)
    top = tl.full((BLOCK_N,), float("-inf"), tl.float32)
    total = tl.zeros((BLOCK_N,), tl.float32)
    mean = tl.zeros((BLOCK_N,), tl.float32)
    squares = tl.zeros((BLOCK_N,), tl.float32)
    picked = tl.zeros((BLOCK_N,), tl.float32)
    seen = 0.0
    for first in range(part * share, tl.minimum(v, (part + 1) * share), BLOCK_V):
        columns = first + lanes
        z = _logits(
            x_ptr, w_ptr, b_ptr, rows, columns, n, v, h, scale, softcap,
            HAS_BIAS, HAS_CAP, EVEN, BLOCK_N, BLOCK_V, BLOCK_H,
        )  # fmt: skip
        inside = (columns < v)[None, :]
        count = tl.minimum(BLOCK_V, v - first).to(tl.float32)
        tile_mean = tl.sum(tl.where(inside, z, 0.0), 1) / count
        away = tl.where(inside, z - tile_mean[:, None], 0.0)
        step = tile_mean - mean  # Chan's merge of two means and sums of squares
        squares += tl.sum(away * away, 1) + step * step * (seen * count / (seen + count))
        mean += step * (count / (seen + count))
        seen += count
        picked += tl.sum(tl.where(columns[None, :] == labels[:, None], z, 0.0), 1)
        z = tl.where(inside, z, float("-inf"))
        best, at = tl.max(z, 1, return_indices=True)  # of equal logits the first
        higher = tl.maximum(top, best)
        total = total * tl.exp(top - higher) + tl.sum(tl.exp(z - higher[:, None]), 1)
        top = higher
        least = tl.min(values, 1)
        while tl.max((best > least).to(tl.int32), 0) > 0:
            newest = tl.max(tl.where(values == least[:, None], ids, -1), 1)  # of equal values the highest id leaves
            better = (best > least)[:, None]
            slot = (ids == newest[:, None]) & better
            values = tl.where(slot, best[:, None], values)
            ids = tl.where(slot, (first + at)[:, None], ids)
            z = tl.where((lanes[None, :] == at[:, None]) & better, float("-inf"), z)
            best, at = tl.max(z, 1, return_indices=True)
            least = tl.min(values, 1)
    real = rows < n
    out = statistics_ptr + part * n + rows
    tl.store(out, top, mask=real)
    tl.store(out + parts * n, total, mask=real)
    tl.store(out + 2 * parts * n, mean, mask=real)
    tl.store(out + 3 * parts * n, squares, mask=real)
    tl.store(out + 4 * parts * n, picked, mask=real)
    kept = real[:, None] & (slots[None, :] < k)
    place = (rows.to(tl.int64)[:, None] * parts + part) * k + slots[None, :]
    tl.store(values_ptr + place, values, mask=kept)
    tl.store(ids_ptr + place, ids, mask=kept)


@triton.jit
def gradient_kernel(
    x_ptr, w_ptr, b_ptr, lse_ptr, soft_ptr, mean_ptr, spread_ptr, shift_ptr, single_ptr, amounts_ptr, out_ptr,
    n, c, h, singles, scale, softcap,
    HAS_BIAS: tl.constexpr, HAS_CAP: tl.constexpr, EVEN: tl.constexpr,
    BLOCK_N: tl.constexpr, BLOCK_V: tl.constexpr, BLOCK_H: tl.constexpr,
):  # fmt: skip
    """du [n, c] by the equation in `fused`.

    `single_ptr` holds columns of this block; a column below 0 or from c on lies in another block.
    """
    rows = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
    columns = tl.program_id(1) * BLOCK_V + tl.arange(0, BLOCK_V)
    z = _logits(
        x_ptr, w_ptr, b_ptr, rows, columns, n, c, h, scale, softcap,
        HAS_BIAS, HAS_CAP, EVEN, BLOCK_N, BLOCK_V, BLOCK_H,
    )  # fmt: skip
    real = rows < n
    lse = tl.load(lse_ptr + rows, mask=real, other=float("inf"))  # exp cannot overflow in rows past the end
    soft = tl.load(soft_ptr + rows, mask=real, other=0.0)
    mean, spread = tl.load(mean_ptr + rows, mask=real, other=0.0), tl.load(spread_ptr + rows, mask=real, other=0.0)
    shift = tl.load(shift_ptr + rows, mask=real, other=0.0)
    du = tl.exp(z - lse[:, None]) * soft[:, None] + (z - mean[:, None]) * spread[:, None] + shift[:, None]
    low = tl.program_id(1) * BLOCK_V
    for j in range(singles):
        at = tl.load(single_ptr + rows * singles + j, mask=real, other=-1)
        if tl.max(((at >= low) & (at < low + BLOCK_V)).to(tl.int32), 0) > 0:
            amount = tl.load(amounts_ptr + rows * singles + j, mask=real, other=0.0)
            du += tl.where(columns[None, :] == at[:, None], amount[:, None], 0.0)
    if HAS_CAP:
        du *= 1.0 - (z / softcap) * (z / softcap)
    du *= scale
    place = out_ptr + rows.to(tl.int64)[:, None] * c + columns[None, :]
    tl.store(place, du.to(out_ptr.dtype.element_ty), mask=real[:, None] & (columns < c)[None, :])
