"""The Triton kernels: interpreted, compiled for a Hopper GPU that need not be there, and on a GPU."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from gldbench.benches.equality import CASES, USES, Case, differences, fused
from gldfusion.errors import InputError
from gldfusion.kernels import topk_cross_entropy
from gldfusion.kernels.chunked import Chunked
from gldfusion.kernels.dispatch import require_kernel

pytest.importorskip("triton", reason="triton is not installed")
HALVES = [torch.bfloat16, torch.float16]
SHARED_MEMORY = 227 * 1024
"""bytes that a block of threads may use on compute capability 9.0"""


@pytest.mark.slow
def test_under_the_interpreter() -> None:
    """The cases of interpreted_kernels.py."""
    script = Path(__file__).with_name("interpreted_kernels.py")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(script)]
    done = subprocess.run(
        command,
        env=os.environ | {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"},
        cwd=script.parents[2],
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]


def test_the_cpu_is_refused() -> None:
    hidden, weight, _, labels = Case().tensors(torch.float32)
    with pytest.raises(InputError, match=r"run on a CUDA device.*\n.*chunked"):
        topk_cross_entropy(hidden, weight, labels, 2, impl="triton")


def test_what_a_recipe_may_ask_of_triton() -> None:
    """These checks need no GPU: they look at the name of the device."""
    require_kernel("triton", torch.device("cuda"), 10)
    require_kernel("chunked", torch.device("cpu"), None)
    for device, k, message in (("cpu", 10, "a CUDA device"), ("cuda", 200, "k = 200"), ("cuda", None, "whole vocab")):
        with pytest.raises(InputError, match=message):
            require_kernel("triton", torch.device(device), k)


def _compiled(name: str, dtype: str, options: dict[str, Any], number: int = 3) -> Any:
    """A kernel's binary for compute capability 9.0, with the tile sizes `number` of HOPPER."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from gldfusion.kernels import triton_kernels
    from gldfusion.kernels.triton_gpu import HOPPER

    kernel, tiles = getattr(triton_kernels, name), HOPPER[number]
    special = {"x_ptr": f"*{dtype}", "w_ptr": f"*{dtype}", "out_ptr": f"*{dtype}", "b_ptr": f"*{dtype}"}
    special |= {"labels_ptr": "*i64", "single_ptr": "*i64", "ids_ptr": "*i32", "scale": "fp32", "softcap": "fp32"}
    signature = {
        argument: "constexpr"
        if argument.isupper()
        else special.get(argument, "*fp32" if argument.endswith("_ptr") else "i32")
        for argument in kernel.arg_names
    }
    sizes = {"SLOTS": 16, **tiles.kwargs}
    constants = {key: value for key, value in (sizes | options).items() if key in kernel.arg_names}
    aligned = {
        (at,): [["tt.divisibility", 16]]
        for at, argument in enumerate(kernel.arg_names)
        if argument.endswith("_ptr") or argument == "h"
    }
    source = ASTSource(kernel, signature, constants, aligned)
    settings = {"num_warps": tiles.num_warps, "num_stages": tiles.num_stages}
    return triton.compile(source, target=GPUTarget("cuda", 90, 32), options=settings)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:TRITON_DEFAULT_FP_FUSION")
@pytest.mark.parametrize("options", [(False, False, True), (True, True, False)], ids=["bare", "bias, cap, odd width"])
@pytest.mark.parametrize("name", ["sweep_kernel", "gradient_kernel"])
def test_compiles_for_hopper_without_a_gpu(
    name: str, options: tuple[bool, bool, bool], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    compiled = _compiled(name, "bf16", dict(zip(("HAS_BIAS", "HAS_CAP", "EVEN"), options, strict=True)))
    assert compiled.asm["cubin"][:4] == b"\x7fELF"
    assert ".target sm_90a" in compiled.asm["ptx"]
    assert "wgmma.mma_async" in compiled.asm["ptx"]  # the tensor cores of Hopper, not the older path
    assert compiled.metadata.shared <= SHARED_MEMORY


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:TRITON_DEFAULT_FP_FUSION")
@pytest.mark.parametrize("number", [0, 1])  # the largest tiles
@pytest.mark.parametrize("name", ["sweep_kernel", "gradient_kernel"])
def test_the_largest_tiles_fit_hopper(name: str, number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    compiled = _compiled(name, "bf16", {"HAS_BIAS": False, "HAS_CAP": False, "EVEN": True}, number)
    assert "wgmma.mma_async" in compiled.asm["ptx"]
    assert compiled.metadata.shared <= SHARED_MEMORY


def test_the_part_of_a_program_fits_every_tile_size() -> None:
    from gldfusion.kernels.triton_gpu import HOPPER, WIDEST, TritonTiles

    assert max(config.kwargs["BLOCK_V"] for config in HOPPER) == WIDEST
    x = torch.zeros(300, 8)
    for entries in (5000, 151_936, 100):
        assert TritonTiles(tuned=True, parts=3)._share(x, entries) % WIDEST == 0


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", HALVES)
def test_chunked_multiplies_halves_on_tensor_cores(dtype: torch.dtype, cuda: str) -> None:
    """Outputs as exact as float32 sums of the same rounded numbers; gradients as du in half precision."""
    case = Case(positions=300, width=512, entries=5000, k=16, padding=64, scale=0.1)
    for use in USES:
        found = differences(fused(Chunked.on(torch.device(cuda)), use), case, dtype, torch.float64, cuda)
        gradients = {field: found.pop(field) for field in list(found) if field.startswith("d ")}
        assert found.pop("ids") <= 2  # near ties
        assert max(found.values()) < 1e-4, found
        assert max(gradients.values()) < 4 * torch.finfo(dtype).eps, gradients


@pytest.fixture
def cuda() -> str:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    return "cuda"


@pytest.mark.gpu
@pytest.mark.parametrize("name", CASES)
def test_float32_on_a_gpu(name: str, cuda: str) -> None:
    from gldfusion.kernels.triton_gpu import TritonTiles

    found = differences(fused(TritonTiles(rows=16, columns=48)), CASES[name], torch.float32, torch.float64, cuda)
    assert found.pop("ids") == 0
    assert max(found.values()) < 1e-4, found


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("softcap", [None, 5.0])
def test_half_precision_on_a_gpu(dtype: torch.dtype, softcap: float | None, cuda: str) -> None:
    """Against float64 on the same rounded numbers: outputs as exact as float32, gradients as du in half precision."""
    from gldfusion.kernels.triton_gpu import TritonTiles

    case = Case(positions=300, width=512, entries=5000, k=16, padding=64, scale=0.1, softcap=softcap)
    found = differences(fused(TritonTiles()), case, dtype, torch.float64, cuda)
    gradients = {field: found.pop(field) for field in list(found) if field.startswith("d ")}
    assert found.pop("ids") <= 2  # near ties
    assert max(found.values()) < 1e-4, found
    assert max(gradients.values()) < 4 * torch.finfo(dtype).eps, gradients


@pytest.mark.gpu
def test_memory_on_a_gpu(cuda: str) -> None:
    """The second call is measured: in the first, the tuner takes memory of its own."""
    random = torch.Generator(cuda).manual_seed(0)
    hidden = torch.randn(4096, 1024, device=cuda, generator=random).bfloat16().requires_grad_()
    weight = torch.randn(100_352, 1024, device=cuda, generator=random).bfloat16().requires_grad_()
    labels = torch.zeros(4096, dtype=torch.long, device=cuda)
    for _ in range(2):
        hidden.grad = weight.grad = None
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        topk_cross_entropy(hidden, weight, labels, 16, impl="triton").nll.mean().backward()
    beyond = torch.cuda.max_memory_allocated() - before - 2 * (hidden.numel() + weight.numel())
    assert beyond < 4096 * 100_352 * 4 / 10
