"""Fixtures that the tests of the server share."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HAS_SERVER = all(importlib.util.find_spec(name) for name in ("prometheus_client", "starlette", "uvicorn"))
collect_ignore_glob = [] if HAS_SERVER else ["test_*.py"]  # set up without the extra `serve`

if HAS_SERVER:
    from live_server import image_text, live_server

    from kosmos2_core.engine import Engine

    @pytest.fixture(scope="session")
    def engine():
        return Engine.load(ROOT / "models/tabletop-tiny")

    @pytest.fixture(scope="module")
    def server(engine):
        with live_server(engine, max_body_bytes=3_000_000, body_timeout_s=0.3, max_tokens=256) as running:
            yield running

    @pytest.fixture(scope="session")
    def photo():
        """The Base64 of an image with a green plate and an orange cube."""
        return image_text(ROOT / "kosmos2_serve/example_scenes/rings.jpg")
