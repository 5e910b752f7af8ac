"""What may be shown of a URL, which can hold user names and passwords."""

from __future__ import annotations

import re


def shown_url(url: str) -> str:
    """Return the URL without what may be secret: user, password, query and fragment."""
    without_user = re.sub(r"(?<=://)[^/?#]*@", "", url)
    return re.split(r"[?#]", without_user)[0]
