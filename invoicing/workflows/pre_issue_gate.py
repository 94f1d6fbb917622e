"""The gate before issue: whoever drafts or issues an invoice of a period asks it first (S3-053, S1-096)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from billing_site.kernel.period import Period
from invoicing.core.assembly import AssembledInvoice
from invoicing.core.gate import Check, GateFacts, Rule, findings_about
from invoicing.core.gate_states import GateState
from invoicing.gate.models import HoldOutcome, InvoiceHold
from invoicing.gate.operations import end_hold, hold
from invoicing.gate.queries import hold_in_force, holds_in_force, rules_in_force
from invoicing.invoices.models import Invoice, InvoiceStatus
from invoicing.workflows.gate_facts import Due, gate_facts


@dataclass(frozen=True)
class Gate:
    """The checks as they are set, and what is known about some customers and periods."""

    rules: Mapping[Check, Rule]
    facts: Mapping[tuple[int, Period], GateFacts]
    # Who had a draft in force at the gate when this was read: of all others nothing has to be asked again.
    holding: frozenset[int]


def gate_for(*, due: Sequence[Due]) -> Gate:
    """Return the gate for some customers and periods; the number of queries does not grow with them."""
    holding = holds_in_force(customers=[customer for customer, _ in due]).values_list("customer_id", flat=True)
    return Gate(rules_in_force(), gate_facts(due=due), frozenset(holding))


def ask_gate(*, gate: Gate, invoice: Invoice, assembled: AssembledInvoice, at: datetime) -> InvoiceHold | None:
    """Check a draft that was just computed, its customer locked, and return its hold where it must not be issued.

    What was released as it is passes. A draft that says something else by now, or of which something else is found, is held anew.
    """
    if invoice.status != InvoiceStatus.DRAFT:
        return None
    assert invoice.content_digest == assembled.digest, "the gate looks at what the draft says"
    facts = gate.facts[invoice.customer_id, assembled.period]
    found = findings_about(invoice=assembled, facts=facts, rules=gate.rules)
    if not found and invoice.customer_id not in gate.holding:
        return None
    held = hold_in_force(invoice=invoice)
    if held is not None and held.state == GateState.READY and held.content_digest == assembled.digest:
        return None
    told = [{"check": one.check.value, "message": one.message} for one in found]
    if held is not None:
        if (held.content_digest, held.findings) == (assembled.digest, told):
            return held
        is_other = held.content_digest != assembled.digest
        end_hold(held=held, outcome=HoldOutcome.CHANGED if is_other else HoldOutcome.CLEARED, at=at)
    return hold(invoice=invoice, findings=found, at=at) if found else None


def reasons_of(*, held: InvoiceHold) -> str:
    """Return what was found as one sentence."""
    return "; ".join(one["message"] for one in held.findings)
