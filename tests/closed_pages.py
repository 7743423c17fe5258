"""What every written page has to be: closed to scripts and to everything from elsewhere."""

import re

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def check_closed(page: str) -> None:
    """The policy stands once, before anything that it is about; nothing in the page would need more."""
    found = re.findall(r'<meta http-equiv="Content-Security-Policy" content="([^"]*)">', page)
    assert found == [POLICY]
    before = page.partition("Content-Security-Policy")[0]
    assert not re.search(r"<(style|img|script|link|body)", before)
    assert not re.search(r"<(script|link|iframe|object|embed|form|base)\b|\son\w+=|javascript:|https?://", page)
