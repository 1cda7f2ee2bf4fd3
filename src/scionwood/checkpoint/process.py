"""Processes for workers: Python runs one thread at a time, and a tile is a few dozen short calls of torch.

A worker's process is a fork, so that it has the tensors as they are, the mapped files and the open libraries, and costs
a few milliseconds. It takes tiles by their numbers, makes and writes them, and says how far it is; nothing else comes
back. It ends with its parent, however that ends.
"""

import contextlib
import ctypes
import gc
import os
import pickle
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, Pipe
from typing import Any, NoReturn

from scionwood.errors import ScionwoodError

__all__ = ["Process", "available", "start"]

Make = Callable[[Sequence[Any]], Iterator[Any]]
"""Does a piece of work, and yields what there is to report meanwhile."""

# Linux ends a process with this signal when the thread that forked it is gone.
PR_SET_PDEATHSIG = 1

SECONDS_BETWEEN_LOOKS = 0.05


class _RemoteTracebackError(Exception):
    """Where an error came from, as text: a traceback does not cross between processes."""


class Process:
    """The parent's end of a worker's process."""

    def __init__(self, number: int, connection: Connection) -> None:
        self.number = number
        self.connection = connection

    def make(self, work: Sequence[Any], stopped: Callable[[], bool]) -> Iterator[Any]:
        """Have a piece of work done, and yield what is reported of it; give up as soon as it is stopped.

        Raises:
            ScionwoodError: the process ended before its work.
            Exception: whatever was raised in the process.
        """
        try:
            self.connection.send(work)
            while not stopped():
                if not self.connection.poll(SECONDS_BETWEEN_LOOKS):
                    continue
                kind, content = self.connection.recv()
                if kind == "done":
                    return
                if kind == "error":
                    raise _unpacked(content)
                if kind == "warning":
                    text, category = content
                    warnings.warn(text, category, stacklevel=2)
                else:
                    yield content
        except (EOFError, ConnectionError):
            raise ScionwoodError(
                f"A worker's process ({self.number}) ended before its work.",
                hint="where memory ran out, --memory or --workers 1 take less",
            ) from None

    def end(self) -> None:
        """End the process, whatever it does."""
        self.connection.close()
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.number, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.number, 0)


def available() -> bool:
    """Whether processes can be forked here without harm: on other systems than Linux their libraries forbid it."""
    return sys.platform == "linux"


def start(count: int, make: Make) -> list[Process]:
    """Fork processes that do work.

    Args:
        count: how many.
        make: called in them for every piece of work.
    """
    pipes = [Pipe() for _ in range(count)]
    processes: list[Process] = []
    for place, (mine, its) in enumerate(pipes):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of threads, which do nothing that a child waits for
            number = os.fork()
        if number == 0:
            for other, (theirs, away) in enumerate(pipes):
                theirs.close()  # so that a parent's end is open in the parent alone, and its end is noticed
                if other != place:
                    away.close()
            _serve(its, make)
        processes.append(Process(number, mine))
    for _, its in pipes:
        its.close()
    return processes


def _serve(connection: Connection, make: Make) -> NoReturn:
    """Do what comes through the connection until it is closed; the process never returns from here."""
    try:
        gc.disable()  # it would write into pages that are shared with the parent
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent is interrupted, and ends this
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        warnings.showwarning = lambda message, category, *_, **__: connection.send(
            ("warning", (str(message), category))
        )
        while True:
            work = connection.recv()
            try:
                for report in make(work):
                    connection.send(("report", report))
                connection.send(("done", None))
            except (EOFError, ConnectionError):
                raise
            except BaseException as error:  # noqa: BLE001 - handed to the parent, which raises it
                connection.send(("error", _packed(error)))
    except (EOFError, ConnectionError):
        pass
    finally:
        os._exit(0)


def _packed(error: BaseException) -> tuple[bytes | None, str, str]:
    """An error as it crosses between processes: itself if it can be pickled, and its text."""
    text = "".join(traceback.format_exception(error))
    with contextlib.suppress(Exception):
        data = pickle.dumps(error)
        pickle.loads(data)  # noqa: S301 - what this process made just now
        return data, repr(error), text
    return None, repr(error), text


def _unpacked(content: tuple[bytes | None, str, str]) -> BaseException:
    data, shown, text = content
    error = RuntimeError(shown) if data is None else pickle.loads(data)  # noqa: S301 - made by a fork of this process
    error.__cause__ = _RemoteTracebackError("\n" + text)
    return error
