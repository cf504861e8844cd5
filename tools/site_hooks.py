"""MkDocs hooks: pages of the documentation site that are not files in docs/.

The pages in docs/ are written so that their links work on a forge, where a page can link to any file of the
repository. These hooks make the same links work on the site:

- README.md, CONTRIBUTING.md and CHANGELOG.md become the pages index.md, contributing.md and changelog.md;
- a linked file outside docs/ becomes a page below source/ that shows its text;
- a linked folder outside docs/ becomes a page that lists its files;
- every Python package gets a page below api/ with one entry per module, which mkdocstrings fills in.
"""

from __future__ import annotations

import ast
import posixpath
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
MOVED_PAGES = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
API_PACKAGES = (
    "kosmos2_core",
    "kosmos2_io",
    "kosmos2_data",
    "kosmos2_sim",
    "kosmos2_eval",
    "training/kosmos2_training",
)
FIRST_MODULES = ("engine", "requests", "answers")  # of an API page; the others follow in alphabetical order
LANGUAGES = {".py": "python", ".yaml": "yaml", ".xml": "xml", ".json": "json", ".cpp": "cpp", ".rviz": "yaml"}
LARGEST_SHOWN_BYTES = 200_000
# Fenced blocks and inline code come first, so that what looks like a link inside code is left alone.
LINK = re.compile(
    r"^ *```.*?^ *```"
    r"|(?<!\\)(?P<text>\[(?:[^\]`]|`[^`]*`)*\]\()(?P<target>[^)\s]+)\)"
    r"|`[^`\n]*`",
    re.MULTILINE | re.DOTALL,
)
EXTERNAL = re.compile(r"[a-z]+:|#")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages."""
    from mkdocs.structure.files import File

    for site_path, text in generated_pages():
        files.append(File.generated(config, site_path, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Rewrite the links of a page from paths in the repository to paths on the site."""
    site_path = page.file.src_uri
    if site_path.startswith(("source/", "api/")):
        return markdown
    folder = posixpath.dirname(site_path)
    repository_page = repository_path_of(site_path)

    def to_site(target: str) -> str:
        path, _, anchor = target.partition("#")
        linked = posixpath.relpath(site_path_of(resolve(repository_page, path)), folder or ".")
        return f"{linked}#{anchor}" if anchor else linked

    return change_links(markdown, to_site)


def generated_pages() -> Iterator[tuple[str, str]]:
    """Yield the path on the site and the text of every generated page."""
    for repository_path, site_path in MOVED_PAGES.items():
        yield site_path, (ROOT / repository_path).read_text()
    for package in API_PACKAGES:
        yield f"api/{Path(package).name}.md", api_page(ROOT / package)
    for path in sorted(linked_outside_docs()):
        yield site_path_of(path), source_page(path)


def linked_outside_docs() -> set[str]:
    """Return the files and folders outside docs/ that pages link to, and the text files in such folders."""
    linked: set[str] = set()
    for page in (*MOVED_PAGES, *(f"docs/{file.name}" for file in ROOT.glob("docs/*.md"))):

        def note(target: str, page: str = page) -> str:
            path = resolve(page, target.partition("#")[0])
            if path not in MOVED_PAGES and not path.startswith("docs/") and (ROOT / path).exists():
                linked.add(path)
            return target

        change_links((ROOT / page).read_text(), note)
    for folder in [path for path in linked if (ROOT / path).is_dir()]:
        linked.update(str(file.relative_to(ROOT)) for file in files_of(ROOT / folder) if is_shown(file))
    return linked


def change_links(markdown: str, change: Callable[[str], str]) -> str:
    """Return the text with `change` applied to the target of every link to a file of the repository."""

    def changed(match: re.Match[str]) -> str:
        target = match["target"]
        if target is None or EXTERNAL.match(target):
            return match[0]
        return f"{match['text']}{change(target)})"

    return LINK.sub(changed, markdown)


def resolve(page: str, target: str) -> str:
    """Return the path in the repository that a relative link on a page of the repository leads to."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(page), target))


def site_path_of(path: str) -> str:
    """Return the path on the site of a file or folder of the repository."""
    if path in MOVED_PAGES:
        return MOVED_PAGES[path]
    return path.removeprefix("docs/") if path.startswith("docs/") else f"source/{path}.md"


def repository_path_of(site_path: str) -> str:
    """Return the path in the repository of a page of the site that is written by hand."""
    moved = {site: path for path, site in MOVED_PAGES.items()}
    return moved.get(site_path, f"docs/{site_path}")


def source_page(path: str) -> str:
    """Return a page that shows a file or lists a folder."""
    file = ROOT / path
    if file.is_dir():
        entries = [
            f"- [{inner.relative_to(file)}]({file.name}/{inner.relative_to(file)}.md)"
            if is_shown(inner)
            else f"- {inner.relative_to(file)}"
            for inner in files_of(file)
        ]
        return "\n".join([f"# {path}", "", *entries, ""])
    if not is_shown(file):
        return f"# {path}\n\nThis file is not text, or it is too large to be shown.\n"
    return f"# {path}\n\n````{LANGUAGES.get(file.suffix, 'text')}\n{file.read_text().rstrip()}\n````\n"


def files_of(folder: Path) -> list[Path]:
    """Return the files below a folder, without caches and hidden files."""
    return [
        file
        for file in sorted(folder.rglob("*"))
        if file.is_file() and not any(part.startswith((".", "__pycache__")) for part in file.parts)
    ]


def is_shown(file: Path) -> bool:
    """Return whether a file is text of a size that a page can show."""
    if not file.is_file() or file.stat().st_size > LARGEST_SHOWN_BYTES:
        return False
    try:
        file.read_text()
    except UnicodeDecodeError:
        return False
    return True


def api_page(package: Path) -> str:
    """Return the API page of a Python package: its docstring and an mkdocstrings entry per public module."""
    about = ast.get_docstring(ast.parse((package / "__init__.py").read_text())) or ""
    lines = [f"# {package.name}", "", about, ""]
    for file in sorted(package.rglob("*.py"), key=order_on_page):
        if not file.name.startswith("_"):
            module = ".".join([package.name, *file.relative_to(package).with_suffix("").parts])
            lines += [f"::: {module}", ""]
    return "\n".join(lines)


def order_on_page(module: Path) -> tuple[int, Path]:
    """Return the sort key of a module on an API page."""
    names = (*FIRST_MODULES, module.stem)
    return min(names.index(module.stem), len(FIRST_MODULES)), module
