"""Progress: a bar on a terminal, whole plain lines elsewhere."""

import io
import threading

from scionwood.cli import _progress
from scionwood.cli._progress import WriteProgress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_file_gets_whole_lines_and_no_control_characters(monkeypatch):
    monkeypatch.setattr(_progress, "SECONDS_BETWEEN_LINES", 0.0)
    stream = io.StringIO()
    with WriteProgress("writing out", stream=stream) as progress:
        progress(50_000_000, 200_000_000, "a")
        progress(200_000_000, 200_000_000, "b")
    first, *_, last = stream.getvalue().splitlines()
    assert first.startswith("writing out: 25% of 200.0 MB, ")
    assert first.endswith(" s left")
    assert last.startswith("writing out: 100% of 200.0 MB, ")
    assert "\x1b" not in stream.getvalue()
    assert "\r" not in stream.getvalue()


def test_a_terminal_gets_a_bar_with_bytes_and_the_tensor():
    stream = Terminal()
    with WriteProgress("writing out", stream=stream) as progress:
        progress(50_000_000, 200_000_000, "lm_head.weight")
    assert "\x1b" in stream.getvalue()
    assert "50.0/200.0 MB" in stream.getvalue()


def test_a_write_that_fails_does_not_claim_to_be_complete():
    stream = io.StringIO()
    try:
        with WriteProgress("writing out", stream=stream) as progress:
            progress(100, 100, "a")
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
        threads = [threading.Thread(target=lambda: [progress(n, 100) for n in range(100)]) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert all(line.startswith("w: ") and line.count("w: ") == 1 for line in stream.getvalue().splitlines())
