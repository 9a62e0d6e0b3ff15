"""Files: what is written is whole or not there, and nothing of anybody else's is lost."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import pushforward
from pushforward.core import atomic
from pushforward.io import replacing

ROOT = hasattr(os, "geteuid") and os.geteuid() == 0


def write(target, content):
    with replacing(target) as part:
        part.write_bytes(content)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_replaced_only_when_the_new_one_is_whole(tmp_path):
    target = tmp_path / "t.bin"
    write(target, b"old")
    with replacing(target) as part:
        part.write_bytes(b"ne")
        assert target.read_bytes() == b"old"
        assert part.parent == tmp_path
        assert part.name.startswith(".")
    assert target.read_bytes() == b"ne"
    assert names(tmp_path) == ["t.bin"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit, GeneratorExit])
def test_whatever_is_raised_the_old_file_stays_and_nothing_else_is_left(tmp_path, error):
    target = tmp_path / "t.bin"
    write(target, b"old")

    def interrupted():
        with replacing(target) as part:
            part.write_bytes(b"half")
            raise error

    with pytest.raises(error):
        interrupted()
    assert target.read_bytes() == b"old"
    assert names(tmp_path) == ["t.bin"]


def test_names_that_a_user_may_have_chosen_are_theirs(tmp_path):
    theirs = {name: name.encode() for name in ("t.bin.part", ".t.bin.part", "t.bin.tmp", "t.bin~", ".part")}
    for name, content in theirs.items():
        (tmp_path / name).write_bytes(content)
    write(tmp_path / "t.bin", b"ours")
    assert {name: (tmp_path / name).read_bytes() for name in names(tmp_path)} == {**theirs, "t.bin": b"ours"}


def test_of_two_writers_one_wins_and_both_write_a_file_of_their_own(tmp_path):
    target = tmp_path / "t.bin"
    with replacing(target) as one, replacing(target) as other:
        assert one != other
        one.write_bytes(b"one")
        other.write_bytes(b"other")
    assert target.read_bytes() == b"one"
    assert names(tmp_path) == ["t.bin"]


def test_many_writers_leave_one_whole_file(tmp_path):
    target, contents, seen = tmp_path / "t.bin", [bytes([i]) * 200_000 for i in range(4)], []

    def work(content):
        for _ in range(10):
            write(target, content)
            seen.append(target.read_bytes())

    threads = [threading.Thread(target=work, args=(content,)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 40
    assert set(seen) <= set(contents)
    assert names(tmp_path) == ["t.bin"]


@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize("relative", [True, False])
def test_a_link_stays_a_link(tmp_path, there, relative):
    real = tmp_path / "far" / "real.bin"
    real.parent.mkdir()
    if there:
        real.write_bytes(b"old")
    middle, link = tmp_path / "far" / "middle.bin", tmp_path / "link.bin"
    middle.symlink_to("real.bin" if relative else real)
    link.symlink_to(Path("far") / "middle.bin" if relative else middle)
    write(link, b"new")
    assert link.is_symlink()
    assert middle.is_symlink()
    assert real.read_bytes() == link.read_bytes() == b"new"
    assert not real.is_symlink()
    assert names(tmp_path / "far") == ["middle.bin", "real.bin"]


def test_a_link_in_a_linked_folder_leads_where_the_system_would_go(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "short").symlink_to(tmp_path / "a" / "b")
    (tmp_path / "a" / "b" / "link.bin").symlink_to("../real.bin")
    write(tmp_path / "short" / "link.bin", b"new")
    assert (tmp_path / "a" / "real.bin").read_bytes() == b"new"
    write(tmp_path / "short" / "plain.bin", b"new")
    assert (tmp_path / "a" / "b" / "plain.bin").read_bytes() == b"new"


def test_links_in_a_circle_are_an_error(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OSError, match="symbolic links") as caught:
        write(tmp_path / "a", b"")
    assert caught.value.errno == errno.ELOOP


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664, 0o755])
def test_the_mode_of_a_file_is_kept(tmp_path, mode):
    target = tmp_path / "t.bin"
    target.write_bytes(b"old")
    target.chmod(mode)
    with replacing(target) as part:
        part.write_bytes(b"new")
        # What the old file keeps to itself is not to be read in the new one before it is whole.
        assert stat.S_IMODE(part.stat().st_mode) & ~mode == 0
    assert stat.S_IMODE(target.stat().st_mode) == mode


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_a_new_file_has_the_mode_that_the_umask_leaves(tmp_path, mask):
    old = os.umask(mask)
    try:
        write(tmp_path / "t.bin", b"new")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "t.bin").stat().st_mode) == 0o666 & ~mask


@pytest.mark.skipif(not ROOT, reason="only root may give a file away")
def test_the_owner_of_a_file_is_kept(tmp_path):
    target = tmp_path / "t.bin"
    target.write_bytes(b"old")
    os.chown(target, 12345, 23456)
    write(target, b"new")
    assert (target.stat().st_uid, target.stat().st_gid) == (12345, 23456)


def test_a_protected_file_is_not_replaced(tmp_path, monkeypatch):
    target = tmp_path / "t.bin"
    target.write_bytes(b"old")
    target.chmod(0o444)
    if ROOT:  # root may write to any file
        monkeypatch.setattr(os, "access", lambda path, mode: not (Path(path) == target and mode == os.W_OK))
    with pytest.raises(PermissionError, match=r"may be written.*t\.bin"):
        write(target, b"new")
    assert target.read_bytes() == b"old"
    assert names(tmp_path) == ["t.bin"]


def test_a_long_name_is_no_trouble(tmp_path):
    target = tmp_path / ("x" * 251 + ".bin")
    write(target, b"new")
    assert target.read_bytes() == b"new"


@pytest.mark.parametrize("where", ["none/t.bin", "file/t.bin"])
def test_an_error_names_the_target_and_not_the_file_of_ours(tmp_path, where):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OSError, match=r"t\.bin") as caught:
        write(tmp_path / where, b"")
    assert caught.value.filename == str(tmp_path / where)


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(IsADirectoryError, match=tmp_path.name):
        write(tmp_path, b"")
    assert names(tmp_path) == []


def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch):
    target = tmp_path / "t.bin"
    write(target, b"old")

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write(target, b"new")
    assert target.read_bytes() == b"old"
    assert names(tmp_path) == ["t.bin"]


def test_file_and_folder_are_synced_in_this_order(tmp_path, monkeypatch):
    target, seen, sync = tmp_path / "t.bin", [], os.fsync

    def note(descriptor):
        seen.append(("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file", target.exists()))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    write(target, b"new")
    assert seen == [("file", False), ("folder", True)]


def test_a_named_pipe_is_written_and_stays(tmp_path):
    pipe, got = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()))
    reader.start()
    write(pipe, b"through")
    reader.join()
    assert got == [b"through"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert names(tmp_path) == ["pipe"]


def test_standard_output_is_written_and_stays(tmp_path):
    # The module alone, without the package, whose import takes far longer.
    code = "import runpy, sys; replacing = runpy.run_path(sys.argv[1])['replacing']\n"
    code += "with replacing('/dev/stdout') as part: part.write_bytes(b'through')"
    command = [sys.executable, "-c", code, atomic.__file__]
    assert subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout == b"through"
    with (tmp_path / "out").open("wb") as out:
        subprocess.run(command, stdout=out, check=True)
    assert (tmp_path / "out").read_bytes() == b"through"
    assert Path("/dev/stdout").is_symlink()
    write("/dev/null", b"nothing")
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)


def test_saving_follows_all_of_this(tmp_path):
    flow, real, link = pushforward.MAF(2, transforms=1, widths=(8,)), tmp_path / "real.safetensors", tmp_path / "link.safetensors"
    (tmp_path / "link.safetensors.part").write_bytes(b"theirs")
    real.write_bytes(b"old")
    real.chmod(0o600)
    link.symlink_to(real)
    flow.save(link)
    assert link.is_symlink()
    assert stat.S_IMODE(real.stat().st_mode) == 0o600
    assert pushforward.load(real).plan == flow.plan
    assert (tmp_path / "link.safetensors.part").read_bytes() == b"theirs"


def test_equal_flows_are_equal_files(tmp_path):
    """Metadata of a safetensors file come in an order that is random in each writing."""
    flow, file = pushforward.flows.NICE(2, transforms=1), tmp_path / "flow.safetensors"
    seen = set()
    for _ in range(20):
        flow.save(file)
        seen.add(file.read_bytes())
    assert len(seen) == 1
    assert (8 + int.from_bytes(next(iter(seen))[:8], "little")) % 8 == 0
    assert pushforward.load(file).plan == flow.plan
