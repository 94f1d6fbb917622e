"""Why a step does nothing to a customer though it is taken: it is so already, or its state does not go there; no card may be charged."""

from collections.abc import Collection, Sequence

from dunning.cases.arrears import Debt
from dunning.core.policy import Act
from dunning.core.retries import DeclineKind, decline_kind
from invoicing.core.life_cycle import Driver, State, transition_between

WITHOUT_SERVICE = (State.SUSPENDED, State.CHURNED)
LEADS_TO = {Act.SUSPEND: State.SUSPENDED, Act.CLOSE: State.CHURNED}
NO_CARD = "there is no card that may be charged again"


def already(*, state: State) -> str:
    """Return that a customer is in a state without the step."""
    return f"the customer is {state.value} already"


def may_be_charged(*, debt: Debt, objected: Collection[int]) -> bool:
    """Say whether a step charges an invoice again: all of it would be, so that nothing of it is objected to, and its bank has not said never."""
    return decline_kind(debt.refusal) is not DeclineKind.NEVER and debt.invoice_id not in objected


def why_skipped(
    *, act: Act, state: State, debts: Sequence[Debt], objected: Collection[int], at_stripe: Collection[int]
) -> str:
    """Return why a step would be written down as skipped, as a customer is and owes then; "" where it would do something.

    Who is not past due yet when it is to be suspended is waited for, not skipped, and so is the end of a trial.
    """
    if act is Act.RETRY:
        charged = [debt for debt in debts if may_be_charged(debt=debt, objected=objected)]
        return "" if any(debt.invoice_id in at_stripe for debt in charged) else NO_CARD
    if act not in (Act.RESTRICT, *LEADS_TO) or state is State.TRIAL:
        return ""
    if act is Act.RESTRICT:
        return already(state=state) if state in WITHOUT_SERVICE else ""
    to = LEADS_TO[act]
    if state is to:
        return already(state=to)
    row = transition_between(start=state, to=to)
    is_waited_for = to is State.SUSPENDED and state is State.ACTIVE
    if is_waited_for or (row is not None and Driver.DUNNING in row.drivers):
        return ""
    return f"a customer that is {state.value.replace('_', ' ')} does not become {to.value} by dunning"
