"""Fusion at decoding time: the logits of the pivot are shifted by what specialists learned beyond their bases.

Fan et al., On Giant's Shoulders: Effortless Weak to Strong by Dynamic Logits Fusion (2024), arXiv:2406.15480. The
formula is in `generate.logits_fusion`. Nothing is trained: the result is a folder that names the models, and every
token that it writes costs one run of each of them.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from gldbench.methods.method import TRAINING_KEYS, Inputs, Method
from gldbench.methods.weights import CARD, Cost, merged_names, provenance
from gldbench.spec import MethodSpec, Spec, models_of
from gldfusion.errors import InputError
from gldfusion.files import write_json
from gldfusion.manifest import sealed_dir
from gldfusion.progress import Progress
from gldfusion.recipe import Model


class DynamicLogitsFusionOptions(Model):
    """Options of `dynamic_logits_fusion`."""

    largest: float = Field(default=2.0, gt=0)
    """the largest factor alpha of a shift"""
    points: int = Field(default=10, gt=0)
    """number of factors above 0 that are tried for each expert, evenly spaced up to `largest`; 0 is always tried too"""
    one_at_a_time: bool = False
    """let only one expert act at each step. Otherwise every combination of factors is tried: (`points` + 1) to the
    power of the number of experts"""


MOST = 5000
"""the largest number of combinations that are tried at each step"""


def experts_of(spec: Spec, method: MethodSpec) -> list[tuple[str, str]]:
    """Names of each expert and its base.

    Raises:
        InputError: there is no expert, or one has no base.
    """
    names = merged_names(spec, method)
    if not names:
        raise InputError(
            "dynamic_logits_fusion needs at least one expert, and the world has no specialist with a base\n"
            "give the world a specialist with a `base`, or name an expert in `sources`"
        )
    pairs = []
    for name in names:
        base = models_of(spec.world)[name].base
        if base is None:
            raise InputError(
                f"{name} was not trained from a base, so nothing says what it learned beyond it\n"
                "name experts that have a `base` in the world"
            )
        pairs.append((name, base))
    return pairs


def check(spec: Spec, method: MethodSpec) -> None:
    """Checks that there are experts with bases, and that the search over their factors can be finished.

    Raises:
        InputError: there are not, or it cannot.
    """
    experts, options = experts_of(spec, method), DynamicLogitsFusionOptions.model_validate(method.options)
    combinations = (options.points + 1) ** len(experts)
    if combinations > MOST and not options.one_at_a_time:
        raise InputError(
            f"{combinations} combinations of factors would be tried at each step, at most {MOST} are allowed\n"
            "set options.one_at_a_time to true, or options.points to a smaller number"
        )


def inputs(spec: Spec, method: MethodSpec) -> Inputs:
    """The pivot, the experts and their bases."""
    pairs = experts_of(spec, method)
    return Inputs(models=tuple(dict.fromkeys(["pivot", *(name for pair in pairs for name in pair)])))


def make_mix(
    spec: Spec, method: MethodSpec, world: Path, data: Path, seed: int, output: Path, progress: Progress
) -> Path:
    """Writes the folder that names the models. It reads no data, so all seeds give the same model."""
    from gldbench.generate.mix import Expert, Mix, part_of, write_mix
    from gldfusion.model import load_tokenizer, vocabulary_hash

    cost, pairs = Cost(), experts_of(spec, method)
    options = DynamicLogitsFusionOptions.model_validate(method.options)
    names = inputs(spec, method).models
    folders = {name: world / "models" / name for name in names}
    vocabularies = {name: vocabulary_hash(load_tokenizer(path)) for name, path in folders.items()}
    for name in names:
        if vocabularies[name] != vocabularies["pivot"]:
            raise InputError(
                f"{name} and the pivot have different vocabularies, so their logits cannot be added\n"
                "mix models that start from one base with the pivot's tokenizer"
            )
    parts = {name: part_of(output, path) for name, path in folders.items()}
    mix = Mix(
        method="dynamic_logits_fusion",
        pivot=parts["pivot"],
        experts=tuple(Expert(tuned=parts[tuned], base=parts[base]) for tuned, base in pairs),
        alphas=tuple(options.largest * point / options.points for point in range(1, options.points + 1)),
        one_at_a_time=options.one_at_a_time,
    )
    listed = ", ".join(f"`{tuned}` beyond `{base}`" for tuned, base in pairs)
    how = f"A mix by Dynamic Logits Fusion (arXiv:2406.15480): the logits of `pivot`, shifted by {listed}."
    with sealed_dir(output) as folder:
        write_mix(folder, mix)
        write_json(folder / "fusion.json", provenance({"kind": method.kind} | options.model_dump(mode="json"), folders))
        write_json(folder / "training_totals.json", cost.totals(inference_models=len(mix.parts)))
        (folder / "training_log.jsonl").write_text("")
        (folder / "README.md").write_text(CARD.format(name=output.name, how=how))
    progress(1, 1)
    return output


METHOD = Method(make=make_mix, inputs=inputs, options=DynamicLogitsFusionOptions, check=check, unread=TRAINING_KEYS)
