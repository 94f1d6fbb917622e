"""The machine face of single events: what became of one, corrections, and the lists of what counts nowhere."""

from datetime import UTC, datetime
from typing import Any, cast

from django.db.models import OuterRef, Subquery, TextField
from django.db.models.functions import Cast
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.settings import api_settings
from rest_framework.views import APIView

from billing_site.kernel.errors import Conflict, FieldError, InvalidFields, InvalidInput, NotFound
from billing_site.kernel.money import plain
from metering import event_schema as schema
from metering.core.decoding import decode_json
from metering.correcting import amend_event, cancel_event
from metering.models import EventCancellation, EventConflict, UnappliedEvent, UnappliedReason, UsageEvent
from metering.queries.chains import number_of_event
from metering.queries.events import EventLife, event_life

CORRECTION_FIELDS = {"customer_id", "idempotency_key", "action", "changes", "reason"}


class CorrectionsView(APIView):
    """Corrections of events."""

    scopes = {"POST": "events:write"}
    customer_bound = ("POST",)

    @extend_schema(
        request=schema.CORRECTION, responses={201: schema.CORRECTED}, summary="Correct an event", tags=["events"]
    )
    def post(self, request: Request) -> Response:
        """Cancel an accepted event, or amend it: another event counts in its place from now on.

        The original stays, and what was billed stays as it was known; the difference reaches drafts, or a correction
        of what is issued. An event that was amended before is corrected in its present form, by the key under which
        it was accepted first. Doing the same again changes nothing and answers the same. Unknown keys are a 404; a
        cancelled event cannot be amended, and an archived one has to be restored first (409).
        """
        fields = _correction_fields(request.data)
        _refuse_others(request, fields["customer_id"])
        named = {"customer_id": fields["customer_id"], "idempotency_key": fields["idempotency_key"]}
        who = {"actor": f"API key {cast(Any, request.auth).name}", "reason": fields["reason"]}
        if fields["action"] == "cancel":
            correction = cancel_event(**named, **who)
        else:
            correction = amend_event(**named, changes=fields["changes"], **who)
        replacement = correction.replacement_number
        return Response(
            {
                "action": fields["action"],
                "correction": _cancellation_document(correction),
                "event": _event_document(event_life(number=correction.event_number)),
                "replacement": _event_document(event_life(number=replacement)) if replacement else None,
            },
            status=201,
        )


class EventView(APIView):
    """One event."""

    scopes = {"GET": "events:read"}
    customer_bound = ("GET",)

    @extend_schema(
        parameters=schema.EVENT_PARAMETERS, responses={200: schema.EVENT}, summary="Read an event", tags=["events"]
    )
    def get(self, request: Request, idempotency_key: str) -> Response:
        """Return what became of an event: its state, its hour for each meter, and what cancelled or replaced it."""
        customer_id = request.query_params.get("customer_id") or str(cast(Any, request.auth).customer_key)
        if not customer_id:
            raise InvalidInput("is required: keys are the customer's own", field="customer_id", code="required")
        _refuse_others(request, customer_id)
        number = number_of_event(customer_id=customer_id, idempotency_key=idempotency_key)
        if not UsageEvent.objects.filter(pk=number).exists():
            raise Conflict("archived: restore its month first", field="idempotency_key", code="archived")
        return Response(_event_document(event_life(number=number)))


class EventConflictsView(APIView):
    """Events that contradict an accepted one."""

    scopes = {"GET": "events:read"}
    customer_bound = ("GET",)

    @extend_schema(
        parameters=schema.CONFLICT_PARAMETERS,
        responses={200: schema.CONFLICTS},
        summary="List contradicting events",
        tags=["events"],
        operation_id="events_conflicts_list",
    )
    def get(self, request: Request) -> Response:
        """Return events that were refused because their key was accepted with another content, newest first."""
        # As text: fractions stay exact, and are answered as decimal strings.
        texts = {f"{name}_text": Cast(name, TextField()) for name in ("accepted", "refused")}
        rows = _of_customer(request, EventConflict.objects.defer("accepted", "refused").annotate(**texts))
        settled = request.query_params.get("settled")
        if settled not in (None, "true", "false"):
            raise InvalidInput("must be true or false", field="settled")
        if settled is not None:
            rows = rows.filter(settled_at__isnull=settled == "false")
        return _page(self, request, rows, _conflict_document)


class UnappliedEventsView(APIView):
    """Events that no window holds."""

    scopes = {"GET": "events:read"}
    customer_bound = ("GET",)

    @extend_schema(
        parameters=schema.UNAPPLIED_PARAMETERS,
        responses={200: schema.UNAPPLIED},
        summary="List events in no window",
        tags=["events"],
        operation_id="events_unapplied_list",
    )
    def get(self, request: Request) -> Response:
        """Return accepted events that no meter counts, or that one should and cannot read, with the reason."""
        # By the time of receipt too: it says in which month's table the event is.
        event = UsageEvent.objects.filter(pk=OuterRef("number"), received_at=OuterRef("received_at"))
        keyed = UnappliedEvent.objects.annotate(key=Subquery(event.values("idempotency_key")[:1]))
        rows = _of_customer(request, keyed.select_related("meter"))
        reason = request.query_params.get("reason")
        if reason is not None and reason not in UnappliedReason.values:
            raise InvalidInput(f"must be one of {', '.join(UnappliedReason.values)}", field="reason")
        return _page(self, request, rows.filter(reason=reason) if reason else rows, _unapplied_document)


def _of_customer(request: Request, rows: Any) -> Any:
    bound = str(cast(Any, request.auth).customer_key)
    wanted = request.query_params.get("customer_id") or bound
    if wanted:
        _refuse_others(request, wanted)
        if "\x00" in wanted:
            return rows.none()
        rows = rows.filter(customer_id=wanted)
    return rows


def _refuse_others(request: Request, customer_id: str) -> None:
    bound = str(cast(Any, request.auth).customer_key)
    if bound and customer_id != bound:
        raise NotFound(f"this key sees the events of {bound} only", field="customer_id")


def _page(view: APIView, request: Request, rows: Any, document: Any) -> Response:
    paging = cast(Any, api_settings.DEFAULT_PAGINATION_CLASS)()
    found = paging.paginate_queryset(rows, request, view=view)
    response: Response = paging.get_paginated_response([document(row) for row in found])
    return response


def _correction_fields(document: Any) -> dict[str, Any]:
    if not isinstance(document, dict):
        raise InvalidInput("must be an object", field="body", code="wrong_type")
    errors = [
        FieldError(str(name)[:60], "unknown_field", f"is not known here; write {', '.join(sorted(CORRECTION_FIELDS))}")
        for name in document
        if name not in CORRECTION_FIELDS
    ]
    for name in ("customer_id", "idempotency_key", "action", "reason"):
        if not isinstance(document.get(name), str) or not document[name].strip():
            errors.append(FieldError(name, "required", "is required, as a string"))
    action = document.get("action")
    if action not in ("cancel", "amend"):
        errors.append(FieldError("action", "unknown", "must be cancel or amend"))
    if action == "cancel" and "changes" in document:
        errors.append(FieldError("changes", "invalid", "a cancelled event has none; amend it to change it"))
    if action == "amend" and not isinstance(document.get("changes"), dict):
        errors.append(FieldError("changes", "required", "is required: an object with what is right"))
    if errors:
        raise InvalidFields(tuple({error.field: error for error in errors}.values()))
    return document


def _event_document(life: EventLife) -> dict[str, Any]:
    event = life.event
    keys = dict(UsageEvent.objects.filter(pk__in=life.chain.numbers).values_list("id", "idempotency_key"))
    return {
        "number": event.pk,
        "event_id": event.event_id,
        "idempotency_key": event.idempotency_key,
        "customer_id": event.customer_id,
        "event_type": event.event_type,
        "quantity": plain(event.quantity),
        "timestamp": _time(event.timestamp),
        "namespace_id": event.namespace_id,
        "properties": life.properties,
        "received_at": _time(event.received_at),
        "state": life.state,
        "meters": [
            {
                "meter": part.meter.key,
                "state": part.state,
                "hour": _time(part.hour),
                "grouping": part.grouping,
                "counted": None if part.counted is None else plain(part.counted),
                "window_value": plain(part.window.value) if part.window and part.state == "applied" else None,
            }
            for part in life.parts
        ],
        "cancellation": _cancellation_document(life.cancellation) if life.cancellation else None,
        "replaced_by": keys.get(life.replaced_by) if life.replaced_by else None,
        "replaces": life.replaces.idempotency_key if life.replaces else None,
        "conflicts": len(life.conflicts),
    }


def _cancellation_document(cancellation: EventCancellation) -> dict[str, Any]:
    return {
        "number": cancellation.number,
        "event_number": cancellation.event_number,
        "replacement_number": cancellation.replacement_number,
        "actor": cancellation.actor,
        "reason": cancellation.reason,
        "cancelled_at": _time(cancellation.cancelled_at),
    }


def _conflict_document(conflict: Any) -> dict[str, Any]:
    return {
        "customer_id": conflict.customer_id,
        "idempotency_key": conflict.idempotency_key,
        "event_number": conflict.event_number,
        "accepted": conflict.accepted_text and decode_json(conflict.accepted_text.encode()),
        "refused": decode_json(conflict.refused_text.encode()),
        "times_seen": conflict.times_seen,
        "first_seen_at": _time(conflict.first_seen_at),
        "last_seen_at": _time(conflict.last_seen_at),
        "outcome": conflict.outcome,
    }


def _unapplied_document(row: Any) -> dict[str, Any]:
    return {
        "event_number": row.number,
        "customer_id": row.customer_id,
        "idempotency_key": row.key,
        "event_type": row.event_type,
        "timestamp": _time(row.timestamp),
        "received_at": _time(row.received_at),
        "reason": row.reason,
        "message": str(UnappliedReason(row.reason).label),
        "meter": row.meter.key if row.meter else None,
    }


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
