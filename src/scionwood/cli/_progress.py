"""The progress of a write on stderr: a bar on a terminal, a plain line every few seconds elsewhere."""

import sys
import threading
import time
from types import TracebackType
from typing import Self, TextIO

__all__ = ["WriteProgress", "amount"]

SECONDS_BETWEEN_LINES = 5.0


class WriteProgress:
    """A context that shows how far a write is; call it with (bytes done, bytes in all, tensor's name).

    It may be called from several threads.

    >>> import io
    >>> stream = io.StringIO()
    >>> with WriteProgress("writing", stream=stream) as progress:
    ...     progress(2_000_000, 2_000_000, "lm_head.weight")
    >>> print(stream.getvalue().split(",")[0])
    writing: 100% of 2.0 MB
    """

    def __init__(self, label: str, *, stream: TextIO | None = None) -> None:
        self.label = label
        self.stream = sys.stderr if stream is None else stream
        self._lock = threading.Lock()
        self._bar = None
        self._task = None
        self._began = self._last_line = time.monotonic()
        self._state: tuple[int, int] | None = None

    def __enter__(self) -> Self:
        self._began = self._last_line = time.monotonic()
        if self.stream.isatty():
            from rich.console import Console
            from rich.progress import (
                BarColumn,
                DownloadColumn,
                Progress,
                TextColumn,
                TimeRemainingColumn,
                TransferSpeedColumn,
            )

            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                DownloadColumn(),
                TransferSpeedColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[tensor]}", style="dim"),
                console=Console(file=self.stream),
            )
            self._task = self._bar.add_task(self.label, total=None, tensor="")
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.stop()
        elif self._state is not None and kind is None:
            self._print_line(*self._state)

    def __call__(self, done: int, total: int, tensor: str = "") -> None:
        """Show that ``done`` of ``total`` bytes are written; ``tensor`` is the one just finished."""
        with self._lock:
            self._state = (done, total)
            if self._bar is not None and self._task is not None:
                self._bar.update(self._task, completed=done, total=total, tensor=tensor)
            elif time.monotonic() - self._last_line >= SECONDS_BETWEEN_LINES:
                self._last_line = time.monotonic()
                self._print_line(done, total)

    def _print_line(self, done: int, total: int) -> None:
        seconds = max(time.monotonic() - self._began, 1e-9)
        rate = done / seconds
        line = f"{self.label}: {done / total if total else 1:.0%} of {amount(total)}, {amount(rate)}/s"
        if done < total and rate:
            line += f", {(total - done) / rate:.0f} s left"
        print(line, file=self.stream, flush=True)


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
