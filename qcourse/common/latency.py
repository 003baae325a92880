"""The times of one batch size, the same fields for a model in memory and for a server."""

from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Latency:
    """Medians at one batch size; of a server's streams, HTTP included.

    ttft: seconds from the prompt to the first token (the prefill); tpot: seconds per further token
    of one sequence; prefill and decode: tokens a second over the whole batch.
    """

    batch: int
    prompt_tokens: int
    new_tokens: int
    ttft: float
    tpot: float
    prefill_tokens_per_second: float
    decode_tokens_per_second: float

    @classmethod
    def of(cls, batch: int, prompt_tokens: int, new_tokens: int, ttft: float, tpot: float) -> "Latency":
        """Return the two times, in seconds, of sequences that ran together, with their rates."""
        return cls(batch, prompt_tokens, new_tokens, ttft, tpot, batch * prompt_tokens / ttft, batch / tpot)

    def asdict(self) -> dict:
        """Return the fields as a dict."""
        return asdict(self)
