"""The outermost layer of the application: counts every request, and refuses what must not come further in.

It holds the limits on the body's size and time, on the rate, and on who may ask, and turns every error into
JSON. Nothing below it sees more of a body than it may have.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import math
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, MutableMapping
from ipaddress import ip_address
from typing import Any

from kosmos2_core.errors import DiskError, InputError, Kosmos2Error, TooLongError
from kosmos2_serve.errors import HttpError, cancelled_error
from kosmos2_serve.metrics import ServeMetrics
from kosmos2_serve.options import ServeOptions
from kosmos2_serve.wire import TOO_LONG

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

OPEN_PATHS = ("/healthz", "/readyz")  # answered without a token and at any rate, for supervisors
GUARDED = ("/v1/", "/metrics")  # what a token protects; the page itself holds no secret
MAX_ADDRESSES = 10_000  # whose rates are remembered
SECURITY_HEADERS = [
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:;"
        b" media-src 'self' blob:; connect-src 'self'; form-action 'none'; base-uri 'none';"
        b" frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
]

log = logging.getLogger("kosmos2.serve")


class RateLimit:
    """Counts the requests of each address: a bucket that fills at the rate and holds a burst.

    Args:
        rate_hz: Requests per second in the long run; 0: any number.
        burst: Requests at once.
    """

    def __init__(self, rate_hz: float, burst: int) -> None:
        self._rate_hz, self._burst = rate_hz, burst
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # requests left, when

    def check(self, address: str) -> None:
        """Count a request.

        Raises:
            HttpError: The address has sent too many.
        """
        if not self._rate_hz:
            return
        now_s = time.monotonic()
        left, then_s = self._buckets.pop(address, (float(self._burst), now_s))
        left = min(left + (now_s - then_s) * self._rate_hz, self._burst)
        allowed = left >= 1
        self._buckets[address] = (left - 1 if allowed else left, now_s)
        if len(self._buckets) > MAX_ADDRESSES:
            self._buckets.popitem(last=False)
        if not allowed:
            wait_s = math.ceil((1 - left) / self._rate_hz)
            raise HttpError(
                429,
                f"this address sends more than {self._rate_hz:g} requests per second: wait {wait_s} s.",
                "rate_limit",
                wait_s,
            )


class RequestGuard:
    """Wraps the application.

    Args:
        application: The application.
        options: Limits.
        metrics: Counts the requests.
        endpoints: The paths that metrics name; all others are counted together.
    """

    def __init__(
        self,
        application: Application,
        options: ServeOptions,
        metrics: ServeMetrics,
        endpoints: frozenset[str],
    ) -> None:
        self._application, self._options, self._metrics = application, options, metrics
        self._endpoints = endpoints
        self._rate = RateLimit(options.rate_hz, options.burst)

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._application(scope, receive, send)
            return
        path = scope["path"]
        endpoint = path if path in self._endpoints else "other"
        response = _Response(send)
        began_s = time.monotonic()
        status = 500
        self._metrics.running.inc()
        try:
            self._check(scope, path)
            await self._application(scope, _BodyLimit(scope, receive, self._options).receive, response.send)
            status = response.status or 500
        except asyncio.CancelledError:
            status = 503
            raise
        except Exception as error:  # the edge of the server
            refused = http_error(error)
            status = refused.status
            if not response.status and status != 499:
                await send_error(response.send, refused)
        finally:
            self._metrics.running.dec()
            self._metrics.requests.labels(endpoint, str(status)).inc()
            self._metrics.seconds.labels(endpoint).observe(time.monotonic() - began_s)

    def _check(self, scope: MutableMapping[str, Any], path: str) -> None:
        headers = {
            name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]
        }
        if path in OPEN_PATHS:
            return
        if self._options.local_only and not is_loopback_host(headers.get("host", "")):
            raise HttpError(
                403,
                "the server answers only requests to localhost: start it with --host and a token for others.",
            )
        self._rate.check((scope.get("client") or ("", 0))[0])
        if self._options.token is not None and path.startswith(GUARDED):
            self._check_token(headers.get("authorization", ""))
        if scope["method"] == "POST":
            content_type = headers.get("content-type", "").partition(";")[0].strip().lower()
            if content_type != "application/json":  # other types need no permission from a foreign page
                raise HttpError(
                    415, "the body must be JSON: send the header `Content-Type: application/json`."
                )
        if headers.get("content-encoding", "identity") != "identity":
            raise HttpError(415, "a compressed body is not read: send it without Content-Encoding.")

    def _check_token(self, authorization: str) -> None:
        scheme, _, token = authorization.partition(" ")
        expected = (self._options.token or "").encode()
        given = token.strip().encode("latin-1", "replace")
        if not (hmac.compare_digest(given, expected) and scheme.lower() == "bearer"):
            raise HttpError(
                401,
                "the token is missing or wrong: send the header `Authorization: Bearer TOKEN`.",
                "invalid_api_key",
            )


class _Response:
    """Adds headers to an answer and notes its status."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status = 0

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            present = {name for name, _ in message["headers"]}
            added = [header for header in SECURITY_HEADERS if header[0] not in present]
            message = {**message, "headers": [*message["headers"], *added]}
        await self._send(message)


class _BodyLimit:
    """Passes a body on, and refuses it when it is too long or takes too long."""

    def __init__(self, scope: MutableMapping[str, Any], receive: Receive, options: ServeOptions) -> None:
        self._receive, self._options = receive, options
        self._count = 0
        self._complete = False
        self._end_s = time.monotonic() + options.body_timeout_s
        stated = [value for name, value in scope["headers"] if name.lower() == b"content-length"]
        self._stated = int(stated[0]) if stated and stated[0].isdigit() else 0

    async def receive(self) -> Message:
        if self._complete:
            return await self._receive()
        if self._stated > self._options.max_body_bytes:
            raise self._too_long()
        try:
            message = await asyncio.wait_for(self._receive(), max(self._end_s - time.monotonic(), 0))
        except TimeoutError:
            raise HttpError(
                408, f"the body took longer than {self._options.body_timeout_s:g} s: send it faster."
            ) from None
        if message["type"] == "http.disconnect":
            raise cancelled_error()
        self._count += len(message.get("body", b""))
        self._complete = not message.get("more_body", False)
        if self._count > self._options.max_body_bytes:
            raise self._too_long()
        return message

    def _too_long(self) -> HttpError:
        most = self._options.max_body_bytes
        return HttpError(413, f"the body is longer than {most / 1e6:.0f} MB: send a smaller image.")


def http_error(error: Exception) -> HttpError:
    """Return the error that a client gets. The text of an unexpected one goes only into the log."""
    if isinstance(error, HttpError):
        return error
    if isinstance(error, TooLongError):
        return HttpError(400, str(error), TOO_LONG)
    if isinstance(error, InputError):
        return HttpError(400, str(error))
    if isinstance(error, DiskError):
        return HttpError(507, str(error))
    if isinstance(error, Kosmos2Error):
        return HttpError(500, str(error))
    log.error("a request failed", exc_info=error)
    return HttpError(500, f"the server failed on this request ({type(error).__name__}): see its log.")


async def send_error(send: Send, error: HttpError) -> None:
    """Answer with an error. The connection is closed: the rest of a refused body may still be coming."""
    body = json.dumps(error.to_dict(), ensure_ascii=False).encode("utf-8", "replace")
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
    ]
    if error.status in (408, 413):
        headers.append((b"connection", b"close"))
    if error.retry_after_s:
        headers.append((b"retry-after", str(error.retry_after_s).encode()))
    if error.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def is_loopback_host(host: str) -> bool:
    """Return whether a Host header, or a host to bind, names this machine's loopback interface."""
    without_port = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
    return any(_is_loopback(name.strip("[]").lower()) for name in (host, without_port))


def _is_loopback(name: str) -> bool:
    try:
        return name == "localhost" or ip_address(name).is_loopback
    except ValueError:
        return False
