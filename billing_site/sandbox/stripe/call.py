"""One request on its way through a route: its parameters, and the events that it causes."""

from copy import deepcopy
from dataclasses import dataclass, field

from billing_site.sandbox.stripe.forms import Params
from billing_site.sandbox.stripe.store import Body


@dataclass
class Call:
    """What a route gets beside the ids in the path; `announce` collects the events of its transaction."""

    params: Params
    path: str
    request_id: str
    idempotency_key: str | None
    base_url: str
    news: list[tuple[str, Body]] = field(default_factory=list)

    def announce(self, event_type: str, body: Body) -> None:
        """Remember that an event of this type is due, with the object as it is at this moment."""
        self.news.append((event_type, deepcopy(body)))
