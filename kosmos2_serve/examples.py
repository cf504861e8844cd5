"""The images that come with the server, with texts to try."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

EXAMPLES_FOLDER = Path(__file__).parent / "example_scenes"
EXAMPLES: list[dict[str, Any]] = [
    {**scene, "url": f"/examples/{scene['name']}.jpg"}
    for scene in json.loads((EXAMPLES_FOLDER / "scenes.json").read_text())
]
