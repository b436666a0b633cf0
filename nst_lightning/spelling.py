"""Names that somebody may have meant."""

import difflib
from collections.abc import Iterable


def meant(name: str, names: Iterable[str], what: str) -> str:
    """What to say of an unknown name: those that have it in theirs, or the one spelled nearly so; else all of them.

    Case doesn't matter.

    Args:
        name: the unknown one.
        names: those that there are.
        what: they are.

    >>> meant("Wave", ["great_wave", "ink"], "styles")
    'did you mean great_wave?'
    >>> meant("oil", ["great_wave", "ink"], "styles")
    'styles: great_wave, ink'
    """
    lowered = {known.lower(): known for known in names}
    parts = [known for low, known in lowered.items() if name and name.lower() in low]
    close = parts or [lowered[low] for low in difflib.get_close_matches(name.lower(), lowered, n=1, cutoff=0.5)]
    return f"did you mean {' or '.join(close)}?" if close else f"{what}: {', '.join(lowered.values())}"
