"""Why an invoice is what it is: from each line down to tiers, windows and raw events, rated again now."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NamedTuple

from moneyed import Money

from billing_site.kernel.errors import BillingError, NotFound
from billing_site.kernel.money import plain, total, wire
from invoicing.core.proof import charge_from_inputs, rated_again, usage_from_document
from invoicing.invoices.adjustments import amounts_seen, ended_tranches
from invoicing.invoices.consumers import account_of, consumer_of, with_origins
from invoicing.invoices.corrections import link_before
from invoicing.invoices.event_roots import span_of_line
from invoicing.invoices.models import Invoice, InvoiceLine, LineKind, TaxLine, UsageCorrection
from invoicing.invoices.queries import invoice_by_number
from invoicing.invoices.sealing import correction_digest, line_digest
from invoicing.invoices.taxes import is_payment, tax_added_by_line, tax_differences, tax_row_document, taxes_of
from invoicing.workflows.compute_invoice import usage_of_charge
from invoicing.workflows.told_tax_faults import told_differences
from invoicing.workflows.usage_so_far import usage_so_far
from metering.archiving.absent import EventsArchived
from metering.archiving.files import UNREADABLE
from metering.queries import MeterUsage, usage_as_known
from metering.queries.event_file import unlike_archive
from metering.queries.roots import EventSpan, event_roots

# What reading a forged document can raise.
NOT_RATABLE = (BillingError, AssertionError, LookupError, TypeError, ValueError, AttributeError, ArithmeticError)


@dataclass(frozen=True)
class LineProof:
    """One line set against the raw events and against the same rating done again (empty if that is impossible).

    `archived` names the months to restore before its events can be counted again: that is no difference, and no proof.
    `events_root` is the root over the raw events as they stand today.
    """

    line: InvoiceLine
    recounted: MeterUsage | None
    rated: dict[str, Any]
    differences: tuple[str, ...]
    archived: tuple[str, ...] = ()
    events_root: str = ""

    @property
    def equal(self) -> bool:
        """Say whether every rung of the ladder agrees."""
        return not self.differences and not self.archived


class Recount(NamedTuple):
    """What the raw events come to, their root, how that differs, and the months to restore before they can be counted."""

    usage: MeterUsage | None
    root: str
    differences: list[str]
    archived: tuple[str, ...]


def prove_line(*, line: InvoiceLine) -> LineProof:
    """Count a line's raw events as they were known, rate it again, and compare to the stored line (S0-147..151).

    A correction is proved with the link of the chain that it carries. Whatever stands in the stored line, the answer
    is a proof: nonsense is a difference like others.
    """
    if line.kind == LineKind.CORRECTION:
        return _prove_correction_line(line)
    recounted, root, differences, archived = _recounted(line, line, quantity=line.quantity)
    if line.kind == LineKind.ADJUSTMENT:
        differences += _differences_of_base(line, line.rated, None)
    rated: dict[str, Any] = {}
    try:
        rated = rated_again(line.rated["inputs"])
    except NOT_RATABLE as problem:
        differences.append(_not_ratable(problem))
    else:
        differences += _differences_of_rating(line, rated)
    if line_digest(line=line) != line.digest:
        differences.append("the line is not what was sealed: its digest differs")
    return LineProof(line, recounted, rated, tuple(differences), archived, root)


def prove_correction(*, correction: UsageCorrection) -> Recount:
    """Count a correction's raw events as they are known now, rate them, and compare it with the link before it (S0-061).

    The effect is the difference of the two ratings, to the cent.
    """
    original = correction.original
    recounted, root, differences, archived = _recounted(original, correction, quantity=correction.quantity_after)
    before = link_before(correction=correction)
    start = before or original
    held = (
        (before.known_through, before.quantity_after, before.amount_after, before.digest)
        if before
        else (original.known_through, original.quantity, original.amount, original.digest)
    )
    claimed = (
        correction.known_from,
        correction.quantity_before,
        correction.amount_before,
        correction.previous_digest,
    )
    if claimed != held:
        differences.append("it does not start where the chain ended before it")
    try:
        was, now = rated_again(start.rated["inputs"]), rated_again(correction.rated["inputs"])
    except NOT_RATABLE as problem:
        differences.append(_not_ratable(problem))
    else:
        if now != correction.rated:
            differences.append("rated again, the steps differ from the stored ones")
        if (was["amount"], now["amount"]) != (wire(correction.amount_before), wire(correction.amount_after)):
            differences.append(
                f"rated again it goes from {was['amount']['amount']} to {now['amount']['amount']}, it says from"
                f" {wire(correction.amount_before)['amount']} to {wire(correction.amount_after)['amount']}"
            )
        if now["quantity"] != plain(correction.quantity_after):
            differences.append(f"rated quantity is {now['quantity']}, it says {plain(correction.quantity_after)}")
        kept = original.rated["inputs"].get("term", {}).get("kept", plain(original.amount.amount))
        if _terms(now) != _terms(original.rated) or now["inputs"].get("term", {}).get("kept", kept) != kept:
            differences.append("it is rated under another charge than the line that it corrects")
    if original.kind == LineKind.ADJUSTMENT:
        differences += _differences_of_base(original, correction.rated, correction)
    if correction_digest(correction=correction) != correction.digest:
        differences.append("the correction is not what was decided: its digest differs")
    return Recount(recounted, root, differences, archived)


def _prove_correction_line(line: InvoiceLine) -> LineProof:
    correction = line.correction
    assert correction is not None, "a correction's line names its correction"
    recounted, root, found, archived = prove_correction(correction=correction)
    differences = [f"its correction: {difference}" for difference in found]
    rated: dict[str, Any] = {}
    try:
        rated = rated_again(line.rated["inputs"])
        told, inputs = line.rated["inputs"], correction.rated["inputs"]
        evidence = [told["after"], told["original"]["digest"]]
        kept = [inputs if correction.cause_id else inputs["usage"], correction.original.digest]
        if not correction.cause_id:
            evidence.append(_terms({"inputs": {**told["charge"], "usage": None}}))
            kept.append(_terms(correction.rated))
    except NOT_RATABLE as problem:
        differences.append(_not_ratable(problem))
    else:
        differences += _differences_of_rating(line, rated)
        if evidence != kept:
            differences.append("the line tells another correction than the one that it carries")
    if line_digest(line=line) != line.digest:
        differences.append("the line is not what was sealed: its digest differs")
    if line.events_root != correction.events_root:
        differences.append("the line names another root of events than the correction that it carries")
    return LineProof(line, recounted, rated, tuple(differences), archived, root)


def _terms(rated: dict[str, Any]) -> dict[str, Any]:
    """Return what a rating depended on, but for the usage, or the lines that an adjustment was computed from."""
    terms = {name: value for name, value in rated["inputs"].items() if name not in ("usage", "lines")}
    if "term" in terms:
        # What is left of a commitment is not agreed: a correction takes what is left of it when it is made. What is kept of a change by hand is asked for by itself.
        terms["term"] = {name: value for name, value in terms["term"].items() if name not in ("available", "kept")}
    return terms


def _differences_of_base(line: InvoiceLine, rated: dict[str, Any], correction: UsageCorrection | None) -> list[str]:
    """Say which lines an adjustment, or its correction, was computed from that are not those of its invoice."""
    siblings = list(line.invoice.lines.prefetch_related("corrections"))
    differences: list[str] = []
    added: Mapping[str, Money] = {}
    if line.credit_grant_id is not None:
        before = total((one.amount for one in siblings if one.position < line.position), line.currency)
        if line.invoice.tax_added is not None and is_payment(line=line):
            # What was bought before pays what is owed with tax.
            added = tax_added_by_line(rows=TaxLine.objects.filter(line__invoice=line.invoice_id).select_related("line"))
            before += line.invoice.tax_added
        if wire(before) != rated["inputs"]["term"]["room"]:
            differences.append(
                f"it was computed with {rated['inputs']['term']['room']['amount']} to pay, there it is {before.amount}"
            )
    # A correction was made before or after a commitment ended: from then on what was drawn stays where it was.
    ended = ended_tranches(lines=siblings) if correction is not None else set()
    found = [
        _differences_of_amounts(
            rated, _with(added, amounts_seen(lines=siblings, by=line, correction=correction, settled=settled))
        )
        for settled in ([(), ended] if ended else [()])
    ]
    return differences + min(found, key=len)


def _with(added: Mapping[str, Money], seen: dict[str, Money]) -> dict[str, Money]:
    return {
        reference: amount + added[reference] if reference in added else amount for reference, amount in seen.items()
    }


def _differences_of_amounts(rated: dict[str, Any], held: dict[str, Money]) -> list[str]:
    return [
        f"it was computed from {base['reference']} with {base['amount']['amount']}, there it is {_wired(held, base)}"
        for base in rated["inputs"]["lines"]
        if _wired(held, base) != base["amount"]["amount"]
    ]


def _wired(held: dict[str, Money], base: dict[str, Any]) -> str | None:
    amount = held.get(base["reference"])
    return None if amount is None else wire(amount)["amount"]


def _not_ratable(problem: BaseException) -> str:
    return f"it cannot be rated again: {type(problem).__name__} {problem}".rstrip()


def _recounted(line: InvoiceLine, known: InvoiceLine | UsageCorrection, *, quantity: Decimal) -> Recount:
    """Count the raw events of a line's time as the line, or a correction of it, knew them."""
    if line.kind == LineKind.PROGRESSIVE:
        return _recounted_so_far(line)
    if not line.meter_key:
        return Recount(None, "", [], ())
    span = span_of_line(line=line, known_through=known.known_through, customer_key=consumer_of(line=line))
    try:
        recounted = usage_as_known(
            meter_key=span.meter_key,
            customer_id=span.customer_id,
            period=span.period,
            known_through=span.known_through,
        )
    except EventsArchived as absent:
        return Recount(None, "", [], absent.months)
    except NotFound as problem:
        return Recount(None, "", [f"its events cannot be counted again: {problem}"], ())
    [found] = event_roots(spans=[span], expected_count=known.event_count)
    differences = []
    if recounted.quantity != quantity:
        differences.append(f"raw events say {plain(recounted.quantity)}, the line says {plain(quantity)}")
    if recounted.event_count != known.event_count:
        differences.append(f"{recounted.event_count} raw events, the line says {known.event_count}")
    if (recounted.window_count, recounted.windows_digest) != (known.window_count, known.windows_digest):
        differences.append("the hours counted again from raw events differ from the line's windows")
    if not _divides_as_told(known, recounted):
        differences.append("raw events divide otherwise than the line says by what its price asks for")
    if known.events_root and found.root != known.events_root:
        differences.append(
            f"an event was changed, or another took its place: the root of the {found.count} raw events is"
            f" {found.root[:12]}…, the line says {known.events_root[:12]}…"
        )
        if which := _first_changed(span):
            differences.append(which)
    return Recount(recounted, found.root, differences, ())


def _recounted_so_far(line: InvoiceLine) -> Recount:
    try:
        recounted, differences = usage_so_far(line=line)
    except EventsArchived as absent:
        return Recount(None, "", [], absent.months)
    except NOT_RATABLE as problem:
        return Recount(None, "", [f"its events cannot be counted again: {problem}"], ())
    return Recount(recounted, "", differences, ())


def _first_changed(span: EventSpan) -> str:
    """Name the first event that is not as the archive has it; nothing where the archive cannot tell."""
    try:
        return unlike_archive(span=span)
    except UNREADABLE:
        return ""


def _divides_as_told(known: InvoiceLine | UsageCorrection, recounted: MeterUsage) -> bool:
    """Say whether what a line tells of its usage beside the quantity is so; nonsense is told where it is rated again."""
    try:
        inputs = known.rated["inputs"]
        told = usage_from_document(inputs["usage"])
        asked = usage_of_charge(charge_from_inputs(inputs), recounted)
        return (asked.groups, asked.by_size) == (told.groups, told.by_size)
    except NOT_RATABLE:
        return True


def _differences_of_rating(line: InvoiceLine, rated: dict[str, Any]) -> list[str]:
    differences = []
    if rated != line.rated:
        differences.append("rated again, the steps differ from the stored ones")
    if rated["amount"] != wire(line.amount):
        differences.append(
            f"rated again it is {rated['amount']['amount']}, the line says {wire(line.amount)['amount']}"
        )
    if rated["quantity"] != plain(line.quantity):
        differences.append(f"rated quantity is {rated['quantity']}, the line says {plain(line.quantity)}")
    return differences


def prove_invoice(*, invoice: Invoice) -> list[LineProof]:
    """Prove each line of an invoice or draft, in the order of the document."""
    lines = with_origins(invoice.lines.select_related("price__plan_version__plan"))
    return [prove_line(line=line) for line in lines.prefetch_related("taxes").order_by("position")]


def prove_tax(*, invoice: Invoice) -> list[str]:
    """Compute the tax of an invoice or draft again from its lines and the rates that are stored with them, compare these with what was told, and say what differs."""
    lines = list(invoice.lines.order_by("position").prefetch_related("taxes__line"))
    return [*tax_differences(invoice=invoice, lines=lines), *told_differences(invoice=invoice, lines=lines)]


def explain_invoice(*, number: str) -> dict[str, Any]:
    """Return the explanation of an issued invoice as it goes over the wire; raises NotFound.

    Per line: price, tiers, quantity, windows, number and digest of raw events, the amount rated
    again, and whether all of it is equal.
    """
    invoice = invoice_by_number(number=number)
    proofs = prove_invoice(invoice=invoice)
    differences = prove_tax(invoice=invoice)
    return {
        "number": invoice.number,
        "customer_id": invoice.customer.key,
        "status": invoice.status,
        "period": _span(invoice.period_start, invoice.period_end),
        "subtotal": wire(invoice.subtotal),
        "tax": None if invoice.tax is None else {**invoice.tax, "equal": not differences, "differences": differences},
        "total": wire(invoice.total),
        "seal": invoice.seal,
        "events_root": invoice.events_root,
        "equal": all(proof.equal for proof in proofs) and not differences,
        "lines": [_line_document(proof) for proof in proofs],
    }


def _line_document(proof: LineProof) -> dict[str, Any]:
    line = proof.line
    rated = proof.rated
    version = line.price.plan_version if line.price else None
    price = {} if not rated else rated["inputs"].get("charge", rated["inputs"])
    return {
        "position": line.position,
        "kind": line.kind,
        "adjustment": line.adjustment or None,
        "corrects": _correction_document(line.correction) if line.correction else None,
        "description": line.description,
        "subscription": line.subscription.key if line.subscription else None,
        # Whose it is, where that is another than who is billed.
        **({"customer_id": account} if (account := account_of(line=line)) else {}),
        "plan": version.plan.key if version else None,
        "plan_version": version.number if version else None,
        "service_period": _span(line.service_start, line.service_end),
        "price": price.get("price"),
        "tiers": rated["steps"] if rated else [],
        "parts": rated.get("parts", []),
        "meter": line.meter_key or None,
        "unit": line.unit,
        "quantity": plain(line.quantity),
        "amount": wire(line.amount),
        "taxes": [tax_row_document(row=row) for row in taxes_of(lines=[line])],
        "windows": {"count": line.window_count, "digest": line.windows_digest},
        "events": {
            "count": line.event_count,
            "recounted": proof.recounted.event_count if proof.recounted else 0,
            "recounted_quantity": plain(proof.recounted.quantity) if proof.recounted else None,
            "digest": proof.events_root,
            "root": line.events_root,
            "known_through": line.known_through,
        },
        "rerated_amount": rated["amount"] if rated else None,
        "equal": proof.equal,
        "differences": list(proof.differences),
        "archived": list(proof.archived),
    }


def _correction_document(correction: UsageCorrection) -> dict[str, Any]:
    """Return what a correction's line corrects, and how it was decided."""
    return {
        "invoice": correction.original.invoice.number,
        "position": correction.original.position,
        "known_from": correction.known_from,
        "known_through": correction.known_through,
        "quantity_before": plain(correction.quantity_before),
        "quantity_after": plain(correction.quantity_after),
        "amount_before": wire(correction.amount_before),
        "amount_after": wire(correction.amount_after),
        "effect": wire(correction.effect),
        "decided_at": _time(correction.decided_at),
        "rule": correction.rule,
        "digest": correction.digest,
    }


def _span(start: datetime, end: datetime) -> dict[str, str] | None:
    """Return a period, or None for the empty one of what is invoiced once."""
    return None if start == end else {"start": _time(start), "end": _time(end)}


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
