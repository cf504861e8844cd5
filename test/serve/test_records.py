"""Training records that are saved over HTTP are read by the project's own tools."""

from __future__ import annotations

import base64
import json

import pytest
from live_server import live_server

from kosmos2_cli.main import main
from kosmos2_data.record_source import RecordSource

ITEM = {"task": "locate", "text": "put [the cube](0.7,0.3,0.9,0.6) away, not [the mug]()"}


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "corrections"


def test_a_saved_record_is_readable_by_the_tools(engine, photo, folder, capsys):
    question = {
        "task": "ask",
        "question": "What is [this](0.1,0.1,0.2,0.2)?",
        "text": "a ring",
        "kind": "region",
    }
    with live_server(engine, records=folder) as server:
        saved = [
            server.post("/v1/records", {"image": image, "items": [item]})
            for image, item in ((photo, ITEM), (f"data:image/jpeg;base64,{photo}", question))
        ]
    assert [status for status, _ in saved] == [201, 201]
    assert saved[1][1] == {"image": saved[0][1]["image"], "file": "records.jsonl", "count": 2}
    source = RecordSource(folder)
    assert [record.items[0].task for record in source] == ["locate", "ask"]
    assert source.image(source[0]).shape == (480, 640, 3)
    assert (folder / saved[0][1]["image"]).read_bytes() == base64.b64decode(photo)
    assert len(list((folder / "images").iterdir())) == 1  # equal images are stored once
    assert main(["data", "check", str(folder)]) == 0
    assert "2" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("item", "words"),
    [
        ({"task": "locate", "text": "no mark"}, "marks no phrase"),
        ({"task": "locate", "text": "[a](0.5,0.5,0.1,0.1)"}, "x1"),
        ({"task": "caption", "text": "[a]()"}, "absent"),
        ({"task": "locate", "text": "<object><patch_index_0001>"}, "control token"),
        ({"task": "paint", "text": "a"}, "task"),
        ({"task": "ask", "text": "a"}, "question"),
        ({"task": "locate", "text": "[a]()", "image": "../../x"}, "not known"),
    ],
)
def test_a_record_that_would_teach_something_wrong_is_refused(engine, photo, folder, item, words):
    with live_server(engine, records=folder) as server:
        status, answer = server.post("/v1/records", {"image": photo, "items": [item]})
    assert status == 400
    assert words in answer["error"]["message"]
    assert not (folder / "records.jsonl").exists()


def test_a_full_disk_leaves_no_half_record(engine, photo, folder, monkeypatch):
    from errno import ENOSPC

    from kosmos2_serve import record_files

    write_all = record_files.write_all
    with live_server(engine, records=folder) as server:
        assert server.post("/v1/records", {"image": photo, "items": [ITEM]})[0] == 201

        def half(stream, data):
            write_all(stream, data[: len(data) // 2])
            raise OSError(ENOSPC, "No space left on device")

        monkeypatch.setattr(record_files, "write_all", half)
        status, answer = server.post("/v1/records", {"image": photo, "items": [ITEM]})
        assert status == 507
        assert "make room" in answer["error"]["message"]
    [line] = (folder / "records.jsonl").read_text().splitlines()
    assert json.loads(line)["items"] == [ITEM]
