"""A server's own counters, read from its Prometheus page."""

from dataclasses import dataclass
from typing import Any

import httpx

from qcourse.common import QCourseError
from qcourse.serve.keys import headers


@dataclass(frozen=True)
class Metrics:
    """All samples of one moment: what prometheus_client parses, with name, labels and value."""

    samples: list[Any]

    def value(self, name: str) -> float:
        """Return the sum of a metric over its labels; QCourseError if the server has no such metric."""
        found = [sample.value for sample in self.samples if sample.name == name]
        if not found:
            raise QCourseError(f"the server reports no {name}; it reports {len(self.samples)} other samples")
        return sum(found)

    def labels(self, name: str) -> dict[str, str]:
        """Return the labels of a metric's first sample, where engines put their settings."""
        for sample in self.samples:
            if sample.name == name:
                return sample.labels
        raise QCourseError(f"the server reports no {name}; it is no vLLM, or one of another version")

    def mean(self, name: str) -> float:
        """Return sum / count of a histogram, such as vllm:time_to_first_token_seconds; nan if it is empty."""
        count = self.value(f"{name}_count")
        return self.value(f"{name}_sum") / count if count else float("nan")


def metrics(url: str, api_key: str | None = None) -> Metrics:
    """Return what a server reports at /metrics; QCourseError if it does not answer with Prometheus text.

    api_key: default QCOURSE_API_KEY; vLLM shows this page without.
    """
    page = url.rstrip("/").removesuffix("/v1") + "/metrics"
    try:
        answer = httpx.get(page, timeout=10, headers=headers(api_key))
        answer.raise_for_status()
        return parse(answer.text)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise QCourseError(f"{page} gives no metrics: {error}; is the server running?") from error


def parse(text: str) -> Metrics:
    """Return the samples of Prometheus text; QCourseError for text of another kind."""
    from prometheus_client.parser import text_string_to_metric_families

    try:
        families = list(text_string_to_metric_families(text))
    except ValueError as error:
        raise QCourseError(f"the metrics page is no Prometheus text: {error}") from error
    return Metrics([sample for family in families for sample in family.samples])
