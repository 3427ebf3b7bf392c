"""Which topics a pattern covers (docs/protocol.md, "subscribe")."""

from __future__ import annotations

import re


def is_pattern(name: str) -> bool:
    return "*" in name


def check(name: str) -> None:
    """Raises `ValueError` for what the gateway takes neither for a topic nor for a pattern."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError(f"a topic is 1 to 128 letters, digits, and `_ . : -`, not {name!r:.140}")
    if not _STARS.fullmatch(name):
        raise ValueError(f"a `*` is a whole segment, or the end of a pattern: {name!r}")


def matcher(pattern: str) -> re.Pattern[str]:
    """Matches whole names. A `*` that is a segment stands for one segment; at the end it stands for all that follows.

    Linear: no two stars meet without a separator between them.
    """
    parts = [re.escape(part) for part in pattern.split("*")]
    return re.compile("[^.:]*".join(parts[:-1]) + ".*" if pattern.endswith("*") else "[^.:]*".join(parts), re.DOTALL)


_NAME = re.compile(r"[A-Za-z0-9_.:*-]{1,128}")
_STARS = re.compile(r"(?:(?:\*(?![^.:])|[^*.:]*)[.:])*(?:[^*.:]*\*?)")
