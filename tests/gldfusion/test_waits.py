"""How often a training step would wait for a GPU. Counted on the CPU, in the code that runs on a device."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from gldbench.benches import steps
from gldbench.benches.steps import StepSize, make_batch, make_loss, make_model
from gldfusion.kernels import chunked, dispatch, early, largest
from gldfusion.model import SignalModel

SIZE = StepSize(sequences=2, length=12, width=64, layers=1, vocabulary=400, k=4)
READS = {
    *("_local_scalar_dense", "nonzero", "masked_select", "is_nonzero", "equal"),
    *("unique_dim", "_unique2", "unique_consecutive", "bincount"),
}
"""operators whose result, or its size, is read on the host"""


class Waits(TorchDispatchMode):
    """Counts the operators for which the host would wait for a device, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if name in READS:
            self.found[name] += 1
        indices = args[1] if name.startswith("index") and len(args) > 1 else ()
        if isinstance(indices, list | tuple) and any(getattr(i, "dtype", None) == torch.bool for i in indices):
            self.found[f"{name} by a mask"] += 1
        return func(*args, **(kwargs or {}))


@pytest.fixture
def as_on_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (largest, chunked, early, dispatch):
        monkeypatch.setattr(module, "on_host", lambda tensor: False)


def waits(terms: Mapping[str, Any], change: Callable[[SignalModel], None] = lambda model: None) -> Counter[str]:
    """The waits of one forward and backward pass, without those of the language model itself."""
    batch, loss = make_batch(SIZE), make_loss(SIZE, terms)
    model = SignalModel(make_model(SIZE), SIZE.k, loss.needs, "chunked")
    change(model)
    counts = loss.counts([batch])
    base: Any = model.model.base_model
    hidden = base(input_ids=batch.inputs.input_ids, attention_mask=batch.inputs.attention_mask, use_cache=False)
    base.forward = lambda **_: hidden
    with Waits() as counted:
        torch.stack(loss.values(model(batch.inputs), batch.sources, counts)).sum().backward()
    return counted.found


@pytest.mark.usefixtures("as_on_a_device")
@pytest.mark.parametrize("name", [name for name in steps.TERMS if name != "naive"])
def test_a_step_waits_for_nothing(name: str) -> None:
    assert waits(steps.TERMS[name]) == Counter()


@pytest.mark.usefixtures("as_on_a_device")
def test_a_wait_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: the search for ties, and a selection by a mask."""
    monkeypatch.setattr(largest, "on_host", lambda tensor: True)
    assert waits({})["_local_scalar_dense"] > 0

    def by_mask(model: SignalModel) -> None:
        real = model.forward
        model.forward = lambda inputs: real(replace(inputs, slots=None))  # type: ignore[method-assign]

    assert waits({}, by_mask)["nonzero"] > 0
