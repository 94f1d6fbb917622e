"""Read a page as a person does: its words without markup."""

import html
import io
import re
import zipfile


def text_of(page: str) -> str:
    """Return the text of a page's body, white space as one space; inline elements do not part words."""
    body = re.sub(r"<svg\b.*?</svg>", " ", page.partition("<body>")[2], flags=re.S)
    flowing = re.sub(r"</?(?:span|strong|bdi|a|time)\b[^>]*>", "", body)
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", flowing)).split())


def unpacked(content: bytes) -> str:
    """Return the text of all files of a ZIP."""
    archive = zipfile.ZipFile(io.BytesIO(content))
    return "".join(archive.read(name).decode() for name in archive.namelist())
