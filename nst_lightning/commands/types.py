"""Numbers with a range, as the command line checks them; to type checkers they are plain numbers."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    PositiveInt = NonNegativeInt = int
    PositiveFloat = NonNegativeFloat = UnitInterval = float
else:
    from jsonargparse.typing import ClosedUnitInterval as UnitInterval
    from jsonargparse.typing import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

__all__ = ["NonNegativeFloat", "NonNegativeInt", "PositiveFloat", "PositiveInt", "UnitInterval"]
