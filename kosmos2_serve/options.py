"""Options of the server."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from kosmos2_core.errors import InputError

MIB = 1 << 20


@dataclass(frozen=True)
class ServeOptions:
    """Limits and features of the server.

    Args:
        token: Clients must send it as a bearer token; None: they need none.
        records: Folder for training records; None: none are saved.
        local_only: Only answer requests that name this machine as `localhost` or by a loopback address, so
            that no web page reaches the server by a DNS name of its own.
        max_body_bytes: Longest body of a request.
        body_timeout_s: A body that takes longer is refused.
        max_memory_bytes: Most bytes of bodies and decoded images of all requests together.
        max_text_bytes: Longest text of a request, in bytes of UTF-8.
        max_phrases: Most phrases that a request may ask for.
        max_tokens: Longest answer that a request may ask for.
        max_queue: Most requests that wait or are answered; further ones get status 429.
        max_batch: Most requests that are computed together.
        batch_wait_s: How long an idle model waits for further requests to compute together.
        rate_hz: Requests per second that an address may send in the long run; 0: any number.
        burst: Requests that an address may send at once before its rate counts.
        timeout_s: Time of a request that states none.
        max_timeout_s: Most time that a request may state.
        cached_images: How many images keep their encoding for further requests about them.
        cached_bytes: Most bytes that these images occupy.

    Raises:
        InputError: A value is out of range.
    """

    token: str | None = field(default=None, repr=False)
    records: Path | None = None
    local_only: bool = False
    max_body_bytes: int = 32 * MIB
    body_timeout_s: float = 20.0
    max_memory_bytes: int = 1024 * MIB
    max_text_bytes: int = 4096
    max_phrases: int = 32
    max_tokens: int = 512
    max_queue: int = 64
    max_batch: int = 16
    batch_wait_s: float = 0.004
    rate_hz: float = 0.0
    burst: int = 20
    timeout_s: float = 30.0
    max_timeout_s: float = 120.0
    cached_images: int = 64
    cached_bytes: int = 256 * MIB

    def __post_init__(self) -> None:
        for name in ("max_body_bytes", "max_memory_bytes", "max_text_bytes", "max_phrases", "max_tokens"):
            self._check(name, 1)
        for name in ("max_queue", "max_batch", "burst"):
            self._check(name, 1)
        for name in ("batch_wait_s", "rate_hz", "cached_images", "cached_bytes"):
            self._check(name, 0)
        for name in ("body_timeout_s", "timeout_s", "max_timeout_s"):
            self._check(name, 0.01)
        if self.token is not None and len(self.token) < 8:
            raise InputError("the token has fewer than 8 characters: choose a longer one.")

    def _check(self, name: str, least: float) -> None:
        value = getattr(self, name)
        if not least <= value < float("inf"):  # NaN fails too
            raise InputError(f"{name} is {value}: it must be at least {least}.")
