"""Matching of paintings with the styles of a network."""

from collections.abc import Sequence
from pathlib import Path

from nst_lightning.errors import UserError
from nst_lightning.images import expand_path, list_pictures


def find_paintings(styles: Sequence[str], paintings: Sequence[str], *, only: Sequence[str]) -> dict[str, Path]:
    """Find the paintings of a network's styles.

    Args:
        styles: names of all styles of the network; none for a network of one style, for which there must be one
            painting.
        paintings: files named after the styles, folders of such files, or `NAME=FILE`.
        only: the styles whose paintings to find.

    Returns:
        The files by the names of their styles.

    Raises:
        UserError: no painting or several paintings fit a style.
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
            known = ", ".join(styles) or "none, since the network has one style without a name"
            raise UserError(f"paintings: {given} doesn't name a style; styles: {known}")
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
            raise UserError(f"paintings: none of {names} is named after the style {style}")
        exact = [path for path in fitting if path.stem == style] or fitting
        if len(exact) > 1:
            names = ", ".join(map(str, exact))
            raise UserError(f"paintings: {names} are all named after the style {style}; choose one with {style}=FILE")
        files[style] = exact[0]
    return files
