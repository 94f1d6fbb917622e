"""Lists in pages: newest first, each page with the cursors of its neighbours."""

import base64
import binascii
from typing import Any

from django.db.models import Model, QuerySet
from rest_framework.pagination import BasePagination
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from billing_site.kernel.errors import InvalidInput

LIMIT_DEFAULT = 50
LIMIT_MAX = 200
ID_MAX = 2**63 - 1
OLDER, NEWER = "o", "n"


class CursorPaging(BasePagination):
    """`?cursor=&limit=`: stable while rows are added, because a cursor names a row, not a distance.

    The answer is `{"data": [...], "next": cursor or null, "previous": cursor or null}`.
    """

    next: str | None = None
    previous: str | None = None

    def paginate_queryset(self, queryset: Any, request: Request, view: APIView | None = None) -> list[Any]:
        """Return one page of the rows; raises InvalidInput naming `cursor` or `limit`."""
        assert isinstance(queryset, QuerySet), "a cursor names a row of a table"
        limit = _limit(request.query_params.get("limit"))
        direction, mark = _decoded(request.query_params.get("cursor"))
        if direction == NEWER:
            # Read upwards from the mark; one row more tells whether there is another page.
            found = list(queryset.filter(id__gt=mark).order_by("id")[: limit + 1])
            page = found[:limit][::-1]
            self.previous = _encoded(NEWER, page[0]) if len(found) > limit else None
            self.next = _encoded(OLDER, page[-1]) if page else None
            return page
        older = queryset if mark is None else queryset.filter(id__lt=mark)
        found = list(older.order_by("-id")[: limit + 1])
        page = found[:limit]
        self.next = _encoded(OLDER, page[-1]) if len(found) > limit else None
        self.previous = _encoded(NEWER, page[0]) if mark is not None and page else None
        return page

    def get_paginated_response(self, data: Any) -> Response:
        """Wrap a page."""
        return Response({"data": data, "next": self.next, "previous": self.previous})

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        """Describe a page for OpenAPI."""
        cursor = {
            "type": "string",
            "nullable": True,
            "description": "A value for `cursor`; null where there is no such page.",
        }
        return {
            "type": "object",
            "required": ["data", "next", "previous"],
            "properties": {"data": schema, "next": cursor, "previous": cursor},
        }

    def get_schema_operation_parameters(self, view: APIView) -> list[dict[str, Any]]:
        """Describe the query parameters for OpenAPI."""
        return [
            {
                "name": "cursor",
                "in": "query",
                "schema": {"type": "string"},
                "description": "`next` or `previous` of another page.",
            },
            {
                "name": "limit",
                "in": "query",
                "schema": {"type": "integer", "minimum": 1, "maximum": LIMIT_MAX, "default": LIMIT_DEFAULT},
                "description": "Rows on a page.",
            },
        ]


def _limit(text: str | None) -> int:
    if text is None:
        return LIMIT_DEFAULT
    if not text.isascii() or not text.isdigit() or len(text) > 4 or not 1 <= int(text) <= LIMIT_MAX:
        raise InvalidInput(f"must be a whole number from 1 to {LIMIT_MAX}", field="limit")
    return int(text)


def _encoded(direction: str, row: Model) -> str:
    return base64.urlsafe_b64encode(f"{direction}{row.pk}".encode()).decode().rstrip("=")


def _decoded(cursor: str | None) -> tuple[str, int | None]:
    if cursor is None:
        return OLDER, None
    try:
        text = base64.b64decode(cursor.encode() + b"=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode(
            "ascii"
        )
    except (binascii.Error, UnicodeError, ValueError):
        text = ""
    direction, mark = text[:1], text[1:]
    if direction not in (OLDER, NEWER) or not mark.isdigit() or len(mark) > 19 or int(mark) > ID_MAX:
        raise InvalidInput("must be `next` or `previous` of another page", field="cursor")
    return direction, int(mark)
