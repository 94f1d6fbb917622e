"""May a customer be served now, and why: one read of what is true, asked before every call of somebody's product."""

from dataclasses import dataclass
from datetime import date, datetime

from billing_site.kernel.errors import NotFound
from invoicing.core.access import Verdict, access_at
from invoicing.core.life_cycle import State, access_in_state
from invoicing.workflows.customer_standing import standing_of


@dataclass(frozen=True)
class Access:
    """The verdict, the customer's state, since when an invoice is overdue (which by itself takes nothing from the customer) and a payment disputed."""

    verdict: Verdict
    state: State
    overdue_since: date | None
    disputed_since: datetime | None


def answer_access(*, customer_key: str, at: datetime) -> Access:
    """Return whether a customer is served at a moment; one query. Raises NotFound (key).

    Read from the phases and invoices themselves, and from the state with the moves that are due: a planned end, an end
    of a trial or a payment needs no job to be heard of.
    """
    standing = standing_of(customer_key=customer_key, at=at)
    if standing is None:
        raise NotFound(f"there is no customer {customer_key!r}", field="key")
    circumstances, state = standing.circumstances, standing.state
    verdict = access_at(
        stretches=circumstances.stretches,
        can_pay=circumstances.can_pay,
        at=at,
        stopped_until=standing.stopped_until,
        is_frozen=standing.disputed_since is not None,
    )
    return Access(
        verdict=access_in_state(state=state, verdict=verdict),
        state=state,
        overdue_since=standing.overdue_since,
        disputed_since=standing.disputed_since,
    )
