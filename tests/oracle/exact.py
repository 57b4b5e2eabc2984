"""Exact numbers of independent make: roundings, means and deviations as rational numbers, for DuckDB to call.

DuckDB sums integers and decimals exactly but averages in doubles, so an average is made here of its integer sums: the
Float64 nearest to the exact value."""

from fractions import Fraction
from math import isqrt

# Bits that a square root is taken to before it is rounded: more than a Float64 has, by far.
ROOT_BITS = 80


def half_even(value, decimals):
    """An exact value scaled by its decimals, rounded half to even."""
    return round(Fraction(value) * 10**decimals)


def mean(total, count, decimals):
    """The mean of values whose scaled sum is `total`."""
    return None if not count else float(Fraction(total, count * 10**decimals))


def _variance(total, squares, count, decimals, sample):
    if not count or count <= sample:
        return None
    return Fraction(count * squares - total * total, count * (count - sample) * 10 ** (2 * decimals))


def variance(total, squares, count, decimals, sample):
    """The variance, of a sample (1) or of all (0), of values with these scaled sums."""
    exact = _variance(total, squares, count, decimals, sample)
    return None if exact is None else float(exact)


def deviation(total, squares, count, decimals, sample):
    """The standard deviation: the root is taken in integers, with a last bit that says whether anything was left."""
    exact = _variance(total, squares, count, decimals, sample)
    if not exact:
        return None if exact is None else 0.0
    shift = max(0, ROOT_BITS + (exact.denominator.bit_length() - exact.numerator.bit_length()) // 2)
    scaled, rest = divmod(exact.numerator << (2 * shift), exact.denominator)
    root = isqrt(scaled)
    sticky = int(rest != 0 or root * root != scaled)
    return float(Fraction(2 * root + sticky, 2 << shift))


def teach(connection):
    """Gives a DuckDB connection the functions, under names of ours."""
    whole = ["HUGEINT", "BIGINT", "INTEGER"]
    squared = ["HUGEINT", "HUGEINT", "BIGINT", "INTEGER", "INTEGER"]
    for name, function, takes in [
        ("exact_mean", mean, whole),
        ("exact_variance", variance, squared),
        ("exact_deviation", deviation, squared),
    ]:
        connection.create_function(name, function, takes, "DOUBLE", null_handling="special")
