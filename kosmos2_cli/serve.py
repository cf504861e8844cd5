"""Command `kosmos2 serve`: models over HTTP, with a web page."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

from kosmos2_cli.main import CliCommand
from kosmos2_cli.options import add_model, default_model, load_engine
from kosmos2_core.errors import InputError
from kosmos2_core.packages import require

EXAMPLES = """
Examples:

  kosmos2 serve --model models/tabletop-tiny
  kosmos2 serve --model microsoft/kosmos-2-patch14-224 --model models/mine --records data/corrections
  kosmos2 serve --host 0.0.0.0 --token-file token.txt

Then open http://127.0.0.1:8000 in a browser. docs/serve.md describes the API, which OpenAI's clients speak
too, and how a robot uses the server's model. Ctrl-C ends the server after the requests that run.
"""

DEFAULT_HOST, DEFAULT_PORT = "127.0.0.1", 8000
MAX_PORT = 65535
MB = 1_000_000


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--host",
        default=DEFAULT_HOST,
        help="address to listen on (default: %(default)s, this machine only); others need a token",
    )
    parser.add_argument(
        "--port",
        type=int,
        default=DEFAULT_PORT,
        help="port to listen on; 0: any free one (default: %(default)s)",
    )
    parser.add_argument(
        "--token-file",
        type=Path,
        metavar="FILE",
        help="file with the token that clients must send (default: the token in $KOSMOS2_TOKEN, or none)",
    )
    parser.add_argument(
        "--insecure", action="store_true", help="listen for other machines without a token: anybody may ask"
    )
    parser.add_argument(
        "--records", type=Path, metavar="DIR", help="save training records from the page in this folder"
    )
    limits = parser.add_argument_group("limits")
    limits.add_argument(
        "--queue", type=int, default=64, metavar="N", help="requests that may wait (default: %(default)s)"
    )
    limits.add_argument(
        "--batch", type=int, default=16, metavar="N", help="requests computed together (default: %(default)s)"
    )
    limits.add_argument(
        "--rate",
        type=float,
        default=0.0,
        metavar="HZ",
        help="requests per second of an address (default: any)",
    )
    limits.add_argument(
        "--max-body",
        type=float,
        default=32.0,
        metavar="MB",
        help="longest request, in MB (default: %(default)g)",
    )
    limits.add_argument(
        "--max-memory",
        type=float,
        default=1000.0,
        metavar="MB",
        help="memory for the images of all requests together, in MB (default: %(default)g)",
    )
    limits.add_argument(
        "--timeout",
        type=float,
        default=30.0,
        metavar="S",
        help="time of a request that states none, in seconds (default: %(default)g)",
    )
    parser.add_argument(
        "--log-level",
        default="info",
        choices=("debug", "info", "warning", "error"),
        help="least level of log lines (default: %(default)s)",
    )
    add_model(parser, several=True)


def _run(arguments: argparse.Namespace) -> None:
    require("starlette", "uvicorn", "pydantic", "prometheus_client")
    from kosmos2_serve.options import ServeOptions
    from kosmos2_serve.server import check_exposure, read_token, serve

    if not 0 <= arguments.port <= MAX_PORT:
        raise InputError(f"--port is {arguments.port}: it must be from 0 to {MAX_PORT}.")
    token = read_token(arguments.token_file)
    check_exposure(arguments.host, token, arguments.insecure)
    options = ServeOptions(
        token=token,
        records=arguments.records,
        max_queue=arguments.queue,
        max_batch=arguments.batch,
        rate_hz=arguments.rate,
        max_body_bytes=round(arguments.max_body * MB),
        max_memory_bytes=round(arguments.max_memory * MB),
        timeout_s=arguments.timeout,
    )
    options = dataclasses.replace(options, max_timeout_s=max(options.max_timeout_s, options.timeout_s))
    names = model_names(arguments.model or [default_model()])
    engines = {name: load_engine(arguments, folder) for name, folder in names.items()}
    serve(engines, options, arguments.host, arguments.port, arguments.log_level)


def model_names(given: list[str]) -> dict[str, str]:
    """Return how requests name each checkpoint: a folder by its last part, a name on the hub as it is.

    Raises:
        InputError: Two have the same name.
    """
    names: dict[str, str] = {}
    for checkpoint in given:
        name = Path(checkpoint).resolve().name if Path(checkpoint).exists() else checkpoint
        if name in names:
            raise InputError(f"two models are named {name}: give each folder a name of its own.")
        names[name] = checkpoint
    return names


SERVE = CliCommand(_add_arguments, _run, EXAMPLES)
