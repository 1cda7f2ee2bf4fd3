"""Progress: a bar on a terminal, whole plain lines elsewhere."""

import io
import re
import threading
import time

import pytest

from scionwood.checkpoint import Progress
from scionwood.cli import _progress
from scionwood.cli._progress import WriteProgress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_file_gets_whole_lines_and_no_control_characters(monkeypatch):
    monkeypatch.setattr(_progress, "SECONDS_BETWEEN_LINES", 0.0)
    stream = io.StringIO()
    with WriteProgress("writing out", stream=stream) as progress:
        progress(Progress(50_000_000, 200_000_000, 1, 4, "a"))
        progress(Progress(200_000_000, 200_000_000, 4, 4, "b"))
    first, *_, last = stream.getvalue().splitlines()
    assert first.startswith("writing out: 25% of 200.0 MB, 1 of 4 tensors, ")
    assert first.endswith(" s left")
    assert last.startswith("writing out: 100% of 200.0 MB, 4 of 4 tensors, ")
    assert "\x1b" not in stream.getvalue()
    assert "\r" not in stream.getvalue()


def test_a_terminal_gets_a_bar_with_bytes_and_the_tensor():
    stream = Terminal()
    with WriteProgress("writing out", stream=stream) as progress:
        progress(Progress(50_000_000, 200_000_000, 12, 201, "lm_head.weight"))
    assert "\x1b" in stream.getvalue()
    assert "50.0/200.0 MB" in stream.getvalue()
    assert "12 of 201 tensors" in stream.getvalue()


@pytest.mark.parametrize("kind", [io.StringIO, Terminal])
def test_what_an_earlier_run_has_left_is_said_and_is_not_counted_as_speed(kind):
    stream = kind()
    with WriteProgress("writing out", stream=stream) as progress:
        progress(Progress(10**12, 10**12 + 1000, 120, 201, "", 120))
        progress(Progress(10**12 + 1000, 10**12 + 1000, 201, 201, "b", 120))
        time.sleep(0.01)
    assert "resuming: 120 of 201 tensors are done" in stream.getvalue()
    if kind is io.StringIO:
        last = stream.getvalue().splitlines()[-1]
        assert re.fullmatch(r"writing out: 100% of 1.0 TB, 201 of 201 tensors, [\d.]+ k?B/s", last)


def test_a_write_that_fails_does_not_claim_to_be_complete():
    stream = io.StringIO()
    try:
        with WriteProgress("writing out", stream=stream) as progress:
            progress(Progress(100, 100, 1, 1, "a"))
            raise OSError
    except OSError:
        pass
    assert stream.getvalue() == ""


def test_nothing_to_write_prints_nothing():
    stream = io.StringIO()
    with WriteProgress("writing out", stream=stream):
        pass
    assert stream.getvalue() == ""


def test_threads_do_not_mix_their_lines(monkeypatch):
    monkeypatch.setattr(_progress, "SECONDS_BETWEEN_LINES", 0.0)
    stream = io.StringIO()
    with WriteProgress("w", stream=stream) as progress:
        threads = [
            threading.Thread(target=lambda: [progress(Progress(n, 100, n, 100, "a")) for n in range(100)])
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert all(line.startswith("w: ") and line.count("w: ") == 1 for line in stream.getvalue().splitlines())
