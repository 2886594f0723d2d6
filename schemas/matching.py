"""Texts against patterns in which `*` stands for anything: of alert routes and of silences."""


def matches(pattern: str, text: str | None) -> bool:
    """Whether a text fits a pattern. A text that is not there fits only `*`.

    The parts between the stars are looked for one after another, the first place of each counts:
    so the time grows with the length of the text, however many stars there are.
    """
    if text is None:
        return pattern == "*"
    first, *others = pattern.split("*")
    if not others:
        return pattern == text
    *middle, last = others
    if not text.startswith(first) or len(text) < len(first) + len(last):
        return False
    at, end = len(first), len(text) - len(last)
    for part in middle:
        at = text.find(part, at, end)
        if at < 0:
            return False
        at += len(part)
    return at <= end and text.endswith(last)
