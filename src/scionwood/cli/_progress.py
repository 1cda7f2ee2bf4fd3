"""The progress of a write on stderr: a bar on a terminal, a plain line every few seconds elsewhere."""

import sys
import threading
import time
from types import TracebackType
from typing import Self, TextIO

from scionwood.checkpoint import Progress

__all__ = ["WriteProgress", "amount"]

SECONDS_BETWEEN_LINES = 5.0


class WriteProgress:
    """A context that shows how far a write is; call it with a :class:`scionwood.checkpoint.Progress`.

    It may be called from several threads.

    >>> import io
    >>> stream = io.StringIO()
    >>> with WriteProgress("writing", stream=stream) as progress:
    ...     progress(Progress(2_000_000, 2_000_000, 1, 1, "lm_head.weight"))
    >>> print(stream.getvalue().partition(", ")[0])
    writing: 100% of 2.0 MB
    """

    def __init__(self, label: str, *, stream: TextIO | None = None) -> None:
        self.label = label
        self.stream = sys.stderr if stream is None else stream
        self._lock = threading.Lock()
        self._bar = None
        self._task = None
        self._began = self._last_line = time.monotonic()
        self._bytes_before = 0
        self._state: Progress | None = None

    def __enter__(self) -> Self:
        self._began = self._last_line = time.monotonic()
        if self.stream.isatty():
            from rich.console import Console
            from rich.progress import (
                BarColumn,
                DownloadColumn,
                TextColumn,
                TimeRemainingColumn,
                TransferSpeedColumn,
            )
            from rich.progress import Progress as Bar
            from rich.table import Column

            self._bar = Bar(
                TextColumn("{task.description}"),
                BarColumn(bar_width=20),
                DownloadColumn(table_column=Column(no_wrap=True)),
                TextColumn("{task.fields[tensors]}"),
                TransferSpeedColumn(table_column=Column(no_wrap=True)),
                TimeRemainingColumn(table_column=Column(no_wrap=True)),
                TextColumn("{task.fields[tensor]}", style="dim", table_column=Column(overflow="ellipsis")),
                console=Console(file=self.stream, highlight=False),
            )
            self._task = self._bar.add_task(self.label, total=None, tensors="", tensor="")
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.stop()
        elif self._state is not None and kind is None:
            self._print_line(self._state)

    def __call__(self, state: Progress) -> None:
        """Show a state; the first one tells what an earlier run has left."""
        with self._lock:
            if self._state is None and state.tensors_before:
                self._bytes_before = state.bytes_done
                line = f"resuming: {_tensors(state)} are done"
                print(line, file=self.stream, flush=True) if self._bar is None else self._bar.console.print(line)
            self._state = state
            if self._bar is not None and self._task is not None:
                self._bar.update(
                    self._task,
                    completed=state.bytes_done,
                    total=state.bytes_total,
                    tensors=_tensors(state),
                    tensor=state.tensor,
                )
            elif time.monotonic() - self._last_line >= SECONDS_BETWEEN_LINES:
                self._last_line = time.monotonic()
                self._print_line(state)

    def _print_line(self, state: Progress) -> None:
        seconds = max(time.monotonic() - self._began, 1e-9)
        rate = (state.bytes_done - self._bytes_before) / seconds
        share = state.bytes_done / state.bytes_total if state.bytes_total else 1
        line = f"{self.label}: {share:.0%} of {amount(state.bytes_total)}, {_tensors(state)}, {amount(rate)}/s"
        if state.bytes_done < state.bytes_total and rate:
            line += f", {(state.bytes_total - state.bytes_done) / rate:.0f} s left"
        print(line, file=self.stream, flush=True)


def _tensors(state: Progress) -> str:
    return f"{state.tensors_done:,} of {state.tensors_total:,} tensors"


def amount(num_bytes: float) -> str:
    """Return a number of bytes for people, in powers of ten as disks are sold.

    >>> amount(512), amount(2_200_000_000)
    ('512 B', '2.2 GB')
    """
    for unit in ("B", "kB", "MB", "GB"):
        if num_bytes < 1000:
            return f"{num_bytes:.0f} B" if unit == "B" else f"{num_bytes:.1f} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:.1f} TB"
