"""A served model, GGUF files among them, as lm-evaluation-harness asks one: from exact logits."""

from collections.abc import Sequence
from typing import Any

from qcourse.common import QCourseError


class Served:
    """What the harness calls on a model; each request holds its texts in `args`."""

    def __init__(self, server: Any, tokenizer: Any) -> None:
        super().__init__()
        self.server, self.tokenizer = server, tokenizer

    def loglikelihood(self, requests: Sequence[Any], **_: Any) -> list[tuple[float, bool]]:
        """Return each continuation's log-probability after its context, and whether it is the greedy one."""
        return [self.scored(*self.encoded(*request.args)) for request in requests]

    def encoded(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
        """Return the ids of both, cut where the context's own ids end; spaces go with the continuation."""
        bare = context.rstrip()
        whole = self.tokenizer(context + continuation).input_ids
        start = self.tokenizer(bare).input_ids
        return start or [self.tokenizer.eos_token_id], whole[len(start) :]

    def scored(self, start: list[int], row: list[int]) -> tuple[float, bool]:
        """Return the log-probability of the ids `row` after `start`, and whether each is the likeliest."""
        import torch

        logits = self.server.logits(torch.tensor([start + row]))[0, len(start) - 1 : -1]
        ids = torch.tensor(row)
        found = logits.double().log_softmax(-1).gather(-1, ids[:, None]).sum()
        return float(found), bool((logits.argmax(-1) == ids).all())

    def loglikelihood_rolling(self, requests: Sequence[Any], **_: Any) -> list[float]:
        """Refuse: the yardstick measures perplexity over windows itself."""
        raise QCourseError("perplexity tasks run on folders only; qcourse eval without --tasks measures it")

    def generate_until(self, requests: Sequence[Any], **_: Any) -> list[str]:
        """Return the greedy continuation of each prompt, which ends before the first of its stop texts."""
        answers = []
        for prompt, settings in (request.args for request in requests):
            stop = settings.get("until") or []
            stop = [stop] if isinstance(stop, str) else list(stop)
            body = {"prompt": prompt, "max_tokens": settings.get("max_gen_toks", 256), "temperature": 0}
            said = self.server.post("/v1/completions", model=self.server.model, stop=stop[:4], **body).json()
            text = said["choices"][0]["text"]
            answers.append(min((text.split(word)[0] for word in stop if word), key=len, default=text))
        return answers

    def apply_chat_template(self, chat_history: list[dict], add_generation_prompt: bool = True) -> str:
        """Return a conversation as the prompt that the model was trained on."""
        return self.tokenizer.apply_chat_template(chat_history, tokenize=False,
                                                  add_generation_prompt=add_generation_prompt)  # fmt: skip

    @property
    def tokenizer_name(self) -> str:
        """What the harness keeps with results of a chat template."""
        return self.tokenizer.name_or_path

    def chat_template(self, chat_template: Any = False) -> str:
        """Return the template that prompts pass through."""
        return self.tokenizer.chat_template or ""


def of_server(server: Any, tokenizer: Any) -> Any:
    """Return a served model as the harness's own kind of model."""
    from lm_eval.api.model import LM

    return type("ServedLM", (Served, LM), {})(server, tokenizer)
