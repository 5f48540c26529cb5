"""How sure a share of right answers is."""

import math

Z = 1.96  # 95 % of a normal distribution


def wilson(right: int, total: int) -> tuple[float, float]:
    """The 95 % interval of Wilson (1927) for the share right / total; (0, 1) without answers."""
    if total == 0:
        return 0.0, 1.0
    share, weight = right / total, Z * Z / total
    middle = (share + weight / 2) / (1 + weight)
    reach = Z * math.sqrt(share * (1 - share) / total + weight / (4 * total)) / (1 + weight)
    return max(0.0, middle - reach), min(1.0, middle + reach)


def difference(right: int, other: int, total: int, other_total: int) -> tuple[float, float]:
    """The 95 % interval of right/total - other/other_total (Newcombe 1998, from Wilson's)."""
    share, other_share = right / max(1, total), other / max(1, other_total)
    low, high = wilson(right, total)
    other_low, other_high = wilson(other, other_total)
    below = math.hypot(share - low, other_high - other_share)
    above = math.hypot(high - share, other_share - other_low)
    between = share - other_share
    return between - below, between + above
