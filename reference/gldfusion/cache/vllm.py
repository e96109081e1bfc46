"""A source behind a vLLM server: its logprobs through the OpenAI-compatible interface (`prompt_logprobs`)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from gldfusion.cache.answers import Place
from gldfusion.errors import InputError
from gldfusion.reading import one_line, plain_line

AT_ONCE = 16
"""requests that are sent before the first one is answered. The server runs them together"""
SECONDS = 600
"""after which a request is given up"""


@dataclass(frozen=True)
class VllmServer:
    """A server that `vllm serve MODEL --max-logprobs K` started."""

    url: str
    """its address, for example http://host:8000"""
    k: int
    """logprobs to ask for at each place"""
    model: str = field(init=False)
    """name of the model, as the server tells it"""

    def __post_init__(self) -> None:
        served = self._call("/v1/models", None)
        try:
            object.__setattr__(self, "model", str(served["data"][0]["id"]))
        except (KeyError, IndexError, TypeError):
            raise self._strange(served) from None

    def ask(self, texts: Sequence[Sequence[int]]) -> list[Sequence[Place | None]]:
        """See `answers.Answers.ask`."""
        with ThreadPoolExecutor(AT_ONCE) as pool:
            return list(pool.map(self._ask, texts))

    def _ask(self, ids: Sequence[int]) -> Sequence[Place | None]:
        """Asks for one text. The server must write a token too, which is not read."""
        asked = {"model": self.model, "prompt": list(ids), "max_tokens": 1, "temperature": 0, "prompt_logprobs": self.k}
        said = self._call("/v1/completions", asked)
        try:
            places = said["choices"][0]["prompt_logprobs"]
        except (KeyError, IndexError, TypeError):
            raise self._strange(said) from None
        if not isinstance(places, list):
            raise self._strange(said)
        return places

    def _call(self, path: str, body: Any) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = Request(self.url.rstrip("/").removesuffix("/v1") + path, data, {"Content-Type": "application/json"})
        try:
            with urlopen(request, timeout=SECONDS) as answer:
                return json.load(answer)
        except HTTPError as error:
            said = one_line(error.read().decode(errors="replace"), 200)
            raise InputError(
                f"the server {self.url} refuses {path} ({error.code}): {said}\n"
                f"start it with `--max-logprobs {self.k}` and a context that holds max_length tokens and one more"
            ) from None
        except (URLError, OSError) as error:
            raise InputError(
                f"the server {self.url} does not answer: {plain_line(getattr(error, 'reason', error))}\n"
                f"start it with `vllm serve MODEL --max-logprobs {self.k}`; what was stored is kept"
            ) from None
        except ValueError:
            raise InputError(
                f"the server {self.url} answers {path} with something else than JSON\nname a vLLM server"
            ) from None

    def _strange(self, said: Any) -> InputError:
        return InputError(
            f"the server {self.url} answers in another form than vLLM: {one_line(json.dumps(said), 160)}\n"
            "name a vLLM server whose version knows prompt_logprobs"
        )
