"""The configurations of `accelerate launch`, read by Accelerate's own parser; what DeepSpeed may be asked for."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils import DeepSpeedPlugin, DistributedType
from accelerate.utils.launch import prepare_multi_gpu_env

from gldfusion import fuse as loop
from gldfusion.errors import InputError
from gldfusion.launch import fit_deepspeed
from gldfusion.recipe import Recipe, TrainSpec
from gldfusion.sharding import Sharding, asked_sharding

FOLDER = Path(loop.__file__).parent / "recipes" / "accelerate"
TRAIN = TrainSpec(steps=1, batch_size=8, learning_rate=0.1)


def test_every_file_is_named_here_and_says_that_it_was_not_run() -> None:
    found = {path.name for path in FOLDER.iterdir()}
    assert found == {"fsdp2-1-node.yaml", "fsdp2-4-nodes.yaml", "deepspeed-zero2.yaml"}
    assert all("NOT RUN" in (FOLDER / name).read_text() for name in found)


@pytest.mark.parametrize(("name", "machines"), [("fsdp2-1-node.yaml", 1), ("fsdp2-4-nodes.yaml", 4)])
def test_the_launcher_asks_for_fsdp2(name: str, machines: int, monkeypatch: pytest.MonkeyPatch) -> None:
    command = ["--config_file", str(FOLDER / name), "--machine_rank", "0", "--main_process_ip", "host"]
    arguments, *_ = _validate_launch_command(
        launch_command_parser().parse_args([*command, "-m", "gldbench.cli", "fuse", "recipe.yaml"])
    )
    assert (arguments.num_machines, arguments.num_processes) == (machines, 8 * machines)
    variables = prepare_multi_gpu_env(arguments)
    assert variables["ACCELERATE_MIXED_PRECISION"] == "no"
    for variable, value in variables.items():
        if variable.startswith(("FSDP_", "ACCELERATE_")):
            monkeypatch.setenv(variable, value)
    assert asked_sharding() == Sharding(reshard=True, offload=False)


def test_deepspeed_is_asked_for_stage_2() -> None:
    config: Any = load_config_from_file(str(FOLDER / "deepspeed-zero2.yaml"))
    assert config.distributed_type == DistributedType.DEEPSPEED
    given = {name: value for name, value in config.deepspeed_config.items() if name in DEEPSPEED_FIELDS}
    assert given.keys() == config.deepspeed_config.keys()
    plugin = DeepSpeedPlugin(**given)
    fit_deepspeed(plugin.deepspeed_config, TRAIN)
    assert plugin.deepspeed_config["zero_optimization"]["stage"] == 2
    assert plugin.deepspeed_config["gradient_clipping"] == TRAIN.max_grad_norm
    assert plugin.deepspeed_config["train_micro_batch_size_per_gpu"] == 1


DEEPSPEED_FIELDS = set(DeepSpeedPlugin.__dataclass_fields__)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"gradient_accumulation_steps": 4}, "gradient_accumulation_steps 4, which would divide every gradient"),
        ({"zero_optimization": {"stage": 3}}, "stage 3 of ZeRO, which hides the matrix of the output layer"),
        ({"gradient_clipping": 0.5}, "gradient_clipping 0.5, the recipe for max_grad_norm 1\n"),
    ],
)
def test_what_deepspeed_may_not_be_asked_for(config: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        fit_deepspeed(config, TRAIN)


def test_deepspeed_would_step_after_the_last_micro_batch_only(
    make_recipe: Callable[..., Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its engine steps in the backward pass in which Accelerate says that gradients are synchronised."""
    said: list[bool] = []
    backward = loop.Accelerator.backward

    def noted(self: Any, loss: Any, **named: Any) -> None:
        said.append(self.sync_gradients)
        backward(self, loss, **named)

    monkeypatch.setattr(loop.Accelerator, "backward", noted)
    loop.fuse(make_recipe(steps=2, batch_size=3, micro_batch_size=1), tmp_path / "out")
    assert said == [False, False, True] * 2
    assert "DS_" not in "".join(os.environ)
