"""The docs: generated pages are what is generated, links lead somewhere, commands name what there is."""

from __future__ import annotations

import ast
import importlib.util
import re
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

if find_spec("rclpy"):
    from serving import model, ros, serve  # noqa: F401

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted({*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")})
REFERENCE = ROOT / "docs/interfaces.md"
AGAIN = "docs/interfaces.md is out of date: `python tools/interface_docs.py > docs/interfaces.md` writes it"
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?<!\\)\[[^\]]*\]\(([^)\s]+)\)")


def load_tool():
    spec = importlib.util.spec_from_file_location("interface_docs", ROOT / "tools/interface_docs.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["interface_docs"] = module  # dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module


interface_docs = load_tool()


def test_the_page_of_interfaces_is_what_the_tool_prints():
    assert REFERENCE.read_text().startswith(interface_docs.interfaces()), AGAIN


@pytest.mark.ros
def test_so_are_the_parameters():
    assert REFERENCE.read_text() == interface_docs.interfaces() + interface_docs.parameters(), AGAIN


@pytest.mark.ros
def test_the_page_lists_the_topics_and_services_of_the_node(request):
    node = request.getfixturevalue("serve")(command="the mug", cameras=["eye"])
    name, space = node.get_name(), node.get_namespace()
    found = {
        (direction, shown(topic), kind)
        for direction, topics in (
            ("in", node.get_subscriber_names_and_types_by_node(name, space)),
            ("out", node.get_publisher_names_and_types_by_node(name, space)),
        )
        for topic, kinds in topics
        for kind in kinds
        if not topic.startswith(("/rosout", "/parameter_events", f"/{name}/transition", f"/{name}/converse"))
    }
    rows = re.findall(r"^\| (in|out) \| (.+?) \| `(.+?)` \|", REFERENCE.read_text(), re.MULTILINE)
    said = {(direction, topic, kind) for direction, topics, kind in rows for topic in topics.split(", ")}
    assert found == {row for row in said if "compressed" not in row[1]}
    for service, [kind] in node.get_service_names_and_types_by_node(name, space):
        if kind.startswith("kosmos2/srv/"):
            assert shown(service) in REFERENCE.read_text()


def shown(topic):
    """As the page does."""
    private = topic.startswith("/grounding/")
    topic = topic.replace("/grounding/", "~/").replace("/eye/", "/<cam>/")
    return f"`{topic.removeprefix('/')}`" if not private and "<cam>" in topic else f"`{topic}`"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page):
    text = re.sub(r"`[^`\n]*`", "", FENCE.sub("", page.read_text()))
    for link in LINK.findall(text):
        target, _, anchor = link.partition("#")
        if re.match(r"https?:|mailto:", link):
            continue
        file = page.parent / target if target else page
        assert file.exists(), f"{page.name} links to {link}"
        if anchor:
            assert anchor in anchors(file), f"{page.name} links to {link}"


def anchors(page):
    titles = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_launch_files_are_shown_with_arguments_that_they_have(page):
    commands = FENCE.findall(page.read_text().replace("\\\n", " "))
    for name, arguments in re.findall(r"ros2 launch kosmos2 (\S+)([^#\n]*)", "\n".join(commands)):
        declared = launch_arguments(name)
        for argument in re.findall(r"\s(\w+):=", arguments):
            assert argument in declared, f"{page.name}: {name} has no argument {argument}"


def launch_arguments(name):
    """A launch file's own, and of the one that all include."""
    calls = [
        node
        for file in {name, "grounding.launch.py"}
        for node in ast.walk(ast.parse((ROOT / "launch" / file).read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "DeclareLaunchArgument"
    ]
    return {ast.literal_eval(call.args[0]) for call in calls if isinstance(call.args[0], ast.Constant)}
