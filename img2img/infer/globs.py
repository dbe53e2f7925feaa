"""Whether paths match a glob, part by part."""

import fnmatch
from collections.abc import Sequence


def matches(parts: Sequence[str], patterns: Sequence[str]) -> bool:
    """Whether a path matches a glob. A part that equals its pattern matches, even with brackets."""
    if not patterns:
        return not parts
    pattern, rest = patterns[0], patterns[1:]
    if pattern == "**" and matches(parts, rest):
        return True
    if not parts:
        return False
    if pattern == "**":
        return matches(parts[1:], patterns)
    return _matches_part(pattern, parts[0]) and matches(parts[1:], rest)


def may_lead_to_match(parts: Sequence[str], patterns: Sequence[str]) -> bool:
    """Whether a folder may contain something that matches a glob."""
    for part, pattern in zip(parts, patterns, strict=False):
        if pattern == "**":
            return True
        if not _matches_part(pattern, part):
            return False
    return len(parts) < len(patterns)


def _matches_part(pattern: str, part: str) -> bool:
    return part == pattern or fnmatch.fnmatch(part, pattern)
