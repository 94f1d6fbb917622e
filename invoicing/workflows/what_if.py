"""What if: closed periods rated again with other price lists, by the functions that billed them and the usage that they knew.

Each invoice is first computed as it was agreed, and must come out line by line as it was issued; then once more with
the price lists in place of those of their plans. What the meters counted stands on the invoice's lines; what no line
counted is counted from raw events as they were known then.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

from django.db import transaction
from django.db.models import DateField, Exists, F, Func, OuterRef, QuerySet
from moneyed import Money

from billing_site.kernel.digest import digest_of
from billing_site.kernel.errors import FieldError, InvalidFields
from billing_site.kernel.jobs import queue
from billing_site.kernel.money import total
from billing_site.kernel.period import Period, as_utc
from invoicing.catalog.document import PlanEntry, read_catalog
from invoicing.catalog.models import Plan, PlanVersion
from invoicing.catalog.operations import plan_document
from invoicing.catalog.rate_card import rate_card_of
from invoicing.core.assembly import AssembledInvoice
from invoicing.core.contract import DocumentLine
from invoicing.core.figures import CompiledPrices, InvoiceFigures
from invoicing.core.wording import amount_text
from invoicing.invoices.models import Invoice, InvoiceKind, InvoiceLine, LineKind
from invoicing.invoices.queries import OWED
from invoicing.subscriptions.agreements import IN_ADVANCE, Agreements, agreements_of
from invoicing.subscriptions.snapshot import AS_AGREED, InPlace, contract_agreed, without_fees_in_advance
from invoicing.what_ifs.models import WhatIf, WhatIfFigure
from invoicing.workflows.compute_invoice import compute_figures, compute_in_place
from invoicing.workflows.explain_invoice import NOT_RATABLE
from invoicing.workflows.usage_as_invoiced import divided_as_invoiced, usage_as_invoiced
from invoicing.workflows.what_if_figures import figures_of

MONTHS_MAX = 36
BATCH_INVOICES = 100
# So many are computed while the person who asks waits; most installations need no job.
FIRST_INVOICES = 200
# A job ends well within the time that the queue gives it, and queues the next.
JOB_INVOICES = 1_000
TASK = "invoicing.tasks.compute_what_if"


@dataclass(frozen=True)
class Comparison:
    """An invoice as it was charged, and with the price lists in place, line by line; `now` is None where `problem` says why not."""

    before: Money
    was: tuple[DocumentLine, ...]
    now: AssembledInvoice | None
    problem: str = ""


@dataclass(frozen=True)
class TotalComparison:
    """The same in two figures; `after` is None where `problem` says why not."""

    before: Money
    after: Money | None
    problem: str = ""


def card_of_version(*, version: PlanVersion) -> dict[str, Any]:
    """Return a plan version, draft or published, as a what-if keeps it: later edits of the draft do not change the answer.

    Raises InvalidFields where the draft cannot be rated.
    """
    state = "published" if version.published_at else "draft"
    [entry] = read_catalog(document={"plans": [plan_document(version=version)]}).plans
    return _card(entry, source=f"{version} ({state})", version=version.pk)


def cards_of_catalog(*, document: Any) -> list[dict[str, Any]]:
    """Return the plans of a catalog document as a what-if keeps them; nothing of it is loaded. Raises InvalidFields."""
    catalog = read_catalog(document=document)
    errors = []
    for place, entry in enumerate(catalog.plans):
        if not Plan.objects.filter(key=entry.key).exists():
            errors.append(FieldError(f"plans[{place}].key", "unknown", f"nobody was billed for a plan {entry.key!r}"))
        try:
            rate_card_of(entry=entry)
        except InvalidFields as problem:
            errors += [FieldError(f"plans[{place}].{one.field}", one.code, one.message) for one in problem.errors]
    if not catalog.plans:
        errors.append(FieldError("plans", "required", "must hold at least one plan"))
    if errors:
        raise InvalidFields(tuple(errors))
    return [_card(entry, source=f"{entry.name} (from a file)", version=None) for entry in catalog.plans]


def ask_what_if(*, cards: Sequence[Mapping[str, Any]], months: int, at: datetime, actor: str) -> WhatIf:
    """Keep a question, compute its first invoices and queue the rest; raises InvalidFields naming `plans` or `months`.

    The periods are those that ended in the last full calendar months before `at`, in the zone of each invoice.
    """
    errors = []
    if not 1 <= months <= MONTHS_MAX:
        errors.append(FieldError("months", "out_of_range", f"must be 1 to {MONTHS_MAX} months"))
    if not cards:
        errors.append(FieldError("plans", "required", "choose a price list for at least one plan"))
    for plan, number in sorted(Counter(card["plan"] for card in cards).items()):
        if number > 1:
            errors.append(FieldError("plans", "duplicate", f"{plan} has two price lists here: choose one"))
    for card in cards:
        cadence = card["document"]["cadence"]
        if not PlanVersion.objects.filter(plan__key=card["plan"], published_at__isnull=False, cadence=cadence).exists():
            message = (
                f"{card['plan']} was never billed by {cadence}: only price lists with the same periods can be compared"
            )
            errors.append(FieldError("plans", "other_periods", message))
    if errors:
        raise InvalidFields(tuple(errors))
    last_date = at.astimezone(UTC).date().replace(day=1)
    with transaction.atomic():
        asked = WhatIf(
            title=f"{', '.join(card['source'] for card in cards)}"[:300],
            cards=list(cards),
            month_count=months,
            first_date=_months_before(last_date, months),
            last_date=last_date,
            asked_by=actor,
            asked_at=at,
        )
        asked.invoice_count = invoices_of(asked=asked).count()
        asked.save()
        queue(TASK, asked.pk)
    return compute_what_if(what_if_id=asked.pk, at=at, invoices_max=FIRST_INVOICES)


def compute_what_if(*, what_if_id: int, at: datetime, invoices_max: int) -> WhatIf:
    """Compute the next invoices of a what-if, batch by batch, and finish it with totals and digest when all are done.

    It may run twice, at once, or again after a crash: each batch is a transaction under the lock of the what-if.
    """
    asked = WhatIf.objects.get(pk=what_if_id)
    in_place = cards_in_place(asked=asked)
    known_until: dict[datetime, int] = {}
    for _ in range(0, invoices_max, BATCH_INVOICES):
        with transaction.atomic():
            asked = WhatIf.objects.select_for_update().get(pk=what_if_id)
            if asked.finished_at is not None:
                break
            batch = list(invoices_of(asked=asked).filter(pk__gt=asked.done_through)[:BATCH_INVOICES])
            WhatIfFigure.objects.bulk_create(
                _figure(asked, invoice, compared)
                for invoice, compared in zip(
                    batch, compare_totals(invoices=batch, in_place=in_place, known_until=known_until), strict=True
                )
            )
            if batch:
                asked.done_count += len(batch)
                asked.done_through = batch[-1].pk
            if len(batch) < BATCH_INVOICES:
                _finish(asked, at=at)
            asked.save()
    return asked


def continue_what_if(*, what_if_id: int, at: datetime) -> WhatIf:
    """Compute as much of a what-if as one job may, and queue the next job where something is left."""
    asked = compute_what_if(what_if_id=what_if_id, at=at, invoices_max=JOB_INVOICES)
    if asked.finished_at is None:
        queue(TASK, what_if_id)
    return asked


def invoices_of(*, asked: WhatIf) -> "QuerySet[Invoice]":
    """Return the invoices that a what-if looks at, by id: issued when it was asked, with a charge of one of its plans."""
    charged = InvoiceLine.objects.filter(
        invoice=OuterRef("pk"),
        kind=LineKind.CHARGE,
        price__plan_version__plan__key__in=[card["plan"] for card in asked.cards],
    )
    return (
        invoices_in_months(asked=asked)
        .filter(Exists(charged))
        .select_related("customer")
        .prefetch_related("lines__subscription__customer")
        .order_by("pk")
    )


def invoices_in_months(*, asked: WhatIf) -> "QuerySet[Invoice]":
    """Return all invoices issued by then whose period ended in the months of a what-if, whatever their plans."""
    local: Any = Func(
        F("period_end"),
        F("timezone"),
        template="(%(expressions)s)::date",
        arg_joiner=" AT TIME ZONE ",
        output_field=DateField(),
    )
    return (
        Invoice.objects.filter(kind=InvoiceKind.PERIOD, status__in=OWED, issued_at__lte=asked.asked_at)
        .alias(ended=local)
        .filter(ended__gt=asked.first_date, ended__lte=asked.last_date)
    )


def cards_in_place(*, asked: WhatIf) -> InPlace:
    """Return the price lists of a what-if as contracts take them, by the plan that they stand for."""
    return in_place_of(cards=asked.cards)


def in_place_of(*, cards: Sequence[Mapping[str, Any]]) -> InPlace:
    """Return price lists as contracts take them, by the plan that they stand for."""
    catalog = read_catalog(document={"plans": [card["document"] for card in cards]})
    return {entry.key: rate_card_of(entry=entry) for entry in catalog.plans}


def compare_invoice(*, invoice: Invoice, in_place: InPlace) -> Comparison:
    """Compute an issued invoice's charges as they were agreed, and with other price lists in place (corrections left out).

    What cannot be computed, or does not come out as it was issued, is a problem and no figure.
    """
    lines, before, period = _charged(invoice)
    try:
        compute = partial(
            compute_in_place,
            customer=invoice.customer,
            period=period,
            measure=usage_as_invoiced(invoice=invoice, lines=lines, known_until={}),
            as_needed=divided_as_invoiced(lines=lines),
        )
        was = compute(in_place=AS_AGREED).assembled
        if problem := _difference(
            lines, {line.reference: line.amount.amount for line in was.document_lines}, invoice.currency
        ):
            return Comparison(before, was.document_lines, None, problem)
        now = compute(in_place=in_place).assembled
    except NOT_RATABLE as problem:
        return Comparison(before, (), None, _why(problem))
    return Comparison(before, was.document_lines, now)


def compare_totals(
    *, invoices: Sequence[Invoice], in_place: InPlace, known_until: dict[datetime, int] | None = None
) -> Iterator[TotalComparison]:
    """Yield for each invoice, in their order, the totals of `compare_invoice`: figures alone, contracts read at once.

    `known_until` keeps what was looked up for other invoices of the same run.
    """
    known_until = {} if known_until is None else known_until
    agreements = agreements_of(customers=[invoice.customer for invoice in invoices])
    prices = CompiledPrices()
    for invoice in invoices:
        yield _compared_totals(invoice, in_place, agreements, prices, known_until)


def _compared_totals(
    invoice: Invoice,
    in_place: InPlace,
    agreements: Agreements,
    prices: CompiledPrices,
    known_until: dict[datetime, int],
) -> TotalComparison:
    lines, before, period = _charged(invoice)

    def figures(cards: InPlace) -> InvoiceFigures:
        contract = contract_agreed(agreements=agreements, customer=invoice.customer, period=period, in_place=cards)
        contract = without_fees_in_advance(contract=contract)
        return compute_figures(contract=contract, measure=measure, prices=prices, as_needed=as_needed)

    try:
        measure = usage_as_invoiced(invoice=invoice, lines=lines, known_until=known_until)
        as_needed = divided_as_invoiced(lines=lines)
        if problem := _difference(lines, figures(AS_AGREED).amounts, invoice.currency):
            return TotalComparison(before, None, problem)
        return TotalComparison(before, figures(in_place).total)
    except NOT_RATABLE as problem:
        return TotalComparison(before, None, _why(problem))


def _charged(invoice: Invoice) -> tuple[list[InvoiceLine], Money, Period]:
    """Return the charges and adjustments of an issued invoice, without what was invoiced before, fees in advance and credit, what they come to, and its period."""
    lines = [
        line
        for line in invoice.lines.all()
        if line.kind != LineKind.CORRECTION
        and line.adjustment not in IN_ADVANCE
        and line.credit_grant_id is None
        and line.progressive_id is None
    ]
    period = Period(as_utc(invoice.period_start), as_utc(invoice.period_end))
    return lines, total((line.amount for line in lines), invoice.currency), period


def _why(problem: BaseException) -> str:
    return (getattr(problem, "message", "") or f"{type(problem).__name__} {problem}")[:500]


def _card(entry: PlanEntry, *, source: str, version: int | None) -> dict[str, Any]:
    rate_card_of(entry=entry)
    document = {"key": entry.key, "name": entry.name, "product": entry.product, **entry.rate_card()}
    return {"plan": entry.key, "version": version, "source": source, "document": document}


def _months_before(day: date, months: int) -> date:
    year, month = divmod(day.year * 12 + day.month - 1 - months, 12)
    return date(year, month + 1, 1)


def _difference(lines: Sequence[InvoiceLine], computed: Mapping[str, Decimal], currency: str) -> str:
    """Say where the charges and adjustments, computed again as agreed, are not those that were issued; "" where they are."""
    issued = {line.rated["inputs"]["reference"]: line.amount.amount for line in lines}
    for reference in sorted({*issued, *computed}):
        if issued.get(reference) != computed.get(reference):
            was_then, is_now = (_text(amounts.get(reference), currency) for amounts in (issued, computed))
            return f"{reference} was invoiced with {was_then}, computed again it is {is_now}"
    return ""


def _text(amount: Decimal | None, currency: str) -> str:
    return "nothing" if amount is None else f"{currency} {amount_text(amount=amount, currency=currency)}"


def _figure(asked: WhatIf, invoice: Invoice, compared: TotalComparison) -> WhatIfFigure:
    last_moment = invoice.period_end.astimezone(ZoneInfo(invoice.timezone)) - timedelta(microseconds=1)
    return WhatIfFigure(
        what_if=asked,
        customer=invoice.customer,
        invoice=invoice,
        month=last_moment.date().replace(day=1),
        currency=invoice.currency,
        before=compared.before,
        after=compared.after,
        problem=compared.problem,
    )


def _finish(asked: WhatIf, *, at: datetime) -> None:
    rows = WhatIfFigure.objects.filter(what_if=asked).order_by("invoice_id")
    asked.invoice_count = asked.done_count
    asked.finished_at = at
    asked.figures = figures_of(asked=asked)
    asked.figures_digest = digest_of(
        {
            "cards": asked.cards,
            "first_date": asked.first_date.isoformat(),
            "last_date": asked.last_date.isoformat(),
            "invoices": [
                [number, seal, format(before, "f"), "" if after is None else format(after, "f"), problem]
                for number, seal, before, after, problem in rows.values_list(
                    "invoice__number", "invoice__seal", "before", "after", "problem"
                )
            ],
        }
    )
