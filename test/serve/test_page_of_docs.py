"""The examples of docs/serve.md do what the page says, against a real server."""

from __future__ import annotations

import json
import re
import shutil
import subprocess

import pytest
from live_server import live_server

from kosmos2_serve.app import PATHS
from kosmos2_serve.openapi import api_description


@pytest.fixture(scope="module")
def page(root):
    return (root / "docs/serve.md").read_text()


@pytest.fixture(scope="module")
def answers(page, root, engine, tmp_path_factory):
    """The output of each command of the page that calls curl, by its path."""
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    blocks = re.findall(r"^```sh\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    settings = [line for line in lines if re.match(r"(IMAGE|JSON)=", line)]
    calls = [line for line in lines if "curl" in line]
    given = {}
    with live_server(engine, records=tmp_path_factory.mktemp("records")) as server:
        for call in calls:
            script = "\n".join([*settings, f"SERVER={server.url}", call])
            done = subprocess.run(
                ["bash", "-c", script], cwd=root, capture_output=True, text=True, check=True
            )
            given.setdefault(re.search(r"\$SERVER(\S+)", call)[1], []).append(done.stdout)
    return given


def test_the_first_answer_is_the_one_on_the_page(page, answers):
    shown = json.loads(re.search(r"^```json\n(.*?)^```", page, re.MULTILINE | re.DOTALL)[1])
    answer = json.loads(answers["/v1/locate"][0])
    assert answer.keys() == shown.keys()
    assert answer["timings"].keys() == shown["timings"].keys()
    for ours, theirs in zip(answer["phrases"], shown["phrases"], strict=True):
        assert ours.keys() == theirs.keys()
        assert (ours["phrase"], ours["start"], ours["end"]) == (
            theirs["phrase"],
            theirs["start"],
            theirs["end"],
        )
        assert ours["presence"] == pytest.approx(theirs["presence"], abs=0.02)
        for box, expected in zip(ours["boxes"], theirs["boxes"], strict=True):
            assert box["cells"] == expected["cells"]
            assert box["box_px"] == pytest.approx(expected["box_px"], abs=2)


def test_every_command_of_the_page_is_answered(answers):
    assert set(answers) == {
        *(f"/v1/{name}" for name in ("locate", "caption", "describe", "ask", "chat", "records"))
    }
    for outputs in answers.values():
        for output in outputs:
            assert "error" not in output
            assert output.startswith(("{", "event: "))
    assert "event: answer" in answers["/v1/caption"][1]


def test_the_description_lists_every_path_and_the_page_too(page):
    assert set(api_description()["paths"]) | {"/openapi.json"} == PATHS
    for path in PATHS:
        assert path.replace("{name}", "NAME") in page


def test_every_reference_of_the_description_exists():
    description = api_description()
    references = set(re.findall(r"#/components/schemas/(\w+)", json.dumps(description)))
    assert references <= set(description["components"]["schemas"])
