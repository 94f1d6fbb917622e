"""Files that pages and the API hand out."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from django.http import HttpResponse, JsonResponse, StreamingHttpResponse

NDJSON = "application/x-ndjson"


def lines_file(*, lines: Iterable[bytes], name: str) -> StreamingHttpResponse:
    """Return lines as a download, as they come."""
    return _named(StreamingHttpResponse(lines, content_type=NDJSON), name)


def document_file(*, document: Any, name: str) -> JsonResponse:
    """Return a JSON document as a download."""
    return _named(JsonResponse(document, json_dumps_params={"ensure_ascii": False}), name)


def program_file(*, path: Path) -> HttpResponse:
    """Return a Python file as a download."""
    return _named(HttpResponse(path.read_bytes(), content_type="text/x-python"), path.name)


def bytes_file(*, content: bytes, content_type: str, name: str) -> HttpResponse:
    """Return bytes as a download."""
    return _named(HttpResponse(content, content_type=content_type), name)


def _named(response: Any, name: str) -> Any:
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return response
