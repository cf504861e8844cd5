"""The messages, services and the action: the same types on the wire as published, every field explained."""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = (ROOT, *sorted((ROOT / "interfaces").iterdir()))
FILES = [
    file
    for package in PACKAGES
    for kind in ("msg", "srv", "action")
    for file in sorted(package.glob(f"{kind}/*.{kind}"))
]
HASHES = json.loads((ROOT / "test/data/interface_hashes.json").read_text())


def declarations(file: Path) -> list[tuple[str, str]]:
    """Each field or constant of an interface file, and its comment."""
    lines = [line for line in file.read_text().splitlines() if line.strip() not in ("", "---")]
    return [
        (code.strip(), comment.strip())
        for line in lines
        if not line.lstrip().startswith("#")
        for code, _, comment in [line.partition("#")]
    ]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_field_says_what_it_is(file):
    assert [code for code, comment in declarations(file) if not comment] == []


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_number_that_measures_says_in_what(file):
    """Reals, points in time and boxes: the comment names the unit, the range, or the frame."""
    measures = re.compile(
        r"(float|builtin_interfaces/|geometry_msgs/|kosmos2/Box|vision_msgs/.*(Box|Detection))"
    )
    unit = re.compile(r"pixel|metre|radian|0 to 1|stamp|clock|frame\b", re.IGNORECASE)
    vague = [
        code for code, comment in declarations(file) if measures.match(code) and not unit.search(comment)
    ]
    assert vague == []


def test_the_error_codes_are_the_same_everywhere():
    names = ["OK", "BAD_REQUEST", "NO_IMAGE", "STALE", "BUSY"]
    names += ["TIMEOUT", "NO_DEPTH", "NO_TRANSFORM", "MODEL_ERROR", "INACTIVE"]
    expected = [f"uint8 {name}={number}" for number, name in enumerate(names)]
    for name in ("srv/Locate.srv", "srv/Describe.srv", "srv/Ask.srv", "action/Converse.action"):
        codes = [code for code, _ in declarations(ROOT / name) if "=" in code]
        assert codes == expected, name


@pytest.mark.ros
@pytest.mark.parametrize("name", HASHES)
def test_the_type_hash_is_the_published_one(name):
    """A different hash is a different type: other nodes and recorded bags would not understand it.

    Those of vision_msgs and tf2_msgs are the published packages'. Ours guard against changing the
    contract unawares: when it is meant to change, CHANGELOG.md says so and this file follows.
    """
    from ament_index_python.packages import get_package_share_directory

    package, kind, interface = name.split("/")
    description = json.loads(
        (Path(get_package_share_directory(package)) / kind / f"{interface}.json").read_text()
    )
    hashes = {entry["type_name"]: entry["hash_string"] for entry in description["type_hashes"]}
    assert hashes[name] == HASHES[name]


def test_every_interface_has_a_known_hash():
    defined = {
        f"{'kosmos2' if file.parents[1] == ROOT else file.parents[1].name}/{file.parent.name}/{file.stem}"
        for file in FILES
    }
    assert defined == set(HASHES)
