"""Set up this clone: system packages, a Python environment in .venv, the interfaces in install/.

`make setup` runs it. It does what is missing and nothing else, shows what it does and why, and keeps what
the tools print in build/set_up/. There are three kinds of machine:

- A ROS 2 is sourced in this shell: it is used, with its NumPy and OpenCV; .venv adds the rest.
- There is none: ROS 2 from PyPI goes into .venv (ROS=jazzy, the default, or ROS=kilted).
- None is wanted: ROS=none makes .venv with the parts that need no ROS.

The default, EXTRAS=ros,train,eval,sim,dev, is what `make demo` and `make test` need. EXTRAS=ros is enough on
a robot, EXTRAS=all is what `make test-all` needs. Choices are kept: later runs need neither ROS nor EXTRAS.
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
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from progress import Progress
from python_packages import Installer

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
BUILD = ROOT / "build"
INSTALL = ROOT / "install"
STATE = VENV / "kosmos2.state"  # key=value lines; env.sh reads them too
LOGS = BUILD / "set_up"
PYTHON_ONLY = ROOT / "tools/python_only.cmake"

FROM_PYPI = ("jazzy", "kilted")
SUPPORTED = ("jazzy", "kilted", "lyrical", "rolling")
DEFAULT_EXTRAS = ("ros", "train", "eval", "sim", "dev")
EXTRAS = (*DEFAULT_EXTRAS, "serve", "captions", "spacy", "browser", "hooks", "photos")
PATHS = ("AMENT_PREFIX_PATH", "CMAKE_PREFIX_PATH", "COLCON_PREFIX_PATH", "LD_LIBRARY_PATH", "PYTHONPATH")
INSTALLED_FROM = ("setup.py", "constraints", "tools/set_up.py", "tools/python_packages.py")
# Set where LD_LIBRARY_PATH is complete: else each Python with ROS wheels sets it and starts a second time.
WHEELS_READY = "_ROS_WHEELS_BOOTSTRAP_COMPLETE"
BUILT_FROM = ("package.xml", "CMakeLists.txt", "msg", "srv", "action", "interfaces")
BUILT_FROM += ("tools/set_up.py", "tools/python_only.cmake", "tools/ros2_run.py.in")
SETUPTOOLS = "setuptools>=77.0.3,<80"  # torch needs 77.0.3, colcon an older one than 80

# How long each step takes on two cores with empty caches, in seconds: docs/installation.md.
STAGES_S = ({"environment": 3}, {"uv": 3}, {"ros": 7}, {"packages": 25, "interfaces": 30})
REBUILD_S = ({"interfaces": 10},)


class Stop(Exception):
    """Set-up cannot go on; the message says in one sentence why, and what to do."""


class Failed(Stop):
    """A tool failed although all it needs is there.

    Args:
        message: Which tool failed, and where its output is.
        excerpt: The lines of its output that say why.
    """

    def __init__(self, message: str, excerpt: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.excerpt = excerpt


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
        if isinstance(stop, Failed):
            print("".join(f"    {line}\n" for line in stop.excerpt), end="", file=sys.stderr)
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
    new_packages = state.get("packages") != packages
    progress = Progress(stages(plan, new_packages))
    try:
        if new_packages:
            install(plan, state, progress)
        elif plan.ros != "none":
            build_interfaces(plan, progress)
    finally:
        progress.close()
    write_state(plan, packages=packages, interfaces=digest_interfaces(plan))
    say("ready. `source env.sh` enters the environment.")


def stages(plan: Plan, new_packages: bool) -> Sequence[Mapping[str, float]]:
    """Return the steps to expect, and about how long they take."""
    if not new_packages:
        return REBUILD_S
    without = {"interfaces"} if plan.ros == "none" else set()
    return [{name: stage[name] for name in stage if name not in without} for stage in STAGES_S]


def install(plan: Plan, state: dict[str, str], progress: Progress) -> None:
    """Make .venv, then install its packages while the interfaces, which need few of them, are built."""
    make_environment(plan, state, progress)
    installer = make_installer(plan, progress)
    with progress.step("uv", "getting uv", needed=installer.lacks_uv()):
        installer.prepare(build_environ(plan))
    needed_to_build, others = requirements(plan)
    title = "ROS 2 from PyPI" if plan.origin == "pypi" else "what the installation needs"
    with progress.step("ros", f"installing {title} with {installer.title}"):
        install_packages(plan, installer, needed_to_build)
        if plan.origin == "pypi":
            repair_cmake_exports()
    with ThreadPoolExecutor() as threads:
        building = threads.submit(build_interfaces, plan, progress) if plan.ros != "none" else None
        with progress.step("packages", f"installing {len(others)} Python packages with {installer.title}"):
            install_packages(plan, installer, others)
            # Editable, so that an edit takes effect at once and the command `kosmos2` is there.
            options = ["--no-deps", "--no-build-isolation"]
            installer.install([*options, "--editable", str(ROOT)], build_environ(plan))
        write_state(plan, packages=digest_packages(plan))
        if building:
            building.result()


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
    named = environ.get("EXTRAS") or state.get("extras") or ",".join(DEFAULT_EXTRAS)
    wanted = {extra.strip() for extra in named.split(",")} - {""}
    if "all" in wanted:
        return EXTRAS
    unknown = sorted(wanted.difference(EXTRAS))
    if unknown:
        raise Stop(f"EXTRAS={named} names {unknown[0]}, which is none of {', '.join(EXTRAS)}, all.")
    return tuple(extra for extra in EXTRAS if extra in wanted)


def choose_python(ros: str, origin: str, state: dict[str, str]) -> Interpreter:
    """The first interpreter that fits: last time's, the one that runs this (outside any venv), others."""
    running = getattr(sys, "_base_executable", sys.executable)
    names = [running, "python3", "/usr/bin/python3", "python3.12", "python3.11"]
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
        say(f"{line} ({', '.join(missing.values())}) ...")
        with suppress(Failed):  # what is missing after this is reported below
            run(["apt-get", "update"], "apt-get update")
            environ = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
            run([*shlex.split(line), "--no-install-recommends"], "apt-get install", environ)
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


def make_environment(plan: Plan, state: dict[str, str], progress: Progress) -> None:
    if VENV.exists() and not state:
        raise Stop(f"{VENV} was not made by this set-up: move it away, then run `make setup` again.")
    if state and any(state.get(key) != value for key, value in identity(plan).items()):
        say(f"removing .venv, build and install, made for {state['title']}, Python {state['python']}")
        for folder in (VENV, BUILD, INSTALL):
            shutil.rmtree(folder, ignore_errors=True)
    VENV.mkdir(exist_ok=True)
    write_state(plan)  # first: what an interruption leaves is known to be ours
    missing = not (VENV / "bin/pip").exists()
    with progress.step("environment", f"making .venv with {plan.python.path}", needed=missing):
        if missing:
            shared = ["--system-site-packages"] if plan.installed else []
            run([plan.python.path, "-m", "venv", *shared, str(VENV)], "python -m venv")


def make_installer(plan: Plan, progress: Progress) -> Installer:
    pins = (ROOT / "constraints/common.txt").read_text()
    version = re.search(r"^uv==(.+)$", pins, re.MULTILINE)[1]
    return Installer(VENV, run, Failed, progress.say, use_uv=not plan.installed, uv_version=version)


def requirements(plan: Plan) -> tuple[list[str], list[str]]:
    """Return what building the interfaces needs, and what else the chosen extras need."""
    declared = runpy.run_path(str(ROOT / "setup.py"), run_name="requirements")
    extras = declared["EXTRAS"]
    others = set(declared["REQUIRES"]).union(*(extras[name] for name in set(plan.extras) - {"ros"}))
    needed_to_build = {SETUPTOOLS}
    if plan.origin == "pypi":
        needed_to_build.update(extras["ros"], extras[plan.ros])
        needed_to_build.update(line for line in others if line.startswith("numpy"))
    if plan.installed:
        others -= {line for line in others if line.startswith("opencv-python") and plan.python.opencv}
        if not shutil.which("colcon"):
            needed_to_build.add("colcon-common-extensions")
    return sorted(needed_to_build), sorted(others - needed_to_build)


def install_packages(plan: Plan, installer: Installer, names: list[str]) -> None:
    """Install packages in the tested versions; beside an installed ROS its NumPy stays."""
    constraints = ROOT / "constraints" / f"{plan.ros if plan.origin == 'pypi' else 'common'}.txt"
    pins = ["--constraint", str(constraints)]
    if plan.installed and plan.python.numpy:
        numpy_pin = VENV / "constraints.txt"
        numpy_pin.write_text(f"numpy=={plan.python.numpy}\n")
        pins += ["--constraint", str(numpy_pin)]
    installer.install([*pins, *names], build_environ(plan))


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
            replace_text(export, mended)


# The interfaces.


def build_interfaces(plan: Plan, progress: Progress) -> None:
    borrowed = borrowed_interfaces(plan)
    names = ["kosmos2", *borrowed]
    cmake = [f"-DPython3_EXECUTABLE={VENV / 'bin/python'}"]
    generator = "Unix Makefiles"
    if plan.origin == "pypi":  # where ROS is installed, C++ nodes may build on these packages
        generator = "Ninja"
        cmake += ["-G", generator, f"-DCMAKE_PROJECT_INCLUDE={PYTHON_ONLY}"]
    remove_builds_of_other_generators(names, generator)
    command = [
        *("colcon", "--log-base", str(BUILD / "log"), "build", "--symlink-install"),
        *("--build-base", str(BUILD), "--install-base", str(INSTALL)),
        *("--base-paths", str(ROOT), *(str(ROOT / "interfaces" / name) for name in borrowed)),
        *("--packages-select", *names, "--cmake-args", *cmake),
    ]
    # colcon lets the build tool wait while the machine's load is above the number of cores. Without this,
    # two packages built side by side slow each other down to one compiler.
    jobs = {"MAKEFLAGS": f"-j{cores()}", "CMAKE_BUILD_PARALLEL_LEVEL": str(cores())}
    why = f" ({' and '.join(borrowed)} too: not installed)" if borrowed else ""
    with progress.step("interfaces", f"building the messages{why}"):
        run(command, "colcon build", {**build_environ(plan), **jobs})


def remove_builds_of_other_generators(names: list[str], generator: str) -> None:
    """CMake refuses to go on in a folder that was configured for another build tool."""
    for name in names:
        cache = BUILD / name / "CMakeCache.txt"
        if cache.exists() and f"CMAKE_GENERATOR:INTERNAL={generator}\n" not in cache.read_text():
            shutil.rmtree(cache.parent)


def cores() -> int:
    with suppress(AttributeError):  # Linux only: the cores that this process may use
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


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
    """Return this shell's variables without this clone's overlay, which must not be its own underlay."""
    environ = dict(os.environ)
    for name in PATHS:
        kept = [p for p in environ.pop(name, "").split(os.pathsep) if p and not below_root(p)]
        if kept and plan.installed:
            environ[name] = os.pathsep.join(kept)
    environ.pop(WHEELS_READY, None)  # of another environment's python, if any
    if plan.origin == "pypi":  # its environment is a ROS prefix
        environ["AMENT_PREFIX_PATH"] = environ["CMAKE_PREFIX_PATH"] = str(VENV)
        environ["LD_LIBRARY_PATH"] = os.pathsep.join(map(str, library_folders()))
        environ[WHEELS_READY] = "1"
    environ["VIRTUAL_ENV"] = str(VENV)
    environ["PATH"] = f"{VENV / 'bin'}{os.pathsep}{environ['PATH']}"
    return environ


def library_folders() -> list[Path]:
    """Return the folders with the ROS wheels' libraries, as env.sh has them."""
    return [VENV / "lib", *sorted(VENV.glob("lib/python3.*/site-packages/ros_*.libs"))]


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
    replace_text(STATE, "".join(f"{key}={value}\n" for key, value in state.items()))


def digest_packages(plan: Plan) -> str:
    system = (plan.python.numpy, str(plan.python.opencv)) if plan.installed else ()
    files = [ROOT / name for name in INSTALLED_FROM]
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


def replace_text(path: Path, text: str) -> None:
    """Write a file as a whole, as a new file: uv's packages are hard links into its cache."""
    fresh = path.with_name(f"{path.name}.new")
    fresh.write_text(text)
    fresh.replace(path)


def run(command: Sequence[str], name: str, environ: Mapping[str, str] | None = None) -> None:
    """Run a command and keep its output in build/set_up/.

    Raises:
        Failed: the command's exit status is not 0.
    """
    log_path = LOGS / f"{re.sub('[^a-z]+', '-', name)}.log"
    log_path.parent.mkdir(parents=True, exist_ok=True)
    with log_path.open("ab") as log:
        log.write(f"\n$ {shlex.join(command)}\n".encode())
        log.flush()
        start = log.tell()
        code = subprocess.run(command, cwd=ROOT, env=environ, stdout=log, stderr=subprocess.STDOUT).returncode
    if code:
        lines = log_path.read_bytes()[start:].decode(errors="replace").splitlines()
        errors = [
            number
            for number, line in enumerate(lines)
            if re.search(r"CMake Error|ERROR:|error:|^E: |^  × ", line)
        ]
        first = errors[0] if errors else max(0, len(lines) - 12)
        raise Failed(
            f"{name} failed (exit {code}); all it printed is in {log_path.relative_to(ROOT)}.",
            lines[first : first + 12],
        )


if __name__ == "__main__":
    sys.exit(main())
