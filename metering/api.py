"""The machine face of metering: events in, usage and meters out."""

from datetime import UTC, datetime
from typing import Any, cast

from django.conf import settings
from drf_spectacular.utils import OpenApiParameter, OpenApiTypes, extend_schema
from rest_framework.exceptions import UnsupportedMediaType
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.settings import api_settings
from rest_framework.views import APIView

from billing_site.kernel.clock import now
from billing_site.kernel.errors import FieldError, InvalidFields, InvalidInput, NotFound, TooLarge
from billing_site.kernel.money import plain
from metering import schema
from metering.core.batch import Batch, read_json_batch, read_ndjson_batch, with_conflicts
from metering.core.parsing import read_moment
from metering.core.question import read_question
from metering.ingest import accept_events
from metering.models import Meter
from metering.operations import create_meter
from metering.queries import Window, meter_by_key, usage_report

READERS = {
    "application/json": read_json_batch,
    "application/x-ndjson": read_ndjson_batch,
    "application/ndjson": read_ndjson_batch,
}
METER_FIELDS = {
    "key",
    "name",
    "event_type",
    "aggregation",
    "value_property",
    "unit",
    "filters",
    "dimensions",
    "effective_from",
}


class EventsView(APIView):
    """Usage events in."""

    scopes = {"POST": "events:write"}
    customer_bound = ("POST",)
    # Each event carries its own idempotency key.
    has_own_idempotency = True

    @extend_schema(request=schema.EVENTS, responses=schema.RECEIPTS, summary="Send usage events", tags=["events"])
    def post(self, request: Request) -> Response:
        """Accept usage events: one object, `{"events": [...]}` with up to 10,000, or NDJSON with one per line.

        Each event is judged by itself: `accepted` are new and committed when this answers, `duplicates`
        repeat an event that was accepted before under the customer's idempotency key, whatever their
        timestamp; `rejected` names the first wrong field of each refused event and its position in the
        request. An event that carries a known key and another type, quantity, namespace or other properties
        is rejected with the code `conflict`, and listed for staff. 422 if every event was refused.
        """
        reader = READERS.get(_media_type(request))
        if reader is None:
            raise UnsupportedMediaType(
                request.content_type, detail="send application/json or application/x-ndjson, in UTF-8, uncompressed"
            )
        body = request.body
        if len(body) > settings.REQUEST_BYTES_MAX:
            raise TooLarge(f"a body may have at most {settings.REQUEST_BYTES_MAX} bytes")
        batch = reader(
            body=body,
            events_max=settings.EVENTS_PER_REQUEST_MAX,
            received_at=now(),
            customer_key=_bound_customer(request),
        )
        receipt = accept_events(events=batch.events)
        if receipt.conflicts:
            batch = with_conflicts(batch=batch, conflicts=receipt.conflicts)
        if batch.rejections and not receipt.accepted + receipt.duplicates:
            return _every_event_refused(batch)
        return Response(
            {
                "accepted": receipt.accepted,
                "duplicates": receipt.duplicates,
                "rejected": [rejection.document() for rejection in batch.rejections],
            },
            status=202,
        )


class UsageView(APIView):
    """What was used."""

    scopes = {"GET": "usage:read"}
    customer_bound = ("GET",)

    @extend_schema(
        parameters=[
            OpenApiParameter("customer_id", required=True, description="The customer's key."),
            OpenApiParameter("meter", required=True, description="The meter's key."),
            OpenApiParameter("start", OpenApiTypes.DATETIME, required=True, description="First moment that counts."),
            OpenApiParameter("end", OpenApiTypes.DATETIME, required=True, description="First moment after it."),
            OpenApiParameter("granularity", enum=["hour", "day", "month"], default="day", description="UTC windows."),
            OpenApiParameter("group_by", description="`namespace_id`, or the name of a property."),
        ],
        responses={200: schema.USAGE},
        summary="Read usage",
        tags=["usage"],
    )
    def get(self, request: Request) -> Response:
        """Return the usage of a period, every event accepted before this request included.

        Windows without usage are left out. Metering knows events, not customers: a customer without
        events has the total "0".
        """
        question = read_question(parameters=request.query_params)
        bound = _bound_customer(request)
        if bound and question.customer_id != bound:
            raise NotFound(f"this key sees the usage of {bound} only", field="customer_id")
        report = usage_report(
            meter_key=question.meter,
            customer_id=question.customer_id,
            period=question.period,
            granularity=question.granularity,
            group_by=question.group_by,
        )
        return Response(
            {"total": plain(report.total), "windows": [_window_document(window) for window in report.windows]}
        )


class MetersView(APIView):
    """All meters."""

    scopes = {"GET": "meters:read", "POST": "meters:write"}
    customer_bound = ("GET",)

    @extend_schema(
        parameters=schema.PAGE,
        responses={200: schema.METER_PAGE},
        summary="List meters",
        tags=["meters"],
        operation_id="meters_list",
    )
    def get(self, request: Request) -> Response:
        """Return the meters, newest first."""
        paging = cast(Any, api_settings.DEFAULT_PAGINATION_CLASS)()
        page = paging.paginate_queryset(Meter.objects.all(), request, view=self)
        return paging.get_paginated_response([_meter_document(meter) for meter in page])

    @extend_schema(request=schema.NEW_METER, responses={201: schema.METER}, summary="Create a meter", tags=["meters"])
    def post(self, request: Request) -> Response:
        """Create a meter: how the events of one type become a quantity.

        Without `effective_from` it counts from the beginning, unless events of its type were accepted
        already: then from now on, so that nothing is billed that nobody priced. Creating it again is the
        same meter; another meaning under a known key is a 409.
        """
        fields = _meter_fields(request.data)
        meter = create_meter(**fields, actor=f"API key {_key_of(request).name}", reason="created over the API")
        return Response(_meter_document(meter), status=201)


class MeterView(APIView):
    """One meter."""

    scopes = {"GET": "meters:read"}
    customer_bound = ("GET",)

    @extend_schema(responses={200: schema.METER}, summary="Read a meter", tags=["meters"])
    def get(self, request: Request, key: str) -> Response:
        """Return one meter."""
        return Response(_meter_document(meter_by_key(key=key)))


def _media_type(request: Request) -> str:
    """Return the content type in lower case, or "" where text is not UTF-8 or compressed."""
    media_type, *options = [part.strip().lower() for part in (request.content_type or "").split(";")]
    charsets = [option.partition("=")[2].strip('"') for option in options if option.startswith("charset=")]
    if any(charset not in ("utf-8", "utf8") for charset in charsets):
        return ""
    if request.headers.get("Content-Encoding", "identity").lower() not in ("", "identity"):
        return ""
    return media_type


def _bound_customer(request: Request) -> str:
    return str(_key_of(request).customer_key)


def _key_of(request: Request) -> Any:
    """Return the caller's API key; its model belongs to the faces above, so it has no type here."""
    return request.auth


def _every_event_refused(batch: Batch) -> Response:
    """Answer with problem details (RFC 9457) that carry the receipt, too."""
    alone = len(batch.rejections) == 1
    errors = [
        {
            "field": rejection.error.field
            if alone
            else f"events[{rejection.index}].{rejection.error.field}".rstrip("."),
            "code": rejection.error.code,
            "message": rejection.error.message,
        }
        for rejection in batch.rejections
    ]
    first = batch.rejections[0].error
    return Response(
        {
            "type": "urn:billing:problem:invalid",
            "title": "Unprocessable Content",
            "status": 422,
            "detail": f"every event was refused, the first because {first.field or 'it'} {first.message}",
            "errors": errors,
            "accepted": 0,
            "duplicates": 0,
            "rejected": [rejection.document() for rejection in batch.rejections],
        },
        status=422,
        content_type="application/problem+json",
    )


def _window_document(window: Window) -> dict[str, Any]:
    return {
        "start": _time(window.start),
        "end": _time(window.end),
        "value": plain(window.value),
        "group": window.group,
    }


def _meter_fields(document: Any) -> dict[str, Any]:
    if not isinstance(document, dict):
        raise InvalidInput("must be an object with the fields of a meter", field="body", code="wrong_type")
    errors = [
        FieldError(
            str(name)[:60], "unknown_field", f"is not a field of a meter; known are {', '.join(sorted(METER_FIELDS))}"
        )
        for name in document
        if name not in METER_FIELDS
    ]
    errors += [FieldError(name, "required", "is required") for name in ("key", "event_type") if name not in document]
    if errors:
        raise InvalidFields(tuple(errors))
    fields = {"name": document["key"], **document}
    if isinstance(fields.get("effective_from"), str):
        fields["effective_from"] = _moment(fields["effective_from"])
    return fields


def _moment(text: str) -> datetime:
    try:
        moment = read_moment(text=text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise InvalidInput(
            "must be a time with an offset, such as 2026-07-01T00:00:00Z", field="effective_from", code="not_a_time"
        )
    return moment


def _meter_document(meter: Meter) -> dict[str, Any]:
    return {
        "key": meter.key,
        "name": meter.name,
        "event_type": meter.event_type,
        "aggregation": meter.aggregation,
        "value_property": meter.value_property,
        "unit": meter.unit,
        "filters": meter.filters,
        "dimensions": meter.dimensions,
        "effective_from": _time(meter.effective_from),
        "created_at": _time(meter.created_at),
    }


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
