"""JSON from strangers: whatever is wrong with it is a ModelError."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from kosmos2_core.errors import ModelError


def read_json(file: Path, advice: str = "download the checkpoint again") -> Any:
    """The file's content; FileNotFoundError is the caller's to explain."""
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise
    except RecursionError:
        raise ModelError(f"{file} cannot be read as JSON (nested too deep): {advice}.") from None
    except (OSError, ValueError) as error:
        raise ModelError(f"{file} cannot be read as JSON ({error}): {advice}.") from None
