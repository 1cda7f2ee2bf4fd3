"""Word vectors as the common tools write them, known by what a file holds and not by its name.

==========  ===========================================================================================================
text        a word and its numbers a line, after a line of counts or without: word2vec, GloVe, fastText's ``.vec``;
            a word may hold spaces, as GloVe's largest files have it, and the numbers are what stands last
binary      the counts, then each word and its numbers as float32: word2vec's ``-binary 1``
fastText    the model itself: rows of words and of character n-grams, of which every text has a vector, seen or not
==========  ===========================================================================================================

Each of them may be compressed by gzip. A model that fastText has quantised (``.ftz``) is refused.
"""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
import torch
from torch import Tensor

from scionwood.errors import SourceError

__all__ = ["Ngrams", "Vectors", "read_vectors"]

GZIP = b"\x1f\x8b"
FASTTEXT = struct.pack("<i", 793712314)
NEWEST = 12
"""Of the versions of fastText's files; 11 differs in what supervised models mean."""

LARGEST = float(np.finfo(np.float32).max)

LOOKED_AT = 1 << 16
"""How many bytes tell the kind of a file."""

AT_ONCE = 1 << 14
"""Of how many texts the n-grams are held at once."""

END_OF_LINE = "</s>"
"""What fastText writes for it; it has no n-grams."""


@dataclass(frozen=True)
class Ngrams:
    """The character n-grams that fastText knows words by: hashed, so that all share a number of rows.

    Args:
        shortest: in letters.
        longest: in letters; with 0 there are none.
        buckets: how many rows there are for them.
    """

    shortest: int
    longest: int
    buckets: int

    def of(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Return which of the texts each n-gram belongs to, and its bucket.

        A text is read between ``<`` and ``>``, which are no n-grams by themselves. Hashes are FNV-1a of 32 bits, with
        bytes taken as signed ones, as fastText's are.

        >>> texts, buckets = Ngrams(2, 2, 1000).of(["ab"])  # <a, ab, b>
        >>> texts.tolist(), buckets.tolist()
        ([0, 0, 0], [750, 946, 561])
        """
        encoded = [b"<%b>" % text.encode() if text != END_OF_LINE else b"" for text in texts]
        letters = np.frombuffer(b"".join(encoded), np.uint8)
        owner = np.repeat(np.arange(len(encoded)), [len(each) for each in encoded])
        begins = (letters & 0xC0) != 0x80  # of a letter, not the middle of one
        first = np.ones(len(letters), bool)
        first[1:] = owner[1:] != owner[:-1]
        # Whether a letter ends before this place: where the next one begins, or the text is over.
        ended = np.ones(len(letters) + 1, bool)
        ended[:-1] = begins
        signed = letters.astype(np.int8).astype(np.uint32)
        place = np.flatnonzero(begins)
        hashed = np.full(len(place), 2166136261, np.uint32)
        length = np.zeros(len(place), np.int64)
        found: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        at = place.copy()
        while len(place):
            hashed = (hashed ^ signed[at]) * np.uint32(16777619)
            at += 1
            length += ended[at]
            last = at == len(letters)
            last[~last] = first[at[~last]]
            counts = ended[at] & (length >= self.shortest) & (length <= self.longest)
            counts &= ~((length == 1) & (first[place] | last))
            found.append((place[counts], length[counts], hashed[counts] % np.uint32(max(1, self.buckets))))
            on = ~last & (length < self.longest)
            place, at, hashed, length = place[on], at[on], hashed[on], length[on]
        if not found:
            return owner[:0], owner[:0]
        places, lengths, buckets = (np.concatenate(each) for each in zip(*found, strict=True))
        order = np.lexsort((lengths, places))
        return owner[places[order]], buckets[order].astype(np.int64)


class Vectors:
    """Words and their vectors.

    Args:
        words: word → its row.
        rows: of the words in their order, (words, k); or as a file holds them, with those of n-grams at the end.
        ngrams: where texts are known by n-grams, which.
        counts: how often each word occurs, where that is known; in their order.

    >>> vectors = Vectors({"a": 0, "b": 1}, torch.eye(2))
    >>> vectors.of(["b", "c"])
    tensor([[0., 1.],
            [0., 0.]])
    """

    def __init__(
        self,
        words: Mapping[str, int],
        rows: Tensor | np.ndarray,
        ngrams: Ngrams | None = None,
        counts: Sequence[int] | None = None,
    ) -> None:
        self.words = words
        self.rows = rows
        self.ngrams = ngrams
        self.counts = counts

    @cached_property
    def matrix(self) -> Tensor:
        """The vectors of the words, in their order, (words, k)."""
        return self.rows if isinstance(self.rows, Tensor) else self.of(list(self.words))

    @cached_property
    def frequencies(self) -> Tensor:
        """How often each word occurs, up to a factor: as counted, or else one over its place, which is Zipf's law.

        The programs write what is frequent first. Words in the order of the alphabet say nothing, and count alike.

        >>> Vectors({"the": 0, "of": 1}, torch.eye(2)).frequencies, Vectors({"a": 0, "b": 1}, torch.eye(2)).frequencies
        (tensor([1.0000, 0.5000]), tensor([1., 1.]))
        """
        if self.counts is not None:
            return torch.tensor(self.counts).clamp(min=1).float()
        listed = list(self.words)
        places = torch.arange(1, len(listed) + 1)
        return torch.ones(len(listed)) if listed == sorted(listed) else 1 / places

    def of(self, texts: Sequence[str]) -> Tensor:
        """Return the vectors of some texts, (texts, k): zeros of those that nothing is known of.

            v(text) = mean of the word's own row, where it is one, and of the rows of its n-grams

        Args:
            texts: words, or parts of words.
        """
        parts = [self._some(texts[start : start + AT_ONCE]) for start in range(0, len(texts), AT_ONCE)]
        return torch.cat(parts) if parts else torch.zeros(0, self.rows.shape[1])

    def _some(self, texts: Sequence[str]) -> Tensor:
        known = [(place, self.words[text]) for place, text in enumerate(texts) if text in self.words]
        owner, row = np.array(known, np.int64).reshape(-1, 2).T
        if self.ngrams is not None:
            owners, buckets = self.ngrams.of(texts)
            behind = len(self.rows) - self.ngrams.buckets
            owner, row = np.concatenate([owner, owners]), np.concatenate([row, behind + buckets])
        used, place = np.unique(row, return_inverse=True)
        rows = torch.as_tensor(np.ascontiguousarray(self.rows[used], np.float32))
        sums = torch.zeros(len(texts), self.rows.shape[1])
        owners = torch.from_numpy(owner)
        sums.index_add_(0, owners, rows[torch.from_numpy(place)])
        return sums / torch.bincount(owners, minlength=len(texts)).clamp(min=1)[:, None]


def read_vectors(file: str | Path) -> Vectors:
    """Return the vectors of a file: text or binary as word2vec writes them, or a model of fastText; gzip'd or not.

    A word that stands there twice has its first vector. Bytes of a word that are no UTF-8 are read as U+FFFD in binary
    files, which some of the published ones have; a text must be UTF-8.

    Raises:
        SourceError: the file cannot be read, is none of these, or ends too early; it names the line, or the word.
    """
    path = Path(file).expanduser()
    try:
        with path.open("rb") as plain:
            packed = plain.read(2) == GZIP
        with cast("BinaryIO", gzip.open(path) if packed else path.open("rb")) as lines:
            head = lines.read(LOOKED_AT)
            lines.seek(0)
            if not head.startswith(FASTTEXT) and not _is_binary(head):
                return _of_text(file, lines)
            whole = np.frombuffer(lines.read(), np.uint8) if packed else np.memmap(path, np.uint8, "r")
    except OSError as error:
        raise SourceError(f"{file} cannot be read: {error.strerror or error}.") from None
    except (EOFError, zlib.error) as error:
        raise SourceError(f"{file} is compressed by gzip, and damaged or cut short: {error}.") from None
    return (_of_fasttext if head.startswith(FASTTEXT) else _of_binary)(_Bytes(file, whole))


def _counts(line: bytes) -> list[int] | None:
    """How many words and numbers there are, where a line says it."""
    fields = line.split()
    return [int(field) for field in fields] if len(fields) == 2 and all(map(bytes.isdigit, fields)) else None


def _is_binary(head: bytes) -> bool:
    """Whether a file goes on in binary after its counts: with no line of numbers, and with bytes that no text has."""
    counts, _, rest = head.partition(b"\n")
    if _counts(counts) is None:
        return False
    line, _, _ = rest.partition(b"\n")
    try:
        _ = [float(field) for field in line.rstrip().split(b" ")[1:]]
    except ValueError:
        return any(byte < 32 and byte not in b"\t\n\r" for byte in rest) or not _is_utf8(rest)
    return line.rstrip().count(b" ") == 0 and b"\0" in rest


def _is_utf8(some: bytes) -> bool:
    try:
        some.decode()
    except UnicodeDecodeError as error:
        return len(some) - error.start < 4 and error.reason == "unexpected end of data"  # a letter that is cut in two
    return True


def _numbers_at_end(fields: Sequence[str]) -> int:
    """How many numbers the fields of a line end with.

    >>> _numbers_at_end([".", ".", "0.3", "0.4"])
    2
    """
    for count, field in enumerate(reversed(fields)):
        try:
            float(field)
        except ValueError:
            return count
    return len(fields)


def _not_finite(where: str, numbers: np.ndarray) -> SourceError:
    return SourceError(
        f"{where}: {float(numbers[0]):g} is no finite number of 32 bits, and nothing could be near it.",
        hint="take the word out, or make the file again: what trained it may have diverged",
    )


def _of_text(file: str | Path, lines: Iterable[bytes]) -> Vectors:
    words: dict[str, int] = {}
    rows: list[np.ndarray] = []
    width = told = read = 0
    for number, line in enumerate(lines, start=1):
        if number == 1 and (counts := _counts(line)) is not None:
            told, width = counts
            continue
        try:
            fields = line.decode().rstrip("\n").rstrip("\r").rstrip(" ").split(" ")
        except UnicodeDecodeError as error:
            raise SourceError(f"{file}, line {number}, is no UTF-8 text: byte {error.start} of the line.") from None
        width = width or _numbers_at_end(fields[1:])
        between = fields[1:-width] if width else []
        if len(fields) <= width or (between and _numbers_at_end(between) == len(between)):
            raise SourceError(f"{file}, line {number}: {len(fields) - 1} numbers, {width} before")
        try:
            vector = np.array([float(field) for field in fields[len(fields) - width :]])
        except ValueError:
            vector = np.empty(0)
        if not len(vector):
            raise SourceError(f"{file}, line {number}: after the word stand other things than numbers")
        if len(beyond := vector[~(np.abs(vector) <= LARGEST)]):
            raise _not_finite(f"{file}, line {number}", beyond)
        word = " ".join(fields[: len(fields) - width])
        read += 1
        if word not in words:
            words[word] = len(words)
            rows.append(vector.astype(np.float32))
    if not words:
        raise SourceError(f"{file} holds no vectors.")
    if read < told:
        raise SourceError(f"{file} is cut short: it says {told:,} words, and holds {read:,}.")
    return Vectors(words, torch.from_numpy(np.stack(rows)))


class _Bytes:
    """A binary file that is read from its beginning on.

    Args:
        file: its name, for messages.
        held: what it holds.
    """

    def __init__(self, file: str | Path, held: np.ndarray) -> None:
        self.file = file
        self.held = held
        self.view = held.data
        self.place = 0
        self.what = "its head"

    def take(self, count: int) -> memoryview:
        """The next bytes."""
        if count < 0 or self.place + count > len(self.held):
            raise SourceError(f"{self.file} is cut short, or no file of vectors: it ends within {self.what}.")
        self.place += count
        return self.view[self.place - count : self.place]

    def numbers(self, form: str) -> tuple[int, ...]:
        """The next numbers, as :mod:`struct` writes their types."""
        return struct.unpack(f"<{form}", self.take(struct.calcsize(f"<{form}")))

    def until(self, end: bytes) -> str:
        """The text up to a byte, and past it."""
        stop = self.place
        while stop < len(self.held):
            part = bytes(self.view[stop : stop + 256])
            if end in part:
                stop += part.index(end)
                text = bytes(self.take(stop - self.place)).decode(errors="replace")
                self.place += 1
                return text
            stop += len(part)
        raise SourceError(f"{self.file} is cut short, or no file of vectors: it ends within {self.what}.")

    def rows(self, count: int, width: int) -> np.ndarray:
        """The next rows of float32, as they lie in the file."""
        held = self.take(4 * count * width)
        return np.frombuffer(held, "<f4").reshape(count, width)


def _of_binary(given: _Bytes) -> Vectors:
    count, width = map(int, given.until(b"\n").split())
    if not count or not width:
        raise SourceError(f"{given.file} holds no vectors.")
    given.what = "its vectors"
    if (least := count * (4 * width + 1)) > len(given.held):  # before so much memory is asked for
        raise SourceError(
            f"{given.file} is cut short: it says {count:,} words of {width:,} numbers, "
            f"which take {least:,} bytes and more; it has {len(given.held):,}."
        )
    rows = np.empty((count, width), np.float32)
    words: dict[str, int] = {}
    for number in range(1, count + 1):
        given.what = f"word {number:,} of {count:,}"
        word = given.until(b" ").lstrip("\n")
        vector = given.rows(1, width)
        if not np.isfinite(vector).all():
            raise _not_finite(f"{given.file}, {given.what}", vector[~np.isfinite(vector)])
        if word not in words:
            rows[len(words)] = vector
            words[word] = len(words)
    if bytes(given.view[given.place : given.place + 2]).strip():
        raise SourceError(f"{given.file} goes on after its {count:,} words, or its words are not {width} numbers each.")
    return Vectors(words, torch.from_numpy(rows[: len(words)]))


def _of_fasttext(given: _Bytes) -> Vectors:
    _, version = given.numbers("ii")
    if version not in (11, NEWEST):
        raise SourceError(f"{given.file} is a model of fastText's version {version}; 11 and {NEWEST} are known.")
    # dim, window, epochs, least counts, negatives, n-grams of words, loss, model, buckets, letters of n-grams, rate, threshold.
    width, *_, supervised, buckets, shortest, longest, _, _ = given.numbers("12id")
    if version == 11 and supervised == 3:
        longest = 0  # those had no n-grams of letters, whatever they say
    size, count, _, _, pruned = given.numbers("iiiqq")
    words: dict[str, int] = {}
    counts: list[int] = []
    for number in range(size):
        given.what = f"word {number + 1:,} of {size:,}"
        word = given.until(b"\0")
        often, _ = given.numbers("qb")
        if number < count and word not in words:  # labels stand behind the words
            words[word] = number
            counts.append(often)
    given.what = "its vectors"
    if pruned > 0:
        given.take(8 * pruned)
    (quantised,) = given.numbers("?")
    if quantised or pruned > 0:
        raise SourceError(
            f"{given.file} is a quantised model of fastText, whose vectors are only roughly kept.",
            hint="give the model that it was made of (.bin), or its vectors as text (.vec)",
        )
    rows, columns = given.numbers("qq")
    if columns != width or rows != count + buckets or not words:
        raise SourceError(
            f"{given.file} does not hold together: {count:,} words and {buckets:,} buckets of {width:,} numbers, "
            f"but {rows:,} rows of {columns:,}."
        )
    held = given.rows(rows, width)
    given.what = "what it predicts with"  # which is not needed, but shows that the file is whole
    given.numbers("?")
    others, columns = given.numbers("qq")
    given.take(4 * others * columns)
    for start in range(0, rows, AT_ONCE):
        some = held[start : start + AT_ONCE]
        for row in np.flatnonzero(~np.isfinite(some).all(1)):
            raise _not_finite(f"{given.file}, row {start + row + 1:,} of {rows:,}", some[row][~np.isfinite(some[row])])
    return Vectors(words, held, Ngrams(shortest, longest, buckets) if longest and buckets else None, counts)
