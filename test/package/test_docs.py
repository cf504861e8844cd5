"""The docs: generated pages are up to date, links lead somewhere, commands are ones that work."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import re
import shlex
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

from kosmos2_cli.main import COMMANDS, main, select

if find_spec("rclpy"):
    from serving import model, ros, serve  # noqa: F401

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted({*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")})
CMAKE = ROOT / "CMakeLists.txt"
REFERENCE = ROOT / "docs/interfaces.md"
AGAIN = "docs/interfaces.md is out of date: `python tools/interface_docs.py > docs/interfaces.md` writes it"
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
SHELL_BLOCK = re.compile(r"^ *```sh\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
PYTHON_BLOCK = re.compile(r"^ *```python\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
VARIABLE = re.compile(r"\bfor (\w+) in (?:\$\(seq )?(\w+)")  # and the first value, or the last one of seq
INLINE_CODE = re.compile(r"`([^`\n]+)`")
# Programs that only a machine with an installed ROS 2 has: these commands are run on a robot, not by a test.
# test_launch.py starts the launch files, test_node.py sends the same messages by rclpy.
ON_A_ROBOT = {"colcon", "ros2", "rosdep", "rviz2"}
# Programs of the shell or of other projects, which no test checks.
OTHER_PROGRAMS = {
    "accelerate",
    "cat",
    "cd",
    "curl",
    "docker",
    "echo",
    "export",
    "git",
    "pip",
    "source",
    "time",
    "uvx",
}
LINK = re.compile(r"(?<!\\)\[[^\]]*\]\(([^)\s]+)\)")


def load_tool(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / f"tools/{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module


interface_docs = load_tool("interface_docs")


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


def shell_commands(text: str) -> Iterator[list[str]]:
    """Yield the words of every command in the `sh` blocks of a page, without assignments and redirections."""
    for block in SHELL_BLOCK.findall(text):
        block = re.sub(r"<[^<>\n]+>", "PLACEHOLDER", block.replace("\\\n", " "))
        block = re.sub(r"(^|\s)#.*$", r"\1", block, flags=re.MULTILINE)
        block = re.sub(r"<<\s*'?(\w+)'?\n.*?^\1$", "", block, flags=re.MULTILINE | re.DOTALL)
        for variable, value in VARIABLE.findall(block):
            block = block.replace(f"${variable}", value)
        words: list[str] = []
        lexer = shlex.shlex(block, posix=True, punctuation_chars=";|&<>\n")
        lexer.whitespace, lexer.whitespace_split, lexer.commenters = " \t", True, ""
        for word in [*lexer, "\n"]:
            if set(word) <= set(";|&\n"):
                command = without_redirection(words)
                while command and re.match(r"[A-Z_0-9]+=|do$", command[0]):
                    command = command[1:]
                if command and command[0] not in ("for", "done"):
                    yield command
                words = []
            else:
                words.append(word)


def without_redirection(words: list[str]) -> list[str]:
    end = next((index for index, word in enumerate(words) if word and set(word) <= set("<>")), len(words))
    return words[:end]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_shell_command_is_one_that_exists(page):
    for words in shell_commands(page.read_text()):
        try:
            check_command(words)
        except Exception as error:
            raise AssertionError(f"{page.name}: {shlex.join(words)}: {error}") from error


def check_command(words: list[str]) -> None:
    """Raise an error if a command of the docs cannot work."""
    program, arguments = Path(words[0]).name, words[1:]
    if program == "kosmos2":
        check_kosmos2(arguments)
    elif program == "make":
        check_make(arguments)
    elif program in ("python", "python3", "$KOSMOS2_PYTHON"):
        check_python(arguments)
    elif program == "ros2" and arguments[:2] == ["run", "kosmos2"]:
        executables = re.findall(r"^install_command\((\w+)", CMAKE.read_text(), re.MULTILINE)
        assert arguments[2] in executables, f"there is no executable {arguments[2]}"
    else:
        assert program in ON_A_ROBOT | OTHER_PROGRAMS, f"{program} is no program that this test knows"


def check_kosmos2(arguments: list[str]) -> None:
    """Parse the arguments as the command line does, and run nothing."""
    if arguments[-1:] == ["--help"]:
        return
    selection = select(arguments, COMMANDS)
    _, unknown = selection.parser.parse_known_args(arguments)
    assert not unknown, f"unknown: {unknown}"
    assert selection.command is not None, "no command is named"


def check_make(arguments: list[str]) -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    if arguments[:1] == ["-C"]:
        arguments = arguments[2:]
    named = [word for word in arguments if "=" not in word]
    assert named, "no target is named"
    for word in named:
        assert word in targets, f"there is no target {word}"


def check_python(arguments: list[str]) -> None:
    if arguments[0] == "-c":
        compile(arguments[1], "docs", "exec")
    elif arguments[0] == "-m":
        path = arguments[1].replace(".", "/")
        files = (f"{path}.py", f"{path}/__main__.py")
        assert not path.startswith("kosmos2") or any((ROOT / file).exists() for file in files), (
            "no such module"
        )
    else:
        assert (ROOT / arguments[0]).exists(), f"there is no {arguments[0]}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_in_the_text_exist(page):
    """Inline code that begins with `kosmos2` or `make` names a command or a target."""
    for code in INLINE_CODE.findall(FENCE.sub("", page.read_text())):
        program, _, rest = code.partition(" ")
        first = re.split(r"[ |]", rest)[0]
        if program == "make" and re.fullmatch(r"[a-z-]+", first):
            check_make([first])
        elif program == "kosmos2" and re.fullmatch(r"[a-z-]+", first):
            assert first in COMMANDS, f"{page.name}: {code}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_examples_import_names_that_exist(page):
    for block in PYTHON_BLOCK.findall(page.read_text()):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("kosmos2_"):
                if node.module.startswith("kosmos2_ros"):
                    pytest.importorskip("rclpy")
                module = importlib.import_module(node.module)
                for alias in node.names:
                    assert hasattr(module, alias.name), f"{page.name}: {node.module} has no {alias.name}"


def test_the_first_example_of_the_readme_prints_what_the_readme_shows(capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    words = next(words for words in shell_commands((ROOT / "README.md").read_text()) if words[0] == "kosmos2")
    arguments = words[1 : words.index("--save")]
    assert main(arguments) == 0
    printed = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  ")]
    assert [without_digits(line) for line in printed] == [
        without_digits(line)
        for line in re.findall(r"^  the .*", (ROOT / "README.md").read_text(), re.MULTILINE)
    ]


def without_digits(line: str) -> str:
    """Return the line without its figures: their last digits depend on the processor."""
    return re.sub(r"[ \d]+", " ", line)


def test_every_page_is_in_the_navigation_of_the_site():
    """`make docs` builds the site; this holds where its tools are not installed."""
    site = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
    shown = [next(iter(page.values())) if isinstance(page, dict) else page for page in pages_of(site["nav"])]
    generated = {path for path, _ in load_tool("site_hooks").generated_pages()}
    written = {str(page.relative_to(ROOT / "docs")) for page in ROOT.glob("docs/*.md")}
    assert sorted(shown) == sorted(written | {path for path in generated if not path.startswith("source/")})


def pages_of(sections):
    return [page for section in sections for pages in section.values() for page in pages]


def test_links_on_the_site_lead_to_the_files_that_they_name_in_the_repository():
    hooks = load_tool("site_hooks")
    text = (
        "[node](docs/node.md#states), [code](kosmos2_core/engine.py), `[no](link.md)`, [far](https://a.b/c)"
    )
    targets = []
    hooks.change_links(text, lambda target: targets.append(target) or target)
    assert targets == ["docs/node.md#states", "kosmos2_core/engine.py"]
    assert hooks.site_path_of("docs/node.md") == "node.md"
    assert hooks.site_path_of("README.md") == "index.md"
    assert hooks.site_path_of("examples/pick_best.py") == "source/examples/pick_best.py.md"
    assert hooks.resolve("docs/planner.md", "../examples") == "examples"


@pytest.mark.parametrize("page", ["README.md", "docs/core.md"])
def test_python_examples_with_the_small_model_run(page, monkeypatch):
    monkeypatch.chdir(ROOT)
    blocks = [block for block in PYTHON_BLOCK.findall((ROOT / page).read_text()) if "tabletop-tiny" in block]
    assert blocks
    for block in blocks:
        exec(compile(block, page, "exec"), {})  # noqa: S102
