"""What the event explorer takes from its address, and what it shows of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from django import forms

from metering.models import Meter
from metering.queries.events import STATES
from metering.queries.explorer import (
    EventPage,
    EventQuestion,
    events_by_term,
    find_events,
    is_customer_of_events,
)

NUMBER_MAX = 2**63 - 1
TIME = forms.DateTimeInput(attrs={"type": "datetime-local"}, format="%Y-%m-%dT%H:%M")


class EventFilterForm(forms.Form):
    """The explorer's filters; times are UTC."""

    q = forms.CharField(required=False, max_length=255, label="Customer, idempotency key, event id or number, whole")
    event_type__exact = forms.CharField(required=False, max_length=200, label="Event type")
    state = forms.ChoiceField(
        required=False, choices=[("", "any"), *((state, state.replace("_", " ")) for state in STATES)], label="State"
    )
    happened_from = forms.DateTimeField(required=False, widget=TIME, label="Happened from (UTC)")
    happened_before = forms.DateTimeField(required=False, widget=TIME, label="before")
    received_from = forms.DateTimeField(required=False, widget=TIME, label="Accepted from (UTC)")
    received_before = forms.DateTimeField(required=False, widget=TIME, label="before")

    @property
    def times(self) -> list[tuple[str, forms.BoundField, forms.BoundField]]:
        """The spans of time, each with its two ends."""
        return [
            ("Happened (UTC)", self["happened_from"], self["happened_before"]),
            ("Accepted (UTC)", self["received_from"], self["received_before"]),
        ]


@dataclass(frozen=True)
class EventList:
    """The explorer's page."""

    form: EventFilterForm
    page: EventPage | None
    types: list[str]
    next_query: str
    is_filtered: bool
    begins_later: bool

    @property
    def has_times(self) -> bool:
        """Say whether a span of time is asked for, so that its fields are shown."""
        return any(part.value() for _, *ends in self.form.times for part in ends)


def event_list(*, parameters: Mapping[str, Any]) -> EventList:
    """Return the page for an address; without a page where a filter makes no sense."""
    form = EventFilterForm(parameters)
    types = list(Meter.objects.order_by("event_type").values_list("event_type", flat=True).distinct())
    if not form.is_valid():
        return EventList(form, None, types, "", is_filtered=True, begins_later=False)
    cleaned = {name: value for name, value in form.cleaned_data.items() if value}
    mark = _mark(parameters.get("after", ""))
    page = _page(cleaned, mark)
    shown = {name: str(parameters.get(name, "")) for name in cleaned}
    following = ""
    if page.next:
        at, number = page.next
        following = urlencode({**shown, "after": f"{at.isoformat()}/{number}"})
    return EventList(
        form=form,
        page=page,
        types=types,
        next_query=following,
        is_filtered=bool(cleaned),
        begins_later=mark is not None,
    )


def _page(cleaned: dict[str, Any], mark: tuple[datetime, int] | None) -> EventPage:
    term = cleaned.get("q", "")
    customer = bool(term) and is_customer_of_events(customer_id=term)
    if term and not customer and (found := events_by_term(term=term)):
        return found
    return find_events(
        question=EventQuestion(
            customer_id=term if customer else "",
            event_id="" if customer else term,
            event_type=cleaned.get("event_type__exact", ""),
            happened_from=cleaned.get("happened_from"),
            happened_before=cleaned.get("happened_before"),
            received_from=cleaned.get("received_from"),
            received_before=cleaned.get("received_before"),
            state=cleaned.get("state", ""),
            before=mark,
        )
    )


def _mark(text: str) -> tuple[datetime, int] | None:
    """Read where a page begins; what nobody wrote begins at the first."""
    at, _, number = text.partition("/")
    try:
        moment = datetime.fromisoformat(at)
    except ValueError:
        return None
    if moment.tzinfo is None or not (number.isascii() and number.isdigit()) or len(number) > 19:
        return None
    return moment, min(int(number), NUMBER_MAX)
