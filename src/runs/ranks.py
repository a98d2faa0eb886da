"""Ranks that do not outlive the process that started them."""

import ctypes
import os
import signal
import sys

STARTED_BY = "ERLANGEN_STARTED_BY"
PR_SET_PDEATHSIG = 1


def end_with_parent() -> None:
    """Has the system end a rank with the process of its run that started it; on Linux.

    A rank that waits for one that was killed would wait for half an hour, be it for the first meeting or in a collective on
    a GPU. (That the first rank ends with the others is Lightning's doing.)
    """
    parent = os.environ.get(STARTED_BY)
    if parent and os.environ.get("LOCAL_RANK", "0") != "0" and sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != int(parent):
            sys.exit("error: the first process of this run has ended, and this one with it")
    os.environ[STARTED_BY] = str(os.getpid())
