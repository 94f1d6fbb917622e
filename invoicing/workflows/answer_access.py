"""May a customer be served now, and why: one read of what is true, asked before every call of somebody's product."""

from dataclasses import dataclass
from datetime import date, datetime

from billing_site.kernel.errors import NotFound
from invoicing.core.access import Verdict, access_at
from invoicing.core.life_cycle import State, access_in_state
from invoicing.workflows.customer_standing import standing_now, standing_of

# What debts have made of who pays for an account is so of the account.
OF_WHO_PAYS = (State.PAST_DUE, State.SUSPENDED, State.CHURNED)


@dataclass(frozen=True)
class Access:
    """The verdict, the customer's state, since when an invoice is overdue (which by itself takes nothing from the customer) a payment disputed, and service restricted."""

    verdict: Verdict
    state: State
    overdue_since: date | None
    disputed_since: datetime | None
    restricted_since: datetime | None


def answer_access(*, customer_key: str, at: datetime) -> Access:
    """Return whether a customer is served at a moment; one query, two of an account that another pays for. Raises NotFound (key).

    Read from the phases and invoices themselves, and from the state with the moves that are due: a planned end, an end
    of a trial or a payment needs no job to be heard of. An account has its own subscriptions and limits; debts, disputed payments and
    the limits of who pays for it count for it, too: past due, suspended or churned is answered as of who pays.
    """
    standing = standing_of(customer_key=customer_key, at=at)
    if standing is None:
        raise NotFound(f"there is no customer {customer_key!r}", field="key")
    payer = standing
    if standing.billed_to is not None:
        payer = standing_now(customer_id=standing.billed_to, at=at)
    state = payer.state if payer.state in OF_WHO_PAYS else standing.state
    stops = [until for until in (standing.stopped_until, payer.stopped_until) if until is not None]
    verdict = access_at(
        stretches=standing.stretches,
        can_pay=standing.circumstances.can_pay,
        at=at,
        stopped_until=max(stops, default=None),
        is_frozen=payer.disputed_since is not None,
    )
    # What is paid is restricted no more, whether or not dunning has come by to lift it.
    restricted_since = payer.restricted_since if payer.state is State.PAST_DUE else None
    return Access(
        verdict=access_in_state(state=state, verdict=verdict, is_restricted=restricted_since is not None),
        state=state,
        overdue_since=payer.overdue_since,
        disputed_since=payer.disputed_since,
        restricted_since=restricted_since,
    )
