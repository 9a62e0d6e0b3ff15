"""Atomic writing: a file is replaced in one step by a whole one, and nobody else's file is touched."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def replacing(target: str | os.PathLike[str]) -> Iterator[Path]:
    """Give the path of a new file; the file at ``target`` is replaced by it in one step, only if nothing is raised.

    Whoever reads ``target`` sees the old file or the new one, each whole, also after a loss of power; of two writers at the
    same time one wins. The new file has a name of its own in the same folder, hidden, until then. A link stays a link: the
    file that it leads to is replaced. An existing file's permissions are kept. A pipe or a device (``/dev/stdout``) cannot be
    replaced: its own path is given, to be written straight.

    Raises:
        OSError: The folder does not exist or is full, the target is a folder or may not be written; the error names the target.

    >>> import tempfile
    >>> target = Path(tempfile.mkdtemp()) / "new.txt"
    >>> with replacing(target) as part:
    ...     _ = part.write_text("whole")
    """
    given = Path(target)
    place = _followed(given)
    old = _status(place)
    if old is not None and stat.S_ISDIR(old.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(given))
    if _is_stream(place, old):
        yield given
        return
    # A file that its owner has protected is not to be lost because the folder would allow to replace it.
    if old is not None and not (stat.S_ISREG(old.st_mode) and os.access(place, os.W_OK)):
        raise PermissionError(errno.EACCES, "expected a file that may be written", str(given))
    part = place.with_name(f".{secrets.token_hex(16)}.part")
    try:
        # While it is written, nobody may read what the old file kept to itself; a new file has what the umask leaves.
        os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666 if old is None else 0o600))
        yield part
        _sync(part, os.O_WRONLY)
        if old is not None:
            _make_alike(part, old)
        part.replace(place)
    except OSError as error:
        if error.filename is not None and os.fspath(error.filename) == str(part):
            error.filename, error.filename2 = str(given), None
        raise
    finally:
        part.unlink(missing_ok=True)
    with suppress(OSError):  # the list of names; not every system can
        _sync(place.parent, os.O_RDONLY)


def _followed(path: Path) -> Path:
    """Return the absolute path of the file that a link leads to, whether or not it is there."""
    path = Path(os.path.abspath(path))  # noqa: PTH100 (Path.resolve would also follow what stands for an open file)
    for _ in range(40):
        if _is_open_file(path) or not path.is_symlink():
            return path
        path = Path(os.path.normpath(path.parent.resolve() / path.readlink()))
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))


def _is_open_file(path: Path) -> bool:
    """Whether a path stands for an open file, as ``/dev/stdout`` ends in one, and not for a place in a folder."""
    return path.parent == Path("/dev/fd") or path.is_relative_to("/proc")


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except FileNotFoundError:
        return None


def _is_stream(path: Path, status: os.stat_result | None) -> bool:
    return status is not None and (_is_open_file(path) or stat.S_ISFIFO(status.st_mode) or stat.S_ISCHR(status.st_mode))


def _make_alike(path: Path, old: os.stat_result) -> None:
    """Give a file the owner, the group and the permissions of another, as far as the process may."""
    new = path.stat()
    for owner, group in ((old.st_uid, -1), (-1, old.st_gid)):
        if (owner, group) not in ((new.st_uid, -1), (-1, new.st_gid)) and hasattr(os, "chown"):
            with suppress(PermissionError):
                os.chown(path, owner, group)
    path.chmod(stat.S_IMODE(old.st_mode))


def _sync(path: Path, flags: int) -> None:
    """Have what was written put on the disk."""
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
