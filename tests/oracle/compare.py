"""Whether an answer of civicmesh and one of DuckDB say the same.

civicmesh's answer comes as texts with the columns' Arrow types: whole numbers and decimals to the last digit, doubles
as the shortest text that reads back, instants as microseconds."""

import math
from collections import Counter
from datetime import date, datetime
from decimal import Decimal

import civil

# For what is computed in doubles in more than one step. What is one step is compared to the last bit.
NEAR = 1e-9


def civic_value(kind, text):
    if text is None:
        return None
    if kind.startswith(("Int", "UInt", "Decimal")):
        return Decimal(text)
    if kind.startswith("Float"):
        return float(text)
    if kind.startswith("Timestamp(") and "," in kind and "None" not in kind:
        return ("instant", int(text))
    if kind.startswith("Timestamp"):
        return ("local", text.replace("T", " "))
    if kind == "Boolean":
        return text == "true"
    return text


def duck_value(value):
    if isinstance(value, bool) or value is None or isinstance(value, (float, str, Decimal)):
        return value
    if isinstance(value, int):
        return Decimal(value)
    if isinstance(value, datetime):
        return ("instant", civil.micros(value)) if value.tzinfo else ("local", value.isoformat(sep=" "))
    if isinstance(value, date):
        return value.isoformat()
    return value


def alike(mine, true, near):
    if mine is None or true is None:
        return mine is true
    if isinstance(mine, (float, Decimal)) and isinstance(true, (float, Decimal)):
        if isinstance(mine, Decimal) and isinstance(true, Decimal):
            return mine == true
        a, b = float(mine), float(true)
        return (
            a == b
            or (near or not (isinstance(mine, float) and isinstance(true, float)))
            and math.isclose(a, b, rel_tol=NEAR, abs_tol=NEAR)
        )
    return type(mine) is type(true) and mine == true


def rank(value):
    """An order among values of a column, that numbers of either kind share."""
    if value is None:
        return (0, 0)
    if isinstance(value, (float, Decimal)):
        return (1, float(value))
    return (2, str(value))


def differs(kinds, mine, true, near, order):
    """What the first difference is, or None. `near` names columns to compare with a tolerance, `order` those that the
    rows are sorted by."""
    mine = [[civic_value(kind, text) for kind, text in zip(kinds, row)] for row in mine]
    true = [[duck_value(value) for value in row] for row in true]
    if len(mine) != len(true):
        return f"{len(mine)} rows, and {len(true)} in truth" + sample(mine, true)
    if mine and len(mine[0]) != len(true[0]):
        return f"{len(mine[0])} columns, and {len(true[0])} in truth"
    for n, (a, b) in enumerate(zip(mine, true)):
        if order and not all(alike(a[column], b[column], False) for column in order):
            return f"row {n} in order: {shown(a)}, and {shown(b)} in truth"
    first = [column for column in range(len(kinds)) if column not in near] + sorted(near)
    by = lambda row: [rank(row[column]) for column in first]
    for a, b in zip(sorted(mine, key=by), sorted(true, key=by)):
        if not all(alike(x, y, column in near) for column, (x, y) in enumerate(zip(a, b))):
            return f"{shown(a)}, and {shown(b)} in truth"
    return None


def strays(kinds, mine, true, columns):
    """A row that has no like in truth as far as these columns go, or None."""
    known = Counter(tuple(rank(duck_value(row[column])) for column in columns) for row in true)
    for row in mine:
        values = [civic_value(kinds[column], row[column]) for column in columns]
        found = tuple(map(rank, values))
        if not known[found]:
            return shown(values)
        known[found] -= 1
    return None


def shown(row):
    return "|".join("NULL" if value is None else str(value[1] if isinstance(value, tuple) else value) for value in row)


def sample(mine, true):
    """A row that only one of them has."""
    a, b = {shown(row) for row in mine}, {shown(row) for row in true}
    more = sorted(a - b)[:1] + ["in truth " + row for row in sorted(b - a)[:1]]
    return "".join(f"; {row}" for row in more)
