"""Checkpoints by name: a folder, or one of the Hugging Face hub, downloaded once and checked.

What is on this machine is used as it is, without asking the network: a robot starts the same way every
time. `kosmos2 download` asks for the newest.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import huggingface_hub
from huggingface_hub import errors

from kosmos2_core.errors import ModelError

FILES = ("*.json", "*.safetensors")  # no pickles
HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def checkpoint_folder(name: str | Path, revision: str | None = None, offline: bool = False) -> Path:
    """The folder of a checkpoint; one of the hub is downloaded where it is not here yet."""
    if str(name) and Path(name).is_dir():
        return Path(name)
    _check_name(str(name))
    try:
        folder = Path(_snapshot(str(name), revision, offline=True))
        if offline or _mark(folder).exists():
            return folder
    except errors.LocalEntryNotFoundError:
        if offline:
            raise ModelError(f"{name} is not on this machine: `kosmos2 download {name}` first.") from None
    return download(str(name), revision)


def download(name: str, revision: str | None = None) -> Path:
    """The newest of this revision, whatever is here already; every file's hash is checked."""
    _check_name(name)
    try:
        folder = Path(_snapshot(name, revision, offline=False))
    except errors.RevisionNotFoundError:
        raise ModelError(f"{name} has no revision {revision}: see its page on the hub.") from None
    except errors.RepositoryNotFoundError:
        raise ModelError(
            f"there is no folder {name} here, and none to see of that name on the hub: check the name; a"
            " private or gated one needs `hf auth login`."
        ) from None
    except errors.LocalEntryNotFoundError:
        raise ModelError(
            f"there is no folder {name} here, and the hub cannot be reached: connect and try again, or name"
            " a folder."
        ) from None
    except Exception as error:  # its HTTP client's too, another one in each major version, and the disk's
        reason = str(error).split("\n")[0]
        raise ModelError(f"{name} could not be downloaded ({reason}): try again; it goes on.") from None
    for file in sorted(folder.iterdir()):
        check_hash(file)
    _mark(folder).parent.mkdir(exist_ok=True)
    _mark(folder).touch()
    return folder


def check_hash(file: Path) -> None:
    """A file of the cache is a link to content named by its hash: SHA-256, or git's of a small file. One
    that is not what its name says is deleted, so that the next download brings it again."""
    content = file.resolve()
    if len(content.name) == 64:
        digest = hashlib.sha256()
    elif len(content.name) == 40:
        digest = hashlib.sha1(b"blob %d\0" % content.stat().st_size, usedforsecurity=False)
    else:
        return  # a mirror that names content otherwise
    with content.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    if digest.hexdigest() != content.name:
        content.unlink()
        raise ModelError(f"{file.name} is not what the hub says it is: it was deleted, download it again.")


def _check_name(name: str) -> None:
    if not HUB_NAME.fullmatch(name):
        raise ModelError(
            f"there is no folder {name}: name a folder with a checkpoint, or one of the hub, as in"
            " microsoft/kosmos-2-patch14-224."
        )


def _snapshot(name: str, revision: str | None, offline: bool) -> str:
    return huggingface_hub.snapshot_download(
        name, revision=revision, allow_patterns=list(FILES), local_files_only=offline
    )


def _mark(folder: Path) -> Path:
    """The file that says that this snapshot's hashes were checked."""
    return folder.parents[1] / ".kosmos2-checked" / folder.name
