"""Install Python packages into .venv with uv, or with pip if uv cannot be used.

uv is several times as fast as pip and ignores pip's configuration. Without the user's own indexes a
CPU-only torch is not found, and uv would download 3 GB of CUDA libraries instead. So pip's configuration
(its files and the PIP_* variables) is read and passed on.
"""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

Run = Callable[[Sequence[str], str, Mapping[str, str]], None]  # command, its name in messages, environment

# uv's command line options for pip's settings that hold one or more values.
OPTIONS = {
    "index-url": "--index-url",
    "extra-index-url": "--extra-index-url",
    "find-links": "--find-links",
    "constraint": "--constraint",
    "trusted-host": "--allow-insecure-host",
    "only-binary": "--only-binary",
    "no-binary": "--no-binary",
}
FLAGS = {"no-index": "--no-index", "pre": "--prerelease=allow", "no-cache-dir": "--no-cache"}
VARIABLES = (
    ("cert", "SSL_CERT_FILE"),
    ("client-cert", "SSL_CLIENT_CERT"),
    ("proxy", "HTTP_PROXY"),
    ("proxy", "HTTPS_PROXY"),
    ("default-timeout", "UV_HTTP_TIMEOUT"),
    ("timeout", "UV_HTTP_TIMEOUT"),
)
SECTIONS = ("global", "install", ":env:")  # a later one overrides an earlier one


@dataclass(frozen=True)
class UvSettings:
    """What pip's configuration means for uv: command line options and environment variables."""

    options: list[str] = field(default_factory=list)
    variables: dict[str, str] = field(default_factory=dict)


def pip_settings(listing: str) -> dict[str, str]:
    """Return the settings that `pip install` would use, from what `pip config list` prints."""
    sections: dict[str, dict[str, str]] = {name: {} for name in SECTIONS}
    for line in listing.splitlines():
        key, separator, value = line.partition("=")
        section, _, name = key.rpartition(".")
        if separator and section in sections:
            sections[section][name.replace("_", "-")] = str(ast.literal_eval(value))
    return {name: value for section in SECTIONS for name, value in sections[section].items()}


def uv_settings(pip: Mapping[str, str], environ: Mapping[str, str]) -> UvSettings:
    """Translate pip's settings; uv's own environment variables keep precedence over them."""
    options = ["--index-strategy", "unsafe-best-match"]  # as pip: the best version of all indexes
    if "UV_INDEX_STRATEGY" in environ:
        options = []
    for name, option in OPTIONS.items():
        options += [word for value in pip.get(name, "").split() for word in (option, value)]
    options += [flag for name, flag in FLAGS.items() if is_true(pip.get(name, ""))]
    variables = {
        variable: pip[name] for name, variable in VARIABLES if name in pip and variable not in environ
    }
    return UvSettings(options, variables)


def is_true(value: str) -> bool:
    return value.lower() in ("1", "true", "yes", "on")


class Installer:
    """Installs requirements into a virtual environment.

    Args:
        venv: Folder of the virtual environment; it has pip.
        run: Runs a command and raises `failure` if it fails.
        failure: The exception that `run` raises.
        warn: Called with one sentence if pip has to do uv's work.
        use_uv: False installs with pip only. uv does not see the packages of a system that the
            environment is to share (`--system-site-packages`), and would install them again.
        uv_version: The version of uv to install if there is none.
    """

    def __init__(
        self,
        venv: Path,
        run: Run,
        failure: type[Exception],
        warn: Callable[[str], None],
        use_uv: bool,
        uv_version: str,
    ) -> None:
        self.python = str(venv / "bin/python")
        self._bin = venv / "bin"
        self._run, self._failure, self._warn = run, failure, warn
        self._use_uv, self._uv_version = use_uv, uv_version

    @property
    def title(self) -> str:
        return "uv" if self._use_uv else "pip"

    def prepare(self, environ: Mapping[str, str]) -> None:
        """Install uv from PyPI if it is wanted and missing; without it, pip is used from then on."""
        if not self.lacks_uv():
            return
        try:
            self._run(self._pip(f"uv=={self._uv_version}"), "pip install uv", environ)
        except self._failure:
            self._fall_back("uv cannot be installed")

    def lacks_uv(self) -> bool:
        return self._use_uv and self._find_uv() is None

    def install(self, arguments: Sequence[str], environ: Mapping[str, str]) -> None:
        """Install what `arguments`, those of `pip install`, say."""
        if self._use_uv:
            try:
                self._install_with_uv(arguments, environ)
            except self._failure:
                self._fall_back("uv failed")
        if not self._use_uv:
            self._run(self._pip(*arguments), "pip install", environ)

    def _install_with_uv(self, arguments: Sequence[str], environ: Mapping[str, str]) -> None:
        settings = uv_settings(self._read_pip_settings(environ), environ)
        command = [self._find_uv() or "uv", "pip", "install", "--python", self.python]
        command += [*settings.options, *arguments]
        self._run(command, "uv pip install", {**environ, **settings.variables})

    def _fall_back(self, reason: str) -> None:
        self._use_uv = False
        self._warn(f"{reason}: pip installs the packages instead, which takes longer")

    def _pip(self, *arguments: str) -> list[str]:
        return [self.python, "-m", "pip", "install", "--disable-pip-version-check", *arguments]

    def _find_uv(self) -> str | None:
        """The environment's own uv, or the user's."""
        return shutil.which("uv", path=os.pathsep.join([str(self._bin), os.environ.get("PATH", "")]))

    def _read_pip_settings(self, environ: Mapping[str, str]) -> dict[str, str]:
        command = [self.python, "-m", "pip", "config", "list"]
        answer = subprocess.run(command, env=dict(environ), capture_output=True, text=True, check=False)
        return pip_settings(answer.stdout) if answer.returncode == 0 else {}
