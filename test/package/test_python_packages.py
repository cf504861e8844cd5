"""uv is given pip's configuration, and pip takes over if uv cannot be used."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

from python_packages import Installer, pip_settings, uv_settings  # noqa: E402

LISTING = """\
:env:.find-links='/wheels/env'
global.cert='/etc/ca.pem'
global.extra-index-url='https://a/simple\\nhttps://b/simple'
global.find-links='/wheels/global'
global.index-url='https://main/simple'
install.constraint='/etc/constraints.txt'
install.no-index='false'
global.proxy='http://proxy:8080'
list.format='columns'
"""


class Failed(Exception):
    pass


def test_pip_s_settings_are_read_with_its_precedence():
    settings = pip_settings(LISTING)
    assert settings["find-links"] == "/wheels/env"
    assert settings["constraint"] == "/etc/constraints.txt"
    assert "format" not in settings


def test_uv_gets_the_same_indexes_files_and_certificates():
    settings = uv_settings(pip_settings(LISTING), {})
    pairs = list(zip(settings.options[::2], settings.options[1::2], strict=True))
    assert pairs == [
        ("--index-strategy", "unsafe-best-match"),
        ("--index-url", "https://main/simple"),
        ("--extra-index-url", "https://a/simple"),
        ("--extra-index-url", "https://b/simple"),
        ("--find-links", "/wheels/env"),
        ("--constraint", "/etc/constraints.txt"),
    ]
    assert settings.variables == {
        "SSL_CERT_FILE": "/etc/ca.pem",
        "HTTP_PROXY": "http://proxy:8080",
        "HTTPS_PROXY": "http://proxy:8080",
    }


def test_flags_are_passed_on_only_if_they_are_set():
    assert "--no-index" in uv_settings({"no-index": "1"}, {}).options
    assert "--no-index" not in uv_settings({"no-index": "0"}, {}).options


def test_what_the_user_tells_uv_itself_stays():
    environ = {"SSL_CERT_FILE": "/mine.pem", "UV_INDEX_STRATEGY": "first-index"}
    settings = uv_settings({"cert": "/pip.pem"}, environ)
    assert (settings.options, settings.variables) == ([], {})


@pytest.fixture
def venv(tmp_path, monkeypatch):
    """An environment with this Python, and without uv anywhere on PATH."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/python").symlink_to(sys.executable)
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    return tmp_path


@pytest.fixture
def install(venv):
    """Install `numpy` while the commands that contain `failing` fail; return commands and warnings."""

    def install(failing: str, use_uv: bool = True):
        commands, warnings = [], []

        def run(command, name, environ):
            commands.append(name)
            if name == failing:
                raise Failed
            if name == "pip install uv":
                (venv / "bin/uv").symlink_to("/bin/true")

        installer = Installer(venv, run, Failed, warnings.append, use_uv, "1.0")
        installer.prepare({})
        installer.install(["numpy"], {})
        return commands, warnings

    return install


def test_uv_is_installed_by_pip_and_used(install):
    assert install(failing="") == (["pip install uv", "uv pip install"], [])


@pytest.mark.parametrize("failing", ["pip install uv", "uv pip install"])
def test_pip_takes_over_with_a_warning(install, failing):
    commands, [warning] = install(failing)
    assert commands[-2:] == [failing, "pip install"]
    assert "pip installs the packages instead" in warning


def test_uv_is_not_used_beside_packages_of_the_system(install):
    assert install(failing="", use_uv=False) == (["pip install"], [])


def test_a_failure_of_pip_is_a_failure(install):
    with pytest.raises(Failed):
        install(failing="pip install", use_uv=False)
