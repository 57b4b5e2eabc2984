"""SQL in two dialects at once, and what is known of the rows and columns that it gives.

civicmesh's dialect names measures and time as a department's table would; DuckDB's names columns of ours (the start
of a civil unit, a scaled measure), and has every mean and deviation computed of integer sums by `exact`."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Pair:
    """The same text in civicmesh's dialect and in DuckDB's."""

    civic: str
    duck: str

    def __add__(self, other):
        return Pair(self.civic + other.civic, self.duck + other.duck)


def same(text):
    return Pair(text, text)


def form(template, **parts):
    """The template in both dialects; braces name pairs, or texts that both share."""
    civic = {name: part.civic if isinstance(part, Pair) else part for name, part in parts.items()}
    duck = {name: part.duck if isinstance(part, Pair) else part for name, part in parts.items()}
    return Pair(template.format(**civic), template.format(**duck))


def joined(separator, pairs):
    pairs = list(pairs)
    return Pair(separator.join(p.civic for p in pairs), separator.join(p.duck for p in pairs))


def quoted(text):
    return "'" + text.replace("'", "''") + "'"


@dataclass(frozen=True)
class Column:
    name: str
    # text, time, date, int, dec, double, bool
    kind: str
    # as a key: what it says, so that two blocks can be joined over it
    says: str = ""
    # computed in doubles more than once: compared with a tolerance
    near: bool = False


@dataclass
class Relation:
    """A SELECT in parentheses' reach, and what columns it gives."""

    sql: Pair
    columns: list
    # by which of its columns its rows are ordered, all of them in total order or not at all
    order: list = field(default_factory=list)

    def of(self, *kinds):
        return [column for column in self.columns if column.kind in kinds and not column.near]


@dataclass
class Source:
    """Rows of a product, to be aggregated: the FROM clause and what each thing is called in it."""

    product: object
    sql: Pair
    time: str
    # measure or dimension -> its name here
    names: dict
    # more keys that a subquery or a joined list of values made
    keys: list = field(default_factory=list)
