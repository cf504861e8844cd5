"""Run the application on a socket until SIGINT or SIGTERM; what runs then is finished first."""

from __future__ import annotations

import logging
import os
import re
import signal
import socket
import stat
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import uvicorn

from kosmos2_core.engine import Engine
from kosmos2_core.errors import InputError
from kosmos2_core.regular_files import check_regular_file
from kosmos2_serve.app import create_app
from kosmos2_serve.guards import is_loopback_host
from kosmos2_serve.options import ServeOptions
from kosmos2_serve.wire import TOKEN_VARIABLE

TOKEN = re.compile(r"[\x21-\x7e]+")
MAX_TOKEN_BYTES = 4096
KEEP_ALIVE_S = 30
BACKLOG = 1024  # connections that wait to be accepted
FINISH_S = 60  # for the requests that run at the end
EVERYBODY = stat.S_IRWXG | stat.S_IRWXO


def read_token(file: Path | None) -> str | None:
    """Return the token from a file, else from the environment; None: there is none.

    Raises:
        InputError: The file cannot be read, or other users can read it, or it holds no token.
    """
    if file is None:
        token = os.environ.get(TOKEN_VARIABLE)
        source = TOKEN_VARIABLE
        if token is None:
            return None
    else:
        source = str(file)
        try:
            check_regular_file(file)
            with file.open("rb") as stream:
                token = stream.read(MAX_TOKEN_BYTES).decode("ascii", "replace").strip()
            mode = file.stat().st_mode
        except OSError as error:
            raise InputError(f"the token file {file} cannot be read ({error.strerror}).") from None
        if mode & EVERYBODY:
            raise InputError(f"other users can read the token file {file}: run `chmod 600 {file}`.")
    if not TOKEN.fullmatch(token):
        raise InputError(f"{source} holds no token: it must be letters, digits and signs without spaces.")
    return token


def check_exposure(host: str, token: str | None, insecure: bool) -> None:
    """Refuse to listen where others can reach the server without a token.

    Raises:
        InputError: The host is not this machine's loopback interface, and there is no token.
    """
    if token is None and not insecure and not is_loopback_host(host):
        raise InputError(
            f"--host {host} lets other machines in, and there is no token: give --token-file, or --insecure"
            " in a network that you trust."
        )


def serve(engines: Mapping[str, Engine], options: ServeOptions, host: str, port: int, log_level: str) -> None:
    """Serve until SIGINT or SIGTERM.

    Args:
        engines: The models by name.
        options: Limits and features.
        host: The address to bind.
        port: The port; 0: any free one.
        log_level: The least level of log lines.

    Raises:
        InputError: The port cannot be bound.
    """
    logging.basicConfig(
        level=log_level.upper(), stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s"
    )
    logging.getLogger("uvicorn.error").setLevel("WARNING")
    options = replace(options, local_only=options.token is None and is_loopback_host(host))
    config = uvicorn.Config(
        create_app(engines, options),
        host,
        port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=FINISH_S,
        h11_max_incomplete_event_size=64 * 1024,
        ws="none",
        http="h11",
        lifespan="on",
    )
    try:
        listening = _bind(host, port)
    except OSError as error:
        raise InputError(
            f"port {port} of {host} cannot be used ({error.strerror or error}): choose another --port."
        ) from None
    bound_host, bound_port = listening.getsockname()[:2]
    shown = f"[{bound_host}]" if ":" in bound_host else bound_host
    print(f"kosmos2: {', '.join(engines)} on http://{shown}:{bound_port}, API at /docs", flush=True)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)  # uvicorn raises its signal again at the end: the status is 0
    uvicorn.Server(config).run(sockets=[listening])


def _bind(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listening = socket.socket(family, kind, protocol)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(BACKLOG)  # before the line with the address is printed
    except OSError:
        listening.close()
        raise
    return listening
