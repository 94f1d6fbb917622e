"""The built-in templates and the escalation paths that use them, as the page docs/notices.md."""

from dunning.core.built_in import BUILT_IN
from dunning.core.notice_kinds import KIND_WORDS, NoticeKind
from dunning.core.policy import ACT_WORDS, SHORT, STANDARD, PolicyTerms
from dunning.core.wording import PLACEHOLDERS
from invoicing.core.languages import LANGUAGES

PATHS = (("standard", STANDARD), ("short", SHORT))


def notices_page() -> str:
    """Return the page: who is told what on which day, and in which words."""
    return "\n".join(
        [
            "# What customers are told",
            "",
            "Made of `dunning/core/built_in/` and `dunning/core/policy.py` by `manage.py notices`; a test compares. These are the words that come with the",
            "product. A house drafts its own in the back office (Finance) and approves them there (Legal); they take the place of these.",
            "",
            "## Escalation paths",
            "",
            *(line for name, terms in PATHS for line in _path(name, terms)),
            "A payment that failed is told as *Payment failed*, or as *Confirmation needed* where the bank asks for 3-D Secure, also by a policy that begins with a reminder; whoever has paid is told *Restored* where",
            "service was limited; promises and instalments have notices of their own. Policies of a house are data: other days, other steps.",
            "",
            "## Placeholders",
            "",
            *(f"- `{{{name}}}` {meaning}" for name, meaning in PLACEHOLDERS.items()),
            "",
            *(line for kind in NoticeKind for line in _kind(kind)),
        ]
    )


def _path(name: str, terms: PolicyTerms) -> list[str]:
    rows = [
        f"| {step.day} | {ACT_WORDS[step.act]} | {KIND_WORDS[step.notice] if step.notice else '–'} |"
        for step in terms.steps
    ]
    return [f"`{name}`:", "", "| day | what is done | what is told |", "|---|---|---|", *rows, ""]


def _kind(kind: NoticeKind) -> list[str]:
    lines = [f"## {KIND_WORDS[kind]}", ""]
    for code, language in LANGUAGES.items():
        words = BUILT_IN[code][kind]
        body = [f"> {line}".rstrip() for line in words.body.splitlines()]
        lines += [f"{language.name}: **{words.subject}**", "", *body, ">", f"> Button: {words.button}", ""]
    return lines
