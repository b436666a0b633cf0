"""Which painting belongs to which style of a network."""

from collections.abc import Sequence
from pathlib import Path

from nst_lightning.errors import UserError
from nst_lightning.images import expand_path, list_pictures


def find_paintings(styles: Sequence[str], paintings: Sequence[str], *, only: Sequence[str]) -> dict[str, Path]:
    """The paintings of some of a network's styles.

    Args:
        styles: the names of the network's styles; none for a network of one style, whose painting is the only one.
        paintings: files and folders in which they are, named after the styles, or `NAME=FILE`.
        only: the styles whose paintings are wanted.

    Raises:
        UserError: a style has no painting, or could have several.
    """
    found: list[Path] = []
    named: dict[str, str] = {}
    for given in paintings:
        style, equals, file = given.partition("=")
        path = expand_path(given)
        if style in styles and equals:
            named[style] = file
        elif path.is_dir():
            found += list_pictures(path)
        elif equals and not path.exists():
            known = ", ".join(styles) or "the network's styles, which have no names"
            raise UserError(f"paintings: {given} names no style of {known}")
        else:
            found.append(path)
    if not styles:
        if len(found) != 1:
            raise UserError(f"paintings: the network has one style, and there are {len(found)} paintings; give one")
        return {found[0].stem: found[0]}
    files = {}
    for style in only:
        if style in named:
            files[style] = expand_path(named[style])
            continue
        fitting = [path for path in found if path.stem == style or path.stem.endswith(f"_{style}")]
        if not fitting:
            names = ", ".join(path.name for path in found)
            raise UserError(f"paintings: there is none for the style {style} among {names}")
        exact = [path for path in fitting if path.stem == style] or fitting
        if len(exact) > 1:
            names = ", ".join(map(str, exact))
            raise UserError(f"paintings: {style} could be any of {names}; say which, {style}=FILE")
        files[style] = exact[0]
    return files
