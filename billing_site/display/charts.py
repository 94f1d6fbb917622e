"""Charts drawn on the server as SVG: they start at zero, share one palette and read as a table behind one click."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

WIDTH = 840
HEIGHT = 120


@dataclass(frozen=True)
class Series:
    """The values of one thing over the chart's steps; `tone` is its place in the palette (1 or 2)."""

    name: str
    tone: int
    values: Sequence[Decimal]
    texts: Sequence[str]


def bar_chart(*, title: str, labels: Sequence[str], series: Sequence[Series]) -> SafeString:
    """Draw bars side by side for each label; the title names the question that the chart answers."""
    assert all(len(one.values) == len(one.texts) == len(labels) for one in series), "one value for each label"
    highest = max((value for one in series for value in one.values), default=Decimal(0)) or Decimal(1)
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


def _px(value: Decimal) -> str:
    return format(value, ".2f")
