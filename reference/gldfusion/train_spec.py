"""The settings of the optimisation, which are the key `train` of a recipe."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from gldfusion.settings import Model


class OnPolicy(Model):
    """Responses that the pivot writes while it is trained, for the distillation terms; see `gldfusion.on_policy`."""

    every: int = Field(gt=0)
    """steps between two times at which the pivot writes responses to the prompts of the coming steps"""
    max_tokens: int = Field(gt=0)
    """most tokens of a response"""
    temperature: float = Field(default=1.0, gt=0)
    """temperature at which the responses are sampled"""


class Lora(Model):
    """Low-rank adapters, which are trained instead of the pivot's weights; see `gldfusion.lora`."""

    rank: int = Field(default=16, gt=0)
    """rank r of the two factors of each adapter"""
    alpha: float = Field(default=32.0, gt=0)
    """an adapter adds alpha / rank times the product of its factors to its matrix"""
    target_modules: Literal["all-linear"] | Annotated[tuple[str, ...], Field(min_length=1)] = "all-linear"
    """which matrices get an adapter: names of modules, such as `[q_proj, v_proj]`. `all-linear`: every linear layer
    but the output layer"""
    quantization: Literal["none", "nf4"] = "none"
    """how the pivot's own weights are held in memory: `nf4` in 4 bits (QLoRA), which needs the package bitsandbytes"""
    export: Literal["merged", "adapter"] = "merged"
    """what the output holds: `merged`, the pivot with the adapters added to its weights; `adapter`, the adapters alone,
    as peft reads them"""


LATER = frozenset(
    {"epochs", "packing", "attention", "log_every", "evaluate_every", "kernel", "on_policy"}
    | {"weights", "gradient_checkpointing", "lora"}
)
"""keys of `TrainSpec` that older runs do not know"""


class TrainSpec(Model):
    """Settings of the optimisation. Dropout is always off."""

    steps: int | None = Field(default=None, gt=0)
    """number of optimizer steps. Either this or `epochs` must be given; `steps_of` computes it from `epochs`"""
    epochs: float | None = Field(default=None, gt=0)
    """how often the examples are read, instead of `steps`"""
    batch_size: int = Field(gt=0)
    """sequences per optimizer step, over all processes together"""
    micro_batch_size: int | None = Field(default=None, gt=0)
    """sequences per forward pass of one process. Default: all that the process has in a step"""
    packing: bool = True
    """put several texts in one row of a forward pass, so that rows need little padding. A model that gives other
    outputs for packed texts is padded all the same. The result changes by rounding only"""
    attention: Literal["eager", "sdpa", "flex_attention", "flash_attention_2", "flash_attention_3"] | None = None
    """how transformers computes the attention of the pivot. Default: its own choice, which is `sdpa` for most models"""
    learning_rate: float = Field(gt=0)
    """largest learning rate, reached after the warm-up"""
    warmup: float = Field(default=0.05, ge=0, le=1)
    """length of the linear warm-up, as a share of the steps"""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """course of the learning rate after the warm-up: down to 0 along a half cosine or a line, or constant"""
    weight_decay: float = Field(default=0.0, ge=0)
    """applies to matrices only, not to norms and biases"""
    betas: tuple[float, float] = (0.9, 0.95)
    """decay rates of AdamW; sgd ignores them"""
    max_grad_norm: float = Field(default=1.0, gt=0)
    """a gradient with a larger norm is scaled down to this norm"""
    optimizer: Literal["adamw", "sgd", "adamw_8bit"] = "adamw"
    """`adamw_8bit` is AdamW of torchao: its two moments take one byte each for a parameter, where `adamw` takes four"""
    seed: int = 0
    """determines the order of the examples and the draws of the controls"""
    max_length: int = Field(default=4096, gt=1)
    """largest number of tokens of an example, prompt and response together. Longer examples are cut at the end; the
    training totals say how many"""
    precision: Literal["no", "bf16"] = "no"
    """autocast of the forward pass. It changes neither the type of the weights nor that of the losses (float32)"""
    weights: Literal["float32", "bfloat16"] = "float32"
    """type of the pivot's weights in memory. Trained `bfloat16` weights need `optimizer: adamw_8bit`, which rounds them
    at random: rounding to the nearest number would lose small updates. Adapters of `lora` are float32 in both cases"""
    gradient_checkpointing: bool = False
    """keep only the inputs of the pivot's layers for the backward pass, and compute the layers again there. This takes
    less memory and more time, and does not change the result"""
    lora: Lora | None = None
    """train low-rank adapters instead of the pivot's weights. Default: train all weights"""
    kernel: Literal["auto", "chunked", "triton"] = "auto"
    """implementation of the output layer and its loss; `topk_cross_entropy` says what `auto` chooses"""
    save_every: int = Field(default=500, gt=0)
    """steps between saved training states, from which an interrupted fusion resumes"""
    probe_every: int = Field(default=0, ge=0)
    """steps between two measurements of each term's share of the gradient. 0 turns them off"""
    log_every: int = Field(default=10, gt=0)
    """steps between two lines on standard error"""
    evaluate_every: int = Field(default=0, ge=0)
    """steps between two evaluations of the pivot; it is also evaluated after the last step. 0 turns them off"""
    on_policy: OnPolicy | None = None
    """the distillation terms read responses that the pivot writes itself. Default: those of the data. Needs live
    sources, one process, and a `save_every` that is a multiple of `on_policy.every`"""

    @model_serializer(mode="wrap")
    def _as_before(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leaves out later keys that have their defaults: stored runs and worlds are found by this text."""
        return {
            name: value
            for name, value in handler(self).items()
            if name not in LATER or value != type(self).model_fields[name].default
        }

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if (self.steps is None) == (self.epochs is None):
            raise ValueError("train needs either `steps` or `epochs`, and not both")
        return self

    @model_validator(mode="after")
    def _small_updates_survive(self) -> Self:
        if self.weights == "bfloat16" and self.lora is None and self.optimizer != "adamw_8bit":
            raise ValueError(
                f"{self.optimizer} rounds updates of bfloat16 weights to the nearest number, which loses small ones: "
                "set train.optimizer: adamw_8bit, or remove train.weights, or train adapters with train.lora"
            )
        return self
