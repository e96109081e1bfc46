"""The Triton kernels under Triton's interpreter, float32 only: its bfloat16 products are wrong without an error.

Run by test_kernels_triton.py in a process of its own: TRITON_INTERPRET must be set before Triton is imported.
"""

from __future__ import annotations

import pytest
import torch

from gldbench.benches.equality import CASES, Case, differences, fused, results
from gldfusion.errors import InputError
from gldfusion.kernels import topk_cross_entropy
from gldfusion.kernels.output_layer import MAX_TRITON_K
from gldfusion.kernels.triton_gpu import TritonTiles

TILES = TritonTiles(rows=16, columns=48, block_n=16, block_v=16, block_h=16, parts=3)


@pytest.mark.parametrize("name", CASES)
def test_equal_to_naive(name: str) -> None:
    case = CASES[name]
    found = differences(fused(TILES), case, torch.float32, torch.float64)
    assert found.pop("ids") == 0
    assert max(found.values()) < 1e-5, found


def test_ids_of_ties_cross_tiles_and_parts() -> None:
    case = Case(positions=20, width=2, entries=190, k=9, levels=2)
    for parts in (1, 2, 5):
        tiles = TritonTiles(rows=16, columns=48, block_n=16, block_v=16, block_h=16, parts=parts)
        assert differences(fused(tiles), case, torch.float32)["ids"] == 0


def test_results_are_the_same_every_time() -> None:
    first, again = (results(fused(TILES), CASES["odd sizes"], torch.float32) for _ in range(2))
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_what_the_kernels_do_not_take() -> None:
    hidden, weight, _, labels = Case(entries=200).tensors(torch.float32)
    with pytest.raises(InputError, match=f"at most {MAX_TRITON_K}"):
        topk_cross_entropy(hidden, weight, labels, MAX_TRITON_K + 1, impl="triton")
    with pytest.raises(InputError, match="float32 or half precision"):
        topk_cross_entropy(hidden.double(), weight.double(), labels, 2, impl="triton")
