"""The words of the pure core: a contract as rating sees it, and what rating makes of it."""

from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from functools import cached_property
from typing import Any, ClassVar

from moneyed import Money

from billing_site.kernel.period import Period
from invoicing.core.detail import ByDimensions, BySize, Cell, GroupUsage, Need, SizeUsage, Values
from invoicing.core.tax import InvoiceTax

# Stored with every rated line; whatever changes a figure or a word of a line changes this too.
ENGINE_VERSION = "1"


class PriceModel(StrEnum):
    """How a quantity becomes an amount."""

    FLAT = "flat"
    PER_UNIT = "per_unit"
    GRADUATED = "graduated"
    VOLUME = "volume"
    PACKAGE = "package"
    PERCENTAGE = "percentage"
    GRADUATED_PERCENTAGE = "graduated_percentage"
    MATRIX = "matrix"


class Cadence(StrEnum):
    """How often a plan is billed."""

    WEEK = "week"
    MONTH = "month"
    QUARTER = "quarter"
    YEAR = "year"


class StepKind(StrEnum):
    """What one rung of the written-out arithmetic is about."""

    FLAT_FEE = "flat_fee"
    UNITS = "units"
    TIER = "tier"
    TIER_REACHED = "tier_reached"
    PACKAGES = "packages"
    PERCENTAGE = "percentage"
    CELL = "cell"
    OTHER_VALUES = "other_values"
    EVENTS = "events"
    EVENTS_AT_MINIMUM = "events_at_minimum"
    EVENTS_AT_MAXIMUM = "events_at_maximum"
    TRUE_UP = "true_up"
    CAP = "cap"
    RATED_AFTER = "rated_after"
    INVOICED_BEFORE = "invoiced_before"
    TAKEN_BEFORE = "taken_before"
    LEFT_FOR_LATER = "left_for_later"
    COMMITTED = "committed"
    DRAWN = "drawn"
    OVERAGE = "overage"
    EXPIRED = "expired"
    ROLLED_OVER = "rolled_over"
    DISCOUNT = "discount"
    ADVANCE_FEE = "advance_fee"
    HELD = "held"
    SETTLED = "settled"
    CREDIT = "credit"
    EDITED = "edited"

    @property
    def is_bound(self) -> bool:
        """Say whether the rung lifts to the minimum or cuts at the maximum instead of pricing usage."""
        return self in (StepKind.TRUE_UP, StepKind.CAP)


class AdjustmentKind(StrEnum):
    """What changes a bill beyond its charges; this order is that of the document, and each sees what those before it made."""

    MINIMUM_SPEND = "minimum_spend"
    MAXIMUM_SPEND = "maximum_spend"
    COMMITMENT_BASE = "commitment_base"
    COMMITMENT_OVERAGE = "commitment_overage"
    COMMITMENT_TRUE_UP = "commitment_true_up"
    COMMITMENT_EXPIRY = "commitment_expiry"
    COMMITMENT_DRAWDOWN = "commitment_drawdown"
    DISCOUNT = "discount"
    EDIT = "edit"
    INVOICED_IN_ADVANCE = "invoiced_in_advance"
    IN_ADVANCE = "in_advance"
    ADVANCE_CREDIT = "advance_credit"
    INVOICED_PROGRESSIVELY = "invoiced_progressively"
    CREDIT = "credit"


@dataclass(frozen=True)
class Tier:
    """The rate up to and including a bound; `up_to` None is without bound and stands last."""

    up_to: Decimal | None
    unit_amount: Decimal = Decimal(0)
    flat_amount: Decimal = Decimal(0)
    rate: Decimal = Decimal(0)


@dataclass(frozen=True)
class Price:
    """How a quantity is priced; only the members of its model are set. `rate` is a fraction of one."""

    model: PriceModel
    unit_amount: Decimal | None = None
    tiers: tuple[Tier, ...] = ()
    package_size: Decimal | None = None
    package_amount: Decimal | None = None
    free_units: Decimal = Decimal(0)
    rate: Decimal | None = None
    minimum_amount: Decimal | None = None
    maximum_amount: Decimal | None = None
    dimensions: tuple[str, ...] = ()
    cells: tuple[Cell, ...] = ()
    default_unit_amount: Decimal | None = None
    fixed_amount_per_event: Decimal | None = None
    minimum_amount_per_event: Decimal | None = None
    maximum_amount_per_event: Decimal | None = None

    @cached_property
    def need(self) -> Need | None:
        """What it must know of usage beside the quantity; a price with a need has no places that a change could carry."""
        if self.model is PriceModel.MATRIX:
            cells = frozenset(cell.values for cell in self.cells)
            return ByDimensions(self.dimensions, cells, has_default=self.default_unit_amount is not None)
        if self.is_per_event:
            return BySize(self._size_at(self.minimum_amount_per_event), self._size_at(self.maximum_amount_per_event))
        return None

    @property
    def is_per_event(self) -> bool:
        """Say whether each event is charged by itself."""
        own = (self.fixed_amount_per_event, self.minimum_amount_per_event, self.maximum_amount_per_event)
        return any(amount is not None for amount in own)

    def _size_at(self, bound: Decimal | None) -> Fraction | None:
        """Return the size of an event that comes to a bound exactly."""
        if bound is None:
            return None
        assert self.rate, "events have bounds where they are charged a percentage"
        return (Fraction(bound) - Fraction(self.fixed_amount_per_event or 0)) / Fraction(self.rate)


@dataclass(frozen=True)
class Charge:
    """A price in a contract, for one service period.

    `reference` is unique within a snapshot. `share` is the service period's part of the full
    billing period (1 for a whole one): it prorates what is owed per period, never usage. `quantity` is
    how often a flat fee counts. `carries` are the earlier services of the same billing period whose usage moves
    its place in tiers, free units and packages on.
    """

    reference: str
    name: str
    price: Price
    meter: str | None
    unit: str
    subscription: str
    service_period: Period
    share: Fraction = Fraction(1)
    quantity: int = 1
    carries: tuple[Period, ...] = ()

    def __post_init__(self) -> None:
        assert all(span.end <= self.service_period.start for span in self.carries), "what is carried was used before"
        assert 0 <= self.share <= 1, f"a share is a part of a period: {self.share}"
        assert self.quantity >= 1, "a fee is due for something"
        assert self.quantity == 1 or self.meter is None, "seats multiply flat fees, not usage"
        assert self.meter is not None or self.price.model is PriceModel.FLAT, "a price of usage needs a meter"


@dataclass(frozen=True)
class Usage:
    """What a meter counted for a charge, and the evidence: windows, events, and how far they were known.

    `carried` is what it counted in the services that the charge carries on from; it is not charged again. `groups` and
    `by_size` are there where the price needs them, and add up to the quantity.
    """

    meter: str
    quantity: Decimal
    window_count: int
    event_count: int
    windows_digest: str
    known_through: int
    carried: Decimal = Decimal(0)
    groups: tuple[GroupUsage, ...] | None = None
    by_size: SizeUsage | None = None


@dataclass(frozen=True)
class Term:
    """What a contract says about a bill beyond its charges; each family of `core/adjustments` is one kind of it.

    `reference` is unique within a snapshot, among charges too; `about` are the references of the lines that it looks at: charges, or adjustments of an earlier kind.
    """

    kind: ClassVar[AdjustmentKind]

    reference: str
    subscription: str
    service_period: Period
    about: tuple[str, ...]


@dataclass(frozen=True)
class ContractSnapshot:
    """All charges of a customer for one billing period, in the order of the document, the terms beyond them, and whose the accounts' subscriptions are."""

    customer: str
    currency: str
    period: Period
    charges: tuple[Charge, ...]
    terms: tuple[Term, ...] = ()
    consumers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Step:
    """One rung of the written-out arithmetic; `amount` is exact.

    `quantity` is how much of the usage this rung prices; over all rungs that is what was not free. `count` is what `unit_amount` is multiplied by: the quantity, or the number of started packages. amount = count × unit_amount + quantity × rate + flat_amount × share, on FLAT_FEE times `count` where there are several; on the rungs TRUE_UP and
    CAP `flat_amount` is the bound and the amount what is missing to it (negative for a cap). The rungs of a correction carry rounded amounts and nothing else. `values` are those of the cell that it prices.
    """

    kind: StepKind
    quantity: Decimal
    amount: Fraction
    unit_amount: Decimal = Decimal(0)
    flat_amount: Decimal = Decimal(0)
    rate: Decimal = Decimal(0)
    count: Decimal = Decimal(0)
    up_to: Decimal | None = None
    values: Values = ()
    text: str = ""
    arithmetic: str = ""


@dataclass(frozen=True)
class RatedLine:
    """A charge with its quantity, exact amount, rounded amount and the steps in between."""

    reference: str
    description: str
    explanation: str
    subscription: str
    meter: str | None
    quantity: Decimal
    free_quantity: Decimal
    unit: str
    price: Price
    share: Fraction
    unrounded_amount: Fraction
    amount: Money
    steps: tuple[Step, ...]
    service_period: Period
    usage: Usage | None
    carries: tuple[Period, ...] = ()

    @property
    def currency(self) -> str:
        """The ISO 4217 code of the line."""
        return str(self.amount.currency.code)


@dataclass(frozen=True)
class BaseLine:
    """A line that an adjustment was computed from: all that it needs to know of it."""

    reference: str
    amount: Money


@dataclass(frozen=True)
class AdjustmentLine:
    """What a term makes of a bill, signed; there is one for each term, also over nothing: later usage may change that.

    `parts` say what a reduction takes off each line, not negative; empty where it changes the bill as a whole.
    """

    term: Term
    base: tuple[BaseLine, ...]
    description: str
    explanation: str
    amount: Money
    steps: tuple[Step, ...]
    parts: tuple[BaseLine, ...] = ()
    quantity: ClassVar[Decimal] = Decimal(1)
    meter: ClassVar[None] = None
    unit: ClassVar[str] = ""

    @property
    def kind(self) -> AdjustmentKind:
        """What it is about."""
        return self.term.kind

    @property
    def reference(self) -> str:
        """What names it within its invoice."""
        return self.term.reference

    @property
    def subscription(self) -> str:
        """Whose bill it changes."""
        return self.term.subscription

    @property
    def service_period(self) -> Period:
        """What part of the billing period it is about."""
        return self.term.service_period


@dataclass(frozen=True)
class Decided:
    """What goes to the next invoice of a line that was issued, and what invoices hold of it; `period` as people read it: "July 2026"."""

    reference: str
    invoice_number: str
    position: int
    line_digest: str
    period: str
    currency: str
    taken: Money


@dataclass(frozen=True)
class DecidedCorrection(Decided):
    """A correction of a charge: it is rated with both usages."""

    charge: Charge
    before: Usage
    after: Usage


@dataclass(frozen=True)
class DecidedAdjustment(Decided):
    """A correction of an adjustment line: late usage has changed what it was computed from."""

    before: AdjustmentLine
    after: AdjustmentLine


@dataclass(frozen=True)
class CorrectionLine:
    """What an invoice takes of a correction; `quantity` is the signed difference."""

    reference: str
    description: str
    explanation: str
    subscription: str
    meter: str | None
    quantity: Decimal
    unit: str
    amount: Money
    steps: tuple[Step, ...]
    service_period: Period
    correction: DecidedCorrection | DecidedAdjustment


OpenCorrection = DecidedCorrection | DecidedAdjustment
BillLine = RatedLine | AdjustmentLine
DocumentLine = BillLine | CorrectionLine


@dataclass(frozen=True)
class AssembledInvoice:
    """An invoice before it is stored: charges in order, with the `documents` that are stored of them, adjustments, corrections of earlier invoices, totals, and the digest of all of it."""

    customer: str
    currency: str
    period: Period
    lines: tuple[RatedLine, ...]
    subtotal: Money
    total: Money
    digest: str = field(repr=False)
    corrections: tuple[CorrectionLine, ...] = ()
    adjustments: tuple[AdjustmentLine, ...] = ()
    credits: tuple[AdjustmentLine, ...] = ()
    tax: InvoiceTax | None = None
    documents: tuple[dict[str, Any], ...] = field(default=(), repr=False, compare=False)

    @property
    def bill_lines(self) -> tuple[BillLine, ...]:
        """What this period's bill is made of: charges and adjustments."""
        return (*self.lines, *self.adjustments)

    @property
    def document_lines(self) -> tuple[DocumentLine, ...]:
        """All lines in the order of the document."""
        return (*self.lines, *self.adjustments, *self.corrections, *self.credits)
