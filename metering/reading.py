"""Read files of any size row by row: CSV, NDJSON, a JSON array or lines, plain or gzipped, in constant memory."""

import csv
import gzip
import io
import json
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Literal, cast

from billing_site.kernel.errors import BillingError, Malformed
from metering.core.decoding import decode_json
from metering.core.mapping import Preset

Format = Literal["csv", "ndjson", "json", "lines"]

ROW_BYTES_MAX = 1024 * 1024
CHUNK_CHARACTERS = 256 * 1024
_FORMATS: dict[str, Format] = {
    ".csv": "csv",
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
    ".json": "json",
}
_BLANKS = " \t\r\n\ufeff"
_NOT_BLANK = re.compile(f"[^{_BLANKS}]")
# Only finds where values end; the decoding proper is done by decode_json.
_scanner = json.JSONDecoder(parse_int=str, parse_float=str)


@dataclass(frozen=True)
class Row:
    """One row, numbered from 1: its values by column, or what is wrong with it.

    `raw` is the row as it stands in the file; of a CSV row that has values it is left empty, because cells
    mean nothing without the header. Of a row that is too long only the beginning is kept.
    """

    number: int
    values: dict[str, Any] | None
    error: BillingError | None = None
    raw: bytes = b""

    @property
    def text(self) -> str:
        """How the row begins, for people."""
        return self.raw[:1000].decode(errors="replace")


class RowFile:
    """An open file of rows; `position` is how many of its `size` bytes are read.

    A `preset` of lines (an access log) has each line read as the row `{"line": text}`.
    """

    def __init__(self, path: Path, preset: Preset | None = None) -> None:
        self.size = path.stat().st_size
        self._raw = path.open("rb")
        packed = self._raw.read(2) == b"\x1f\x8b"
        self._raw.seek(0)
        # Small buffers: of a damaged file everything up to the damage is read, and the bar is right.
        self._bytes = cast(IO[bytes], gzip.GzipFile(fileobj=self._raw) if packed else self._raw)
        self._buffered = io.BufferedReader(cast(Any, self._bytes)) if packed else self._bytes
        self.format: Format = "lines" if preset and preset.is_lines else _format_of(path, self._buffered)
        self.columns: list[str] | None = None
        if self.format == "csv":
            # Kept: a wrapper that is forgotten closes the file beneath it.
            self._text = io.TextIOWrapper(
                cast(Any, self._buffered), encoding="utf-8-sig", errors="surrogateescape", newline=""
            )
            self._lines_of_row: list[str] = []
            self._csv = csv.reader(self._csv_lines(), strict=True)
            self.columns = self._header()

    def __enter__(self) -> "RowFile":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._raw.close()

    @property
    def position(self) -> int:
        """The number of bytes read so far."""
        return self._raw.tell()

    def rows(self) -> Iterator[Row]:
        """Yield each row; raises Malformed where the rest of the file cannot be read."""
        readers: dict[Format, Callable[[], Iterator[Row]]] = {
            "csv": self._csv_rows,
            "ndjson": self._lines,
            "json": self._elements,
            "lines": self._lines,
        }
        try:
            yield from readers[self.format]()
        except (EOFError, zlib.error, gzip.BadGzipFile):
            raise Malformed("the file is damaged: its gzip stream ends too early or is broken") from None

    def _header(self) -> list[str]:
        try:
            columns = [name.strip() for name in next(self._csv, [])]
        except (csv.Error, EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise Malformed(f"the first line cannot be read as a CSV header: {error}") from None
        if not any(columns):
            raise Malformed("the file is empty; the first line of a CSV file names its columns")
        repeated = {name for name in columns if columns.count(name) > 1}
        if repeated:
            raise Malformed(f"the header names a column twice: {', '.join(sorted(repeated))}")
        return columns

    def _csv_lines(self) -> Iterator[str]:
        """Give the reader its lines, and remember those of the present row."""
        while line := self._text.readline(ROW_BYTES_MAX):
            self._lines_of_row.append(line)
            yield line

    def _csv_rows(self) -> Iterator[Row]:
        assert self.columns is not None, "a CSV file has a header"
        number = 0
        while True:
            number += 1
            self._lines_of_row.clear()
            try:
                cells = next(self._csv, None)
            except csv.Error as error:
                yield Row(number, None, Malformed(f"line {self._csv.line_num} is not CSV: {error}"), self._csv_raw())
                continue
            if cells is None:
                return
            if not cells:
                number -= 1
            elif len(cells) != len(self.columns):
                refusal = Malformed(f"has {len(cells)} cells, the header has {len(self.columns)}")
                yield Row(number, None, refusal, self._csv_raw())
            else:
                yield Row(number, dict(zip(self.columns, cells, strict=True)))

    def _csv_raw(self) -> bytes:
        return "".join(self._lines_of_row).encode("utf-8", "surrogateescape")[:ROW_BYTES_MAX].rstrip(b"\r\n")

    def _lines(self) -> Iterator[Row]:
        read = read_line if self.format == "lines" else read_object
        number = 0
        while line := self._buffered.readline(ROW_BYTES_MAX + 1):
            if len(line) > ROW_BYTES_MAX:
                number += 1
                yield Row(number, None, _too_long(), line[:1000])
                while line and not line.endswith(b"\n"):
                    line = self._buffered.readline(ROW_BYTES_MAX)
                continue
            if line := line.strip().removeprefix(b"\xef\xbb\xbf"):
                number += 1
                yield read(number, line)

    def _elements(self) -> Iterator[Row]:
        """Find one element after the other in a buffer that forgets what is read."""
        self._text = io.TextIOWrapper(cast(Any, self._buffered), encoding="utf-8", errors="surrogateescape")
        buffer = self._text.read(CHUNK_CHARACTERS)
        position = _next_character(buffer, 0)
        assert buffer[position] == "[", "only an array is read as one"
        position, number, is_ended = position + 1, 0, False
        while not is_ended:
            start = _next_character(buffer, position)
            end = None if buffer[start : start + 1] == "]" and number == 0 else _end_of_element(buffer, start)
            after = _next_character(buffer, end) if end is not None else start
            if end is None and buffer[start : start + 1] == "]" and number == 0:
                is_ended, position = True, start + 1
            elif end is None or after == len(buffer):
                # An element is complete once something follows it: 12 may be the beginning of 123.
                buffer, position = buffer[start:], 0
                more = self._text.read(CHUNK_CHARACTERS)
                if not more or len(buffer) > ROW_BYTES_MAX:
                    raise Malformed(f"the array cannot be read after element {number}: it is broken or too long there")
                buffer += more
            elif buffer[after] not in ",]":
                raise Malformed(f"after element {number + 1} there is neither a comma nor the end of the array")
            else:
                number += 1
                yield read_object(number, buffer[start:end].encode("utf-8", "surrogateescape"))
                is_ended, position = buffer[after] == "]", after + 1
        if buffer[position:].strip(_BLANKS) or self._text.read(CHUNK_CHARACTERS).strip(_BLANKS):
            raise Malformed("something follows the end of the array")


def _next_character(buffer: str, position: int) -> int:
    """Return the position of the next character that is not blank, or the length of the buffer."""
    found = _NOT_BLANK.search(buffer, position)
    return found.start() if found else len(buffer)


def _end_of_element(buffer: str, start: int) -> int | None:
    """Return where the JSON value that begins at `start` ends, or None where it is not complete."""
    try:
        return _scanner.raw_decode(buffer, start)[1]
    except (json.JSONDecodeError, RecursionError):
        return None


def _format_of(path: Path, stream: IO[bytes] | io.BufferedReader) -> Format:
    """Tell the format by the name, or by the first character where the name does not say or lies."""
    suffixes = [suffix.lower() for suffix in path.suffixes if suffix.lower() != ".gz"]
    named = _FORMATS.get(suffixes[-1]) if suffixes else None
    try:
        beginning = cast(io.BufferedReader, stream).peek(64).lstrip(_BLANKS.encode())[:1]
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise Malformed("the file is damaged: its gzip stream is broken") from None
    if named == "csv":
        return "csv"
    if beginning == b"[":
        return "json"
    if beginning == b"{" or named is not None:
        return "ndjson"
    return "csv"


def read_object(number: int, raw: bytes) -> Row:
    """Read one row that is a JSON object."""
    try:
        values = decode_json(raw)
    except Malformed as error:
        return Row(number, None, error, raw)
    if not isinstance(values, dict):
        return Row(number, None, Malformed("is not an object"), raw)
    return Row(number, values, None, raw)


def read_line(number: int, raw: bytes) -> Row:
    """Read one row that is a line of text; bytes that are no UTF-8 are told by the field in which they stand."""
    return Row(number, {"line": raw.decode("utf-8", "surrogateescape")}, None, raw)


def _too_long() -> Malformed:
    return Malformed(f"the row is longer than {ROW_BYTES_MAX} bytes")
