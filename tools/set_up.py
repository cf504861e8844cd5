"""Set up this clone: system packages, a Python environment in .venv, the interfaces in install/.

Run by `make setup`. It does what is missing and nothing else, says what and why, and keeps what the
tools print in build/set_up.log. Three kinds of machine:

- a ROS 2 is sourced in this shell: it is used, with its NumPy and OpenCV; .venv adds the rest;
- there is none: ROS 2 from PyPI goes into .venv (ROS=jazzy, the default, or ROS=kilted);
- none is wanted: ROS=none makes .venv with the parts that need no ROS.

EXTRAS=ros,dev instead of the default ros,train,eval,sim,dev leaves out what a robot does not need.
What was chosen once is kept: later runs need neither ROS nor EXTRAS.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import platform
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
BUILD = ROOT / "build"
INSTALL = ROOT / "install"
STATE = VENV / "kosmos2.state"  # key=value lines; env.sh reads them too
LOG = BUILD / "set_up.log"

FROM_PYPI = ("jazzy", "kilted")
SUPPORTED = ("jazzy", "kilted", "lyrical", "rolling")
EXTRAS = ("ros", "train", "eval", "sim", "dev")
PATHS = ("AMENT_PREFIX_PATH", "CMAKE_PREFIX_PATH", "COLCON_PREFIX_PATH", "LD_LIBRARY_PATH", "PYTHONPATH")
BUILT_FROM = ("package.xml", "CMakeLists.txt", "msg", "srv", "action", "interfaces", "tools")


class Stop(Exception):
    """What is wrong and what to do, in one sentence."""


class Failed(Stop):
    """A tool failed although all it needs is there."""


@dataclass(frozen=True)
class Interpreter:
    path: str
    version: tuple[int, int]
    include: str  # where Python.h belongs
    can_make_venv: bool
    rclpy: bool
    numpy: str  # version, or empty
    opencv: bool


@dataclass(frozen=True)
class Plan:
    ros: str  # a distribution, or none
    origin: str  # pypi, or the prefix of an installed ROS 2, or nowhere
    extras: tuple[str, ...]
    python: Interpreter

    @property
    def installed(self) -> bool:
        return self.origin not in ("pypi", "nowhere")

    @property
    def title(self) -> str:
        name = f"ROS 2 {self.ros.capitalize()}"
        return {"pypi": f"{name} from PyPI", "nowhere": "no ROS"}.get(self.origin, f"{name} in {self.origin}")


def main() -> int:
    try:
        if sys.version_info < (3, 9):  # noqa: UP036
            raise Stop("this python3 is too old even for set-up: put Python 3.11 or 3.12 first on PATH.")
        set_up()
    except Stop as stop:
        print(f"set-up: {stop}", file=sys.stderr)
        return 1 if isinstance(stop, Failed) else 2
    except KeyboardInterrupt:
        print("set-up: interrupted; `make setup` goes on from here.", file=sys.stderr)
        return 130
    return 0


def set_up() -> None:
    state = read_state()
    plan = make_plan(dict(os.environ), state)
    require_system_packages(plan)

    packages = digest_packages(plan)
    if (state.get("packages"), state.get("interfaces")) == (packages, digest_interfaces(plan)):
        say(f"up to date ({describe(plan)})")
        return

    say(f"{describe(plan)}: {reason(plan)}")
    if state.get("packages") != packages:
        make_environment(plan, state)
        install_packages(plan)
        write_state(plan, packages=packages)
    if plan.ros != "none":
        build_interfaces(plan)
    write_state(plan, packages=packages, interfaces=digest_interfaces(plan))
    say("ready. `source env.sh` enters the environment.")


# What kind of machine this is.


def make_plan(environ: dict[str, str], state: dict[str, str]) -> Plan:
    ros, origin = choose_ros(environ, state)
    if ros != "none" and len(str(ROOT).split()) != 1:
        raise Stop(f"colcon's scripts fail in a folder with a space in its path: move the clone from {ROOT}.")
    return Plan(ros, origin, choose_extras(environ, state), choose_python(ros, origin, state))


def choose_ros(environ: dict[str, str], state: dict[str, str]) -> tuple[str, str]:
    wanted = environ.get("ROS", "").lower()
    if wanted not in ("", "none", *SUPPORTED):
        raise Stop(f"ROS={wanted} is not known: say ROS=jazzy, ROS=kilted or ROS=none.")
    other = environ.get("KOSMOS2_ROOT", str(ROOT))
    if other != str(ROOT):
        raise Stop(f"this shell is in the environment of {other}: open a new shell for {ROOT}.")
    if wanted == "none":
        return "none", "nowhere"

    prefix = sourced_ros(environ)
    if prefix:
        distro = environ.get("ROS_DISTRO", "")
        if distro not in SUPPORTED:
            raise Stop(
                f"the ROS 2 sourced from {prefix} is {distro or 'of unknown distribution'}, and this needs"
                " Jazzy, Kilted or Lyrical: open a shell without it for one from PyPI."
            )
        if wanted not in ("", distro):
            raise Stop(f"ROS={wanted}, but {distro} is sourced in this shell: open a shell without it.")
        return distro, prefix

    if not wanted and state.get("origin", "pypi").startswith("/"):
        raise Stop(
            f"this clone is set up on the ROS 2 in {state['origin']}, which is not sourced in this shell:"
            f" `source {state['origin']}/setup.bash`, or say ROS=jazzy for one from PyPI."
        )
    if not wanted and not state:
        for distro in SUPPORTED:
            if Path(f"/opt/ros/{distro}/setup.bash").exists():
                raise Stop(
                    f"ROS 2 {distro.capitalize()} is installed, but not sourced in this shell:"
                    f" `source /opt/ros/{distro}/setup.bash`, or say ROS=jazzy for one from PyPI."
                )
    wanted = wanted or state.get("ros", "jazzy")
    if wanted == "none":
        return "none", "nowhere"
    if wanted not in FROM_PYPI:
        raise Stop(f"ROS 2 {wanted.capitalize()} is not on PyPI: install and source it, or say ROS=jazzy.")
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        raise Stop(
            "ROS 2 is on PyPI for x86-64 Linux only: install and source ROS 2, or say ROS=none for the"
            " parts that need none."
        )
    return wanted, "pypi"


def sourced_ros(environ: dict[str, str]) -> str:
    """The prefix of the ROS 2 that this shell has sourced, our own environment apart."""
    for prefix in environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep):
        if prefix and not below_root(prefix) and (Path(prefix) / "share/rclpy/package.xml").exists():
            return prefix
    return ""


def choose_extras(environ: dict[str, str], state: dict[str, str]) -> tuple[str, ...]:
    named = environ.get("EXTRAS") or state.get("extras") or ",".join(EXTRAS)
    wanted = {extra.strip() for extra in named.split(",")} - {""}
    unknown = sorted(wanted.difference(EXTRAS))
    if unknown:
        raise Stop(f"EXTRAS={named} names {unknown[0]}, which is none of {', '.join(EXTRAS)}.")
    return tuple(extra for extra in EXTRAS if extra in wanted)


def choose_python(ros: str, origin: str, state: dict[str, str]) -> Interpreter:
    """The first interpreter that fits: last time's, the one that runs this (outside any venv), others."""
    own = getattr(sys, "_base_executable", sys.executable)
    names = [own, "python3", "/usr/bin/python3", "python3.12", "python3.11"]
    if (state.get("ros"), state.get("origin")) == (ros, origin):
        names.insert(0, state["python"])
    for name in names:
        path = shutil.which(name)
        found = inspect_python(path) if path and not below_root(path) else None
        if found and fits(found, origin):
            return found
    if origin.startswith("/"):
        raise Stop(f"no python3 here can import rclpy of {origin}: put the one ROS 2 uses first on PATH.")
    if origin == "pypi":
        raise Stop(f"ROS 2 {ros.capitalize()} from PyPI needs Python 3.11 or 3.12: install one of them.")
    raise Stop("Python 3.11 or newer is needed: install one.")


def fits(python: Interpreter, origin: str) -> bool:
    if origin == "pypi":
        return python.version in ((3, 11), (3, 12))
    return python.version >= (3, 11) and (origin == "nowhere" or python.rclpy)


def inspect_python(path: str) -> Interpreter | None:
    code = """if True:
        import importlib.util as u, json, sys, sysconfig
        has = lambda name: u.find_spec(name) is not None
        version = ""
        if has("numpy"):
            import numpy
            version = numpy.__version__
        print(json.dumps([
            getattr(sys, "_base_executable", sys.executable), sys.version_info[:2],
            sysconfig.get_paths()["include"],
            has("ensurepip") and has("venv"), has("rclpy"), version, has("cv2")]))
    """
    answer = subprocess.run([path, "-c", code], capture_output=True, text=True, cwd="/")
    if answer.returncode:
        return None
    found, version, *rest = json.loads(answer.stdout)
    return Interpreter(found, (version[0], version[1]), *rest)


def describe(plan: Plan) -> str:
    return f"{plan.title}, Python {plan.python.version[0]}.{plan.python.version[1]}, {'+'.join(plan.extras)}"


def reason(plan: Plan) -> str:
    if plan.installed:
        return "it is sourced in this shell; its NumPy and OpenCV stay, .venv adds what is missing"
    if plan.origin == "pypi":
        return "no ROS 2 is sourced in this shell, so .venv gets one (ROS=kilted, ROS=none: other choices)"
    return ".venv gets the parts that need none"


# System packages.


def require_system_packages(plan: Plan) -> None:
    missing = missing_system_packages(plan)
    if not missing:
        return
    line = "apt-get install -y " + " ".join(missing)
    if os.geteuid() == 0 and shutil.which("apt-get"):
        # Where this fails, what is still missing is said below.
        with step(f"{line} ({', '.join(missing.values())})"), suppress(Failed):
            run(["apt-get", "update"], "apt-get update")
            environ = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
            run([*shlex.split(line), "--no-install-recommends"], line, environ)
        missing = missing_system_packages(plan)
    if missing:
        raise Stop(
            f"{', '.join(f'{package} ({why})' for package, why in missing.items())} cannot be found: install"
            f" with `sudo apt-get install -y {' '.join(missing)}`, see that it is on PATH, then run"
            " `make setup` again."
        )


def missing_system_packages(plan: Plan) -> dict[str, str]:
    """Debian's name of each missing package, and what it is for."""
    missing = {}
    if plan.ros != "none":
        for tool, why in (("cmake", "builds"), ("g++", "compiles"), ("make", "builds")):
            if not shutil.which(tool):
                missing[tool] = f"{why} the interfaces"
        if not (Path(plan.python.include) / "Python.h").exists():
            missing["python{}.{}-dev".format(*plan.python.version)] = "compiles the interfaces"
    if not plan.python.can_make_venv:
        missing["python{}.{}-venv".format(*plan.python.version)] = "makes .venv"
    if platform.system() == "Linux":
        if not (plan.installed and plan.python.opencv):  # else its wheel is used
            missing |= {} if loads("libGL.so.1") else {"libgl1": "OpenCV's wheel needs it"}
            missing |= {} if loads("libglib-2.0.so.0") else {"libglib2.0-0": "OpenCV's wheel needs it"}
        if "sim" in plan.extras:
            missing |= {} if loads("libEGL.so.1") else {"libegl1": "renders the simulation"}
            if not loads("libEGL_nvidia.so.0") and not loads("libEGL_mesa.so.0"):
                missing |= dict.fromkeys(("libegl-mesa0", "libgl1-mesa-dri"), "renders the simulation")
    return missing


def loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


# The Python environment.


def make_environment(plan: Plan, state: dict[str, str]) -> None:
    if VENV.exists() and not state:
        raise Stop(f"{VENV} was not made by this set-up: move it away, then run `make setup` again.")
    if state and any(state.get(key) != value for key, value in identity(plan).items()):
        say(f"removing .venv, build and install, made for {state['title']}, Python {state['python']}")
        for folder in (VENV, BUILD, INSTALL):
            shutil.rmtree(folder, ignore_errors=True)
    VENV.mkdir(exist_ok=True)
    write_state(plan)  # first: what an interruption leaves is known to be ours
    if not (VENV / "bin/pip").exists():
        with step(f"making .venv with {plan.python.path}"):
            sees = ["--system-site-packages"] if plan.installed else []
            run([plan.python.path, "-m", "venv", *sees, str(VENV)], "python -m venv")


def install_packages(plan: Plan) -> None:
    declared = runpy.run_path(str(ROOT / "setup.py"), run_name="requirements")
    groups = set(plan.extras) - {"ros"} | ({"ros", plan.ros} if plan.origin == "pypi" else set())
    wanted = set(declared["REQUIRES"]).union(*(declared["EXTRAS"][group] for group in groups))
    constraints = ROOT / "constraints" / f"{plan.ros if plan.origin == 'pypi' else 'common'}.txt"
    pins = ["--constraint", str(constraints)]
    if plan.installed:
        wanted -= {line for line in wanted if line.startswith("opencv-python") and plan.python.opencv}
        if not shutil.which("colcon"):
            wanted.add("colcon-common-extensions")
        if plan.python.numpy:
            own = VENV / "constraints.txt"
            own.write_text(f"numpy=={plan.python.numpy}\n")
            pins += ["--constraint", str(own)]

    pip = [str(VENV / "bin/python"), "-m", "pip", "install", "--disable-pip-version-check"]
    environ = build_environ(plan)
    with step(f"installing {len(wanted)} Python packages, pinned by constraints/{constraints.name}"):
        run([*pip, *pins, "setuptools>=77.0.3,<80", *sorted(wanted)], "pip install", environ)
        # Editable, so that an edit takes effect at once and the command `kosmos2` is there.
        run([*pip, "--no-deps", "--no-build-isolation", "--editable", str(ROOT)], "pip install -e .", environ)
    if plan.origin == "pypi":
        repair_cmake_exports()


def repair_cmake_exports() -> None:
    """The ROS wheels name CPython's and NumPy's headers where the machine that built them had them."""
    code = "import numpy, sysconfig; print(sysconfig.get_paths()['include']); print(numpy.get_include())"
    answer = subprocess.run([VENV / "bin/python", "-c", code], capture_output=True, text=True, check=True)
    python_include, numpy_include = answer.stdout.split("\n")[:2]
    for export in (VENV / "share").glob("**/cmake/*.cmake"):
        text = export.read_text()
        mended = re.sub(r'/opt/python/[^;"]*/numpy/(_core|core)/include', numpy_include, text)
        mended = re.sub(r'/opt/python/[^;"]*/include/python3\.\d+', python_include, mended)
        if mended != text:
            export.write_text(mended)


# The interfaces.


def build_interfaces(plan: Plan) -> None:
    borrowed = borrowed_interfaces(plan)
    names = ["kosmos2", *borrowed]
    environ = build_environ(plan)
    command = [
        *("colcon", "--log-base", str(BUILD / "log"), "build", "--symlink-install"),
        *("--build-base", str(BUILD), "--install-base", str(INSTALL)),
        *("--base-paths", str(ROOT), *(str(ROOT / "interfaces" / name) for name in borrowed)),
        *("--packages-select", *names),
        *("--cmake-args", f"-DPython3_EXECUTABLE={VENV / 'bin/python'}"),
    ]
    why = f" ({' and '.join(borrowed)} of interfaces/ too: not installed here)" if borrowed else ""
    with step(f"building the messages, services and the action with colcon{why}"):
        run(command, "colcon build", environ)


def borrowed_interfaces(plan: Plan) -> list[str]:
    """Packages of interfaces/ that this machine's ROS 2 does not have."""
    prefixes = build_environ(plan).get("AMENT_PREFIX_PATH", "").split(os.pathsep)
    names = sorted(folder.name for folder in (ROOT / "interfaces").iterdir() if folder.is_dir())
    return [
        name
        for name in names
        if not any((Path(p) / "share" / name / "package.xml").exists() for p in prefixes)
    ]


def build_environ(plan: Plan) -> dict[str, str]:
    """This shell's variables without our own overlay, which must not be its own underlay."""
    environ = dict(os.environ)
    for name in PATHS:
        kept = [p for p in environ.pop(name, "").split(os.pathsep) if p and not below_root(p)]
        if kept and plan.installed:
            environ[name] = os.pathsep.join(kept)
    if plan.origin == "pypi":  # its environment is a ROS prefix
        environ["AMENT_PREFIX_PATH"] = environ["CMAKE_PREFIX_PATH"] = str(VENV)
        environ["LD_LIBRARY_PATH"] = str(VENV / "lib")
    environ.pop("_ROS_WHEELS_BOOTSTRAP_COMPLETE", None)  # of another environment's python, if any
    environ["VIRTUAL_ENV"] = str(VENV)
    environ["PATH"] = f"{VENV / 'bin'}{os.pathsep}{environ['PATH']}"
    return environ


# What was done last time.


def identity(plan: Plan) -> dict[str, str]:
    """What an environment cannot change into without being made anew."""
    return {"root": str(ROOT), "ros": plan.ros, "origin": plan.origin, "python": plan.python.path}


def read_state() -> dict[str, str]:
    if not STATE.exists():
        return {}
    return dict(line.split("=", 1) for line in STATE.read_text().splitlines())


def write_state(plan: Plan, **digests: str) -> None:
    state = {**identity(plan), "title": plan.title, "extras": ",".join(plan.extras), **digests}
    fresh = STATE.with_suffix(".new")
    fresh.write_text("".join(f"{key}={value}\n" for key, value in state.items()))
    fresh.replace(STATE)


def digest_packages(plan: Plan) -> str:
    system = (plan.python.numpy, str(plan.python.opencv)) if plan.installed else ()
    files = [ROOT / "setup.py", ROOT / "constraints", Path(__file__).resolve()]
    return digest(files, *identity(plan).values(), *plan.extras, *system)


def digest_interfaces(plan: Plan) -> str:
    if plan.ros != "none" and not (INSTALL / "setup.bash").exists():
        return "to be built"
    files = [ROOT / name for name in BUILT_FROM]
    return digest(files, *identity(plan).values(), *(borrowed_interfaces(plan) if plan.ros != "none" else ()))


def digest(paths: list[Path], *more: str) -> str:
    total = hashlib.sha256("\0".join(more).encode())
    for path in paths:
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        for file in files:
            if file.is_file() and "__pycache__" not in file.parts:
                total.update(f"\0{file.relative_to(ROOT)}\0".encode() + file.read_bytes())
    return total.hexdigest()[:16]


# Small things.


def below_root(path: str) -> bool:
    return Path(path).is_relative_to(ROOT)


def say(text: str) -> None:
    print(f"set-up: {text}", flush=True)


@contextmanager
def step(text: str) -> Iterator[None]:
    say(f"{text} ...")
    start = time.monotonic()
    yield
    say(f"  done in {time.monotonic() - start:.0f} s")


def run(command: list[str], name: str, environ: dict[str, str] | None = None) -> None:
    LOG.parent.mkdir(exist_ok=True)
    with LOG.open("ab") as log:
        log.write(f"\n$ {shlex.join(command)}\n".encode())
        log.flush()
        start = log.tell()
        code = subprocess.run(command, cwd=ROOT, env=environ, stdout=log, stderr=subprocess.STDOUT).returncode
    if code:
        lines = LOG.read_bytes()[start:].decode(errors="replace").splitlines()
        errors = [
            number for number, line in enumerate(lines) if re.search(r"CMake Error|ERROR:|error:|^E: ", line)
        ]
        first = errors[0] if errors else max(0, len(lines) - 12)
        print("\n".join(f"    {line}" for line in lines[first : first + 12]), file=sys.stderr)
        raise Failed(f"{name} failed (exit {code}); all it printed is in {LOG.relative_to(ROOT)}.")


if __name__ == "__main__":
    sys.exit(main())
