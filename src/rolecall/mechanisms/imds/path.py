"""One canonical form of a request's path. What has no such form is refused, and never repaired.

The proxies before this one compared one spelling and passed on another: ``/x/../latest``, ``%2e%2e``, ``%3F``, ``//``
reached EC2's service, which read them as its own (legacy-proxies.md §3.7, requirement R-7).
"""

from __future__ import annotations

import re

from rolecall.errors import BadInput

LONGEST = 2048
_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})")
# RFC 3986 §3.3, the characters of a segment, without the semicolon, which some servers cut a segment at.
_PATH = re.compile(r"(?:/[A-Za-z0-9._~!$&'()*+,=:@-]+)*/?")
_DOTS = frozenset({".", ".."})


def canonical(target: str) -> str:
    """Return the path of a request target, percent-decoded once; the query is left out. Raises `BadInput`.

    Refused: what is longer than 2,048 characters, does not begin with a slash (``http://…``, ``*``), has an empty
    segment or one of dots, or holds, as it is or encoded, anything but letters, digits and ``-._~!$&'()*+,=:@``:
    so also an encoded slash, ``?``, ``#``, ``\\``, ``%`` and ``;``. A slash at the end stays.
    """
    if len(target) > LONGEST:
        raise BadInput("the path is too long")
    raw = target.partition("?")[0]
    if not raw.startswith("/"):
        raise BadInput("the request target is not a path")
    path = _ESCAPE.sub(_decoded, raw)
    if not path.isascii() or not _PATH.fullmatch(path):
        raise BadInput("the path is not in its canonical form")
    if _DOTS.intersection(path.split("/")):
        raise BadInput("the path has a segment of dots")
    return path


def _decoded(found: re.Match[str]) -> str:
    letter = chr(int(found[1], 16))
    return found[0] if letter in "/%" else letter  # left as it is, and so refused
