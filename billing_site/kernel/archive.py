"""Several files as one ZIP, with the SHA-256 of each of them."""

import hashlib
import io
import zipfile
from collections.abc import Iterable
from datetime import UTC, datetime

SUMS = "SHA256SUMS"


def zipped(*, parts: Iterable[tuple[str, bytes]], at: datetime) -> bytes:
    """Return files, by their names, as a ZIP of a moment; each is named with its SHA-256 in its last one, SHA256SUMS.

    The same files at the same moment are the same bytes.
    """
    sink, sums = io.BytesIO(), []
    with zipfile.ZipFile(sink, "w") as archive:
        for name, content in parts:
            archive.writestr(_entry(name, at), content)
            sums.append(f"{hashlib.sha256(content).hexdigest()}  {name}\n")
        archive.writestr(_entry(SUMS, at), "".join(sums))
    return sink.getvalue()


def _entry(name: str, at: datetime) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, date_time=at.astimezone(UTC).timetuple()[:6])
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = 0o644 << 16
    return entry
