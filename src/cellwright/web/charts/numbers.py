"""Numbers as people read them: few digits, a true minus, powers of ten where they are needed."""

import math

RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
FIRM = "\u00a0"
PLAIN = (1e-3, 1e5)  # from here to there a number is written without a power of ten


def number(value: float, digits: int = 3) -> str:
    """Return a number with so many significant digits; a whole number (int) with all of its own.

    before: 0.03162, -1234567, 2.5e-7      after: 0.0316, −1,234,567, 2.50·10⁻⁷
    """
    if isinstance(value, int):
        return f"{value:,}".replace("-", "−")
    if not math.isfinite(value):
        raise ValueError(f"expected a finite number, got {value}")
    if value == 0:
        return "0"
    mantissa, _, exponent = f"{value:.{digits - 1}e}".partition("e")
    power = int(exponent)
    if PLAIN[0] <= abs(float(f"{mantissa}e{power}")) < PLAIN[1]:
        return f"{value:,.{max(0, digits - 1 - power)}f}".replace("-", "−")
    return f"{mantissa}·{power_of_ten(power)}".replace("-", "−")


def power_of_ten(exponent: int) -> str:
    """Return 10⁻³ for -3."""
    return f"10{str(exponent).translate(RAISED)}"


def percent(share: float) -> str:
    """Return a share as per cent: `31 %`, `0.4 %`; never 0 or 100 for what is not.

    The blank is one that no line breaks at.
    """
    value = 100 * share
    if 0 < value < 0.1:
        return f"<{FIRM}0.1{FIRM}%"
    if 99.9 < value < 100:
        return f">{FIRM}99.9{FIRM}%"
    whole = 10 <= value <= 90 or value in (0, 100)
    return f"{value:.0f}{FIRM}%" if whole else f"{value:.1f}{FIRM}%"
