"""Names that somebody may have meant."""

import difflib
from collections.abc import Iterable


def meant(name: str, names: Iterable[str], what: str) -> str:
    """What to say of an unknown name: those that have it in theirs, and the one spelled nearly so; else all of them.

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
    names, lowered = list(names), name.lower()
    nearly = difflib.get_close_matches(lowered, [known.lower() for known in names], n=1, cutoff=0.5)
    close = [known for known in names if (len(lowered) > 2 and lowered in known.lower()) or known.lower() in nearly]
    return f"did you mean {' or '.join(close)}?" if close else f"{what}: {', '.join(names)}"
