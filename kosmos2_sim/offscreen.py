"""An OpenGL context without a window: what MUJOCO_GL says, else EGL where there is one, else OSMesa."""

from __future__ import annotations

import ctypes
import importlib
import os
import sys
from typing import Protocol

from kosmos2_core.errors import InputError

LIBRARIES = {"egl": "libEGL.so.1", "osmesa": "libOSMesa.so"}
MISSING = (
    "the simulated tabletop cannot render, OpenGL without a screen is not installed ({reason}): on Debian"
    " and Ubuntu, `apt install libegl1 libegl-mesa0 libgl1-mesa-dri`, or `apt install libosmesa6` and set"
    " MUJOCO_GL=osmesa."
)


try:
    import mujoco
except (ImportError, AttributeError, RuntimeError) as error:  # as MuJoCo and PyOpenGL say it
    raise InputError(
        f"the simulated tabletop cannot render, MuJoCo cannot be imported ({error}): install the extra sim"
        " (`make setup EXTRAS=ros,sim`), and if MUJOCO_GL is set, unset it."
    ) from None

__all__ = ["mujoco", "open_context"]  # to be imported from here, where its absence has a sentence


class Context(Protocol):
    def make_current(self) -> None: ...
    def free(self) -> None: ...


def open_context(width: int, height: int) -> Context:
    """A context that MuJoCo can draw images of this size in; not yet current."""
    # Images this small gain nothing by Mesa's threads, and data sets are rendered by many processes.
    os.environ.setdefault("LP_NUM_THREADS", "0")
    backend = _backend()
    try:
        # What MuJoCo exports was chosen when it was first imported, perhaps by another, so not that.
        context: Context = importlib.import_module(f"mujoco.{backend}").GLContext(width, height)
    except (ImportError, AttributeError, RuntimeError) as error:
        reason = str(error).split(". ")[0].strip().rstrip(".")
        raise InputError(MISSING.format(reason=f"{backend}: {reason}")) from None
    return context


def _backend() -> str:
    """Chosen by what is installed: once PyOpenGL was imported for one, no other can be tried."""
    wanted = os.environ.get("MUJOCO_GL", "").lower()
    if wanted in ("egl", "osmesa", "glfw", "cgl"):
        return wanted
    if sys.platform != "linux":
        return "cgl" if sys.platform == "darwin" else "glfw"
    for backend, library in LIBRARIES.items():
        try:
            ctypes.CDLL(library)
        except OSError:
            continue
        return backend
    raise InputError(MISSING.format(reason="neither libEGL nor libOSMesa is there"))
