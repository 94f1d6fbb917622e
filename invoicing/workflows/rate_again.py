"""Count and rate issued lines again: `verify` all of them, every night a sample of them and all large ones."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from django.db import transaction
from django.db.models import Q, QuerySet

from billing_site.kernel.digest import digest_of
from invoicing.invoices.models import InvoiceLine, InvoiceStatus
from invoicing.rerating.models import ReratingFinding, ReratingRun
from invoicing.workflows.explain_invoice import LineProof, prove_line

CHUNK = 500


@dataclass(frozen=True)
class Chosen:
    """The lines of one night, by their primary keys."""

    large: list[int]
    sampled: list[int]


def issued_lines() -> "QuerySet[InvoiceLine]":
    """Return the lines of all invoices that are no drafts, with what a proof of them reads."""
    return InvoiceLine.objects.exclude(invoice__status=InvoiceStatus.DRAFT).select_related(
        "invoice__customer",
        "subscription__customer",
        "correction__original__invoice__customer",
        "correction__original__subscription__customer",
    )


def proved_again(*, lines: "QuerySet[InvoiceLine]") -> Iterator[LineProof]:
    """Yield the proof of each line, counted from raw events and rated again at this moment; nothing is written."""
    for line in lines.order_by("invoice_id", "position").iterator(chunk_size=CHUNK):
        yield prove_line(line=line)


def rate_again_at_night(*, at: datetime, sample: int, large_amount: Decimal) -> ReratingRun:
    """Prove so many issued lines drawn at random, and all of at least an amount (credits, too) in whatever currency.

    A difference opens a finding, once for each way in which a line differs; what is archived is rated and not counted. The night's
    figures are kept. It may run twice: the second run draws other lines.
    """
    chosen = _chosen(sample=sample, large_amount=large_amount)
    archived, different = 0, []
    keys = [*chosen.large, *chosen.sampled]
    for first in range(0, len(keys), CHUNK):
        for proof in proved_again(lines=issued_lines().filter(pk__in=keys[first : first + CHUNK])):
            archived += bool(proof.archived)
            if proof.differences:
                different.append(proof)
    return _kept(chosen, different, archived=archived, at=at)


def _chosen(*, sample: int, large_amount: Decimal) -> Chosen:
    issued = InvoiceLine.objects.exclude(invoice__status=InvoiceStatus.DRAFT)
    is_large = Q(amount__gte=large_amount) | Q(amount__lte=-large_amount)
    large = list(issued.filter(is_large).values_list("pk", flat=True))
    sampled = list(issued.exclude(is_large).order_by("?").values_list("pk", flat=True)[:sample]) if sample else []
    return Chosen(large=large, sampled=sampled)


@transaction.atomic
def _kept(chosen: Chosen, different: list[LineProof], *, archived: int, at: datetime) -> ReratingRun:
    run = ReratingRun.objects.create(
        at=at,
        sampled_count=len(chosen.sampled),
        large_count=len(chosen.large),
        archived_count=archived,
        different_count=len(different),
    )
    ReratingFinding.objects.bulk_create(
        [
            ReratingFinding(
                run=run,
                line=proof.line,
                differences=list(proof.differences),
                digest=digest_of(list(proof.differences)),
                found_at=at,
            )
            for proof in different
        ],
        # What a line differs in is told once, whoever has looked into it meanwhile.
        ignore_conflicts=True,
    )
    return run
