"""Silences libraries that write progress and messages to standard error; our own commands report progress."""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterator
from contextlib import contextmanager

import datasets
import lm_eval.api.task
from transformers.utils import logging as transformers_logging


@contextmanager
def quiet() -> Iterator[None]:
    """Hides progress bars of transformers, datasets and lm-eval, and lm-eval's messages below the level of errors."""
    logger, bar = logging.getLogger("lm_eval"), lm_eval.api.task.tqdm
    level, bars = logger.level, transformers_logging.is_progress_bar_enabled()
    logger.setLevel(logging.ERROR)
    rows = datasets.are_progress_bars_disabled()
    transformers_logging.disable_progress_bar()
    datasets.disable_progress_bars()
    lm_eval.api.task.tqdm = functools.partial(bar, disable=True)
    try:
        yield
    finally:
        lm_eval.api.task.tqdm = bar
        logger.setLevel(level)
        if bars:
            transformers_logging.enable_progress_bar()
        if not rows:
            datasets.enable_progress_bars()
