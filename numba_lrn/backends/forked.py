"""Whether this process is a forked child: noted from the import of the package on, and found out at that moment.

A process forked after an OpenMP pool has started, by anyone, dies or hangs in its first parallel region.
"""

import os
import pathlib

# include/linux/sched.h: forked, and no program executed since.
_PF_FORKNOEXEC = 0x40


def _was_forked() -> bool:
    """What Linux says; elsewhere a process is taken to have been started afresh."""
    try:
        fields = pathlib.Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        return bool(int(fields[6]) & _PF_FORKNOEXEC)
    except (OSError, IndexError, ValueError):
        return False


_in_child = _was_forked()


def _note() -> None:
    global _in_child
    _in_child = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_note)


def in_forked_child() -> bool:
    """Whether this process was forked from another and runs on in it."""
    return _in_child
