"""The overlay is what Foxglove reads: its schema, its fields, each image's stamp, boxes in its pixels."""

import json
from collections import defaultdict

import pytest
from mcap.reader import make_reader

from kosmos2_eval.bag.overlay import SCHEMA, schema_of_annotations


@pytest.fixture(scope="module")
def overlay(evaluated):
    found = defaultdict(list)
    with (evaluated[0] / "overlay.mcap").open("rb") as stream:
        for schema, channel, message in make_reader(stream).iter_messages():
            assert (schema.name, schema.encoding, channel.message_encoding) == (SCHEMA, "jsonschema", "json")
            assert json.loads(schema.data) == schema_of_annotations()
            found[channel.topic].append((message, json.loads(message.data)))
    return found


def fits(value, schema, where="annotations"):
    """A JSON schema's part that this one has."""
    if "const" in schema or "oneOf" in schema:
        assert value in [choice["const"] for choice in schema["oneOf"]], where
    elif schema["type"] == "object":
        assert set(value) == set(schema["properties"]), where
        for name, item in value.items():
            fits(item, schema["properties"][name], f"{where}.{name}")
    elif schema["type"] == "array":
        for item in value:
            fits(item, schema["items"], where)
    else:
        kinds = {"number": (int, float), "integer": int, "string": str}
        assert isinstance(value, kinds[schema["type"]]), where


def test_each_image_has_the_truth_and_what_was_found_at_its_stamp(overlay, evaluated):
    results = evaluated[2].results[0]
    assert set(overlay) == {"/overlay/camera/image/truth", "/overlay/camera/image/tabletop-tiny"}
    stamps = sorted({result.query.stamp_ns for result in results})
    for messages in overlay.values():
        assert [message.publish_time for message, _ in messages] == stamps
        assert [message.log_time for message, _ in messages] == stamps  # of the image, in this recording
        for message, said in messages:
            fits(said, schema_of_annotations())
            for item in said["points"] + said["texts"]:
                assert item["timestamp"]["sec"] * 10**9 + item["timestamp"]["nsec"] == message.publish_time


def test_boxes_are_in_pixels_with_the_words_above(overlay, evaluated):
    results = evaluated[2].results[0]
    of_image = [result for result in results if result.query.frame == 3]
    first = of_image[0]
    _, said = overlay["/overlay/camera/image/tabletop-tiny"][3]
    x1, y1, x2, y2 = first.box.pixels(320, 240)
    assert said["points"][0]["type"] == 2
    corners = [(point["x"], point["y"]) for point in said["points"][0]["points"]]
    assert corners[0] == pytest.approx((x1, y1), abs=0.01)
    assert corners[2] == pytest.approx((x2, y2), abs=0.01)
    assert said["texts"][0]["text"] == f"{first.query.phrase} {first.score:.2f}"
    _, true = overlay["/overlay/camera/image/truth"][3]
    assert [text["text"] for text in true["texts"]] == [
        result.query.phrase for result in of_image for _ in result.query.truth
    ]
