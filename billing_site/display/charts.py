"""Charts drawn on the server as SVG: they start at zero, share one palette and read as a table behind one click."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

WIDTH = 840
HEIGHT = 120


@dataclass(frozen=True)
class Series:
    """The values of one thing over the chart's steps; `tone` is its place in the palette (1 to 9: blue, green, red, amber, grey, violet, light blue, brown, yellow)."""

    name: str
    tone: int
    values: Sequence[Decimal]
    texts: Sequence[str]


def bar_chart(*, title: str, labels: Sequence[str], series: Sequence[Series]) -> SafeString:
    """Draw bars side by side for each label; the title names the question that the chart answers."""
    assert all(len(one.values) == len(one.texts) == len(labels) for one in series), "one value for each label"
    highest = _highest(series)
    slot = Decimal(WIDTH) / max(len(labels), 1)
    gap = slot / 6 if len(labels) < 200 else Decimal(0)
    bar = (slot - gap) / max(len(series), 1)

    def rectangles() -> list[tuple[object, ...]]:
        drawn: list[tuple[object, ...]] = []
        for index, label in enumerate(labels):
            for place, one in enumerate(series):
                if not one.values[index]:
                    continue
                height = max(one.values[index] / highest * HEIGHT, Decimal(1))
                x = index * slot + place * bar
                drawn.append(
                    (one.tone, _px(x), _px(HEIGHT - height), _px(bar), _px(height), label, one.name, one.texts[index])
                )
        return drawn

    return format_html(
        '<svg class="bo-chart" viewBox="0 0 {} {}" preserveAspectRatio="none" role="img" aria-label="{}">'
        '<line class="bo-axis" x1="0" y1="{}" x2="{}" y2="{}"/>{}</svg>',
        WIDTH,
        HEIGHT + 1,
        title,
        HEIGHT,
        WIDTH,
        HEIGHT,
        format_html_join(
            "",
            '<rect class="bo-bar-{}" x="{}" y="{}" width="{}" height="{}"><title>{}: {} {}</title></rect>',
            rectangles(),
        ),
    )


def row_chart(
    *, title: str, labels: Sequence[str], series: Sequence[Series], most: Decimal | None = None
) -> SafeString:
    """Draw a row for each label, in it a bar for each series with its value beside it; `most` is what fills a row, the highest value unless given."""
    highest = most or _highest(series)

    def bars(index: int) -> SafeString:
        return format_html_join(
            "",
            '<span class="bo-row-bar"><svg viewBox="0 0 {} 10" preserveAspectRatio="none" aria-hidden="true">'
            '<rect class="bo-bar-{}" width="{}" height="10"><title>{}: {}</title></rect></svg><span>{}</span></span>',
            (
                (WIDTH, one.tone, _px(_width(one.values[index], highest)), one.name, one.texts[index], one.texts[index])
                for one in series
            ),
        )

    return _rows(title, labels, bars)


def part_chart(*, title: str, labels: Sequence[str], series: Sequence[Series]) -> SafeString:
    """Draw a row for each label: one bar, made of a part for each series."""
    sums = [sum((one.values[index] for one in series), Decimal(0)) for index in range(len(labels))]
    highest = max(sums, default=Decimal(0)) or Decimal(1)

    def parts(index: int) -> SafeString:
        drawn: list[tuple[object, ...]] = []
        x = Decimal(0)
        for one in series:
            if one.values[index]:
                width = _width(one.values[index], highest)
                drawn.append((one.tone, _px(x), _px(width), one.name, one.texts[index]))
                x += width
        return format_html(
            '<span class="bo-row-bar"><svg viewBox="0 0 {} 10" preserveAspectRatio="none" aria-hidden="true">{}</svg><span>{}</span></span>',
            WIDTH,
            format_html_join(
                "", '<rect class="bo-bar-{}" x="{}" width="{}" height="10"><title>{}: {}</title></rect>', drawn
            ),
            f"{sums[index]:,f}",
        )

    return _rows(title, labels, parts)


def _rows(title: str, labels: Sequence[str], inside: Callable[[int], SafeString]) -> SafeString:
    rows = format_html_join(
        "",
        '<span class="bo-row"><span class="bo-row-name">{}</span><span>{}</span></span>',
        ((label, inside(index)) for index, label in enumerate(labels)),
    )
    # What is drawn stands as a table beneath: whoever listens hears that.
    return format_html('<div class="bo-rows" role="img" aria-label="{}">{}</div>', title, rows)


def _highest(series: Sequence[Series]) -> Decimal:
    return max((value for one in series for value in one.values), default=Decimal(0)) or Decimal(1)


def _width(value: Decimal, highest: Decimal) -> Decimal:
    return min(max(value, Decimal(0)) / highest, Decimal(1)) * WIDTH


def _px(value: Decimal) -> str:
    return format(value, ".2f")
