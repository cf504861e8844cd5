"""Counts and times of the server, in the format of Prometheus."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)

disable_created_metrics()  # type: ignore[no-untyped-call]

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
SIZES = (1, 2, 4, 8, 16, 32, 64)


class ServeMetrics:
    """The metrics of a server.

    Args:
        waiting: Returns the number of requests that no batch has taken.
    """

    def __init__(self, waiting: Callable[[], int] = lambda: 0) -> None:
        self.registry = CollectorRegistry()

        def counter(name: str, about: str, *labels: str) -> Counter:
            return Counter(f"kosmos2_{name}", about, labels, registry=self.registry)

        def histogram(name: str, about: str, label: str, buckets: tuple[float, ...]) -> Histogram:
            return Histogram(f"kosmos2_{name}", about, (label,), buckets=buckets, registry=self.registry)

        self.requests = counter(
            "requests", "Requests that ended; 499: the client left before.", "endpoint", "status"
        )
        self.seconds = histogram(
            "request_seconds",
            "Time from a request's first byte to the end of its answer.",
            "endpoint",
            SECONDS,
        )
        self.batches = histogram("batch_size", "Requests that were computed together.", "kind", SIZES)
        self.encoded = counter("images_encoded", "Images that went through the vision tower.")
        self.cache_hits = counter("image_cache_hits", "Requests whose image needed no encoding of its own.")
        self.tokens = counter("tokens", "Tokens that were generated.")
        self.running = Gauge(
            "kosmos2_requests_running", "Requests that have not ended.", registry=self.registry
        )
        Gauge(
            "kosmos2_queue_length", "Requests that no batch has taken.", registry=self.registry
        ).set_function(lambda: float(self.waiting()))
        self.waiting = waiting

    def text(self) -> bytes:
        """Return all metrics in Prometheus's text format."""
        return generate_latest(self.registry)
