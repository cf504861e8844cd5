"""Packages that are not installed, and the command that installs them, by the extras of setup.py."""

from __future__ import annotations

import re
from importlib import metadata
from importlib.util import find_spec
from typing import Final

from kosmos2_core.errors import InputError

PROJECT: Final = "kosmos2"
# Modules whose package has another name.
PACKAGE_OF_MODULE: Final = {
    "PIL": "pillow",
    "cv2": "opencv-python",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
}


def require(*modules: str) -> None:
    """Raise an InputError if a module that is needed later is not installed.

    Args:
        modules: The names by which they are imported.
    """
    for module in modules:
        if find_spec(module) is None:
            raise missing_package(module)


def missing_package(module: str) -> InputError:
    """Return the error to raise for a module that is not installed, in one sentence.

    Args:
        module: The name by which it is imported.
    """
    module = module.partition(".")[0]
    package = PACKAGE_OF_MODULE.get(module, module).replace("_", "-")
    return InputError(f"{package} is not installed: run `pip install {_installed_with(package)}`.")


def _installed_with(package: str) -> str:
    """Return what pip should install: this project, with the first extra that has the package, or itself."""
    # colcon's installation, which may come first, lists no requirements. A clone may not be installed at all.
    installed = metadata.distributions(name=PROJECT)
    for requirement in (entry for distribution in installed for entry in distribution.requires or ()):
        if re.split(r"[^\w-]", requirement, maxsplit=1)[0].replace("_", "-").lower() == package.lower():
            extra = re.search(r"""extra == ["']([\w-]+)["']""", requirement)
            return f"'{PROJECT}[{extra[1]}]'" if extra else PROJECT
    return package
