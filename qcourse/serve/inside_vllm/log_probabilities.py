"""A page of vLLM's server, added by --middleware: all log-probabilities of a prompt as float32 bytes.

POST /log_probabilities {"model": name, "tokens": [ids]} answers [T - 1, V] in this machine's byte order:
what the engine predicts after each token but the last. They are the numbers of /v1/completions with
prompt_logprobs=-1, which sends them as text: 75 MB and four seconds of one core for 256 tokens of a
vocabulary of 4,096.
"""

import os
import secrets
from typing import Any
from uuid import uuid4

import numpy as np
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from vllm import SamplingParams, TokensPrompt

PATH = "/log_probabilities"


class LogProbabilities:
    """Answers its own page and hands every other request on."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: dict, receive: Any, send: Any) -> None:
        """Answer one request."""
        if scope["type"] != "http" or scope["path"] != PATH:
            await self.app(scope, receive, send)
            return
        if not allowed(Request(scope).headers.get("Authorization", "")):
            await JSONResponse({"error": {"message": "wrong API key"}}, 401)(scope, receive, send)
            return
        body = await Request(scope, receive).json()
        try:
            table = await log_probabilities(scope["app"].state, body["model"], body["tokens"])
            answer = Response(table.tobytes(), media_type="application/octet-stream")
        except (ValueError, KeyError, TypeError) as error:
            answer = JSONResponse({"error": {"message": f"{type(error).__name__}: {error}"}}, 400)
        await answer(scope, receive, send)


def allowed(header: str) -> bool:
    """Return whether a request brings the server's key; vLLM itself guards only its own pages."""
    key = os.environ.get("VLLM_API_KEY", "")
    return not key or secrets.compare_digest(header.encode(), f"Bearer {key}".encode())


async def log_probabilities(state: Any, model: str, tokens: list[int]) -> np.ndarray:
    """Return float32 [T - 1, V] of a prompt of T tokens, by the base model or the adapter of that name."""
    adapter = state.openai_serving_models.lora_requests.get(model)
    sampling = SamplingParams(max_tokens=1, temperature=0, prompt_logprobs=-1, detokenize=False,
                              flat_logprobs=True)  # fmt: skip
    prompt = TokensPrompt(prompt_token_ids=tokens)
    found: Any = None
    async for output in state.engine_client.generate(prompt, sampling, str(uuid4()), lora_request=adapter):
        found = output.prompt_logprobs or found
    return dense(np.array(found.token_ids), np.array(found.logprobs, np.float32), len(tokens) - 1)


def dense(ids: np.ndarray, values: np.ndarray, positions: int) -> np.ndarray:
    """Return [positions, V] in order of token ids; the prompt's own next token comes twice in each row."""
    ids, values = ids.reshape(positions, -1), values.reshape(positions, -1)
    table = np.full((positions, ids.max() + 1), np.nan, np.float32)
    np.put_along_axis(table, ids, values, axis=1)
    return table
