"""Files that others name: refused before they are opened if they are no regular files, or too large.

Opening a named pipe waits until another program writes to it, and a device such as /dev/zero never ends.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path


def check_regular_file(path: Path) -> None:
    """Raise an OSError, whose `strerror` says why, if there is no such file or it is not a regular one."""
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "It is a pipe or a device, not a regular file", str(path))


def read_regular_text(path: Path, max_bytes: int, encoding: str = "utf-8") -> str:
    """Return the text of a regular file.

    Args:
        path: The file.
        max_bytes: A larger file is not read.
        encoding: Its encoding.

    Raises:
        OSError: It cannot be read; `strerror` says why.
        UnicodeDecodeError: It is not text in this encoding.
    """
    check_regular_file(path)
    if (size := path.stat().st_size) > max_bytes:
        raise OSError(errno.EINVAL, f"It has {size:,} bytes, and {max_bytes:,} is the limit", str(path))
    return path.read_text(encoding=encoding)
