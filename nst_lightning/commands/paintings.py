"""Matching of paintings with the styles of a network."""

from collections.abc import Sequence
from pathlib import Path

from nst_lightning.commands.pictures import find_picture, find_pictures
from nst_lightning.errors import UserError, naming, suggest_names
from nst_lightning.images import list_pictures
from nst_lightning.system import normalize_name


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
    named: dict[str, Path] = {}
    for given in paintings:
        style, equals, file = given.partition("=")
        style = normalize_name(style)
        if style in styles and equals and not Path(given).exists():
            named[style] = find_picture("paintings", file)
            continue
        for path in find_pictures("paintings", [given]):
            if path.is_dir():
                with naming("paintings"):
                    found += list_pictures(path)
            elif equals and not path.exists():
                known = ", ".join(styles) or "none, since the network has one style without a name"
                raise UserError(f"paintings: {given} doesn't name a style; styles: {known}")
            else:
                found.append(path)
    if not styles:
        if len(found) != 1:
            raise UserError(f"paintings: the network has one style, and there are {len(found)} paintings; give one")
        return {normalize_name(found[0].stem): found[0]}
    files = {}
    for style in only:
        if style in named:
            files[style] = named[style]
            continue
        stems = {path: normalize_name(path.stem) for path in found}
        fitting = [path for path, stem in stems.items() if stem == style or stem.endswith(f"_{style}")]
        if not fitting:
            names = ", ".join(path.name for path in found)
            raise UserError(f"paintings: none of {names} is named after the style {style}")
        exact = [path for path in fitting if stems[path] == style] or fitting
        if len(exact) > 1:
            names = ", ".join(map(str, exact))
            raise UserError(f"paintings: {names} are all named after the style {style}; choose one with {style}=FILE")
        files[style] = exact[0]
    return files


def choose_styles(styles: Sequence[str], only: Sequence[str] | None) -> Sequence[str]:
    """The styles to evaluate: those in `only`, or all.

    Raises:
        UserError: the network doesn't have a style.
    """
    only = [normalize_name(name) for name in only or ()]
    unknown = sorted({*only} - {*styles})
    if unknown:
        allowed = suggest_names(unknown[0], styles, "styles") if styles else "the network's one style has no name"
        raise UserError(f"only: there is no {unknown[0]!r}; {allowed}")
    return only or styles
