"""What a question may name: products, their dimensions, measures and grain."""

from dataclasses import dataclass
from datetime import date

EVERYTHING = ("count", "sum", "sum_squares", "min", "max")


@dataclass
class Measure:
    name: str
    decimals: int = 0
    publish: tuple = EVERYTHING
    gauge: bool = False
    # what a condition above aggregates compares with
    typical: int = 50


@dataclass
class Product:
    domain: str
    name: str
    grain: str
    measures: list
    # dimension -> some of its values, the first of them frequent
    dimensions: dict
    # the time that questions bound
    start: date
    end: date
    threshold: bool = False
    # texts of which only the number of distinct values is told
    distinct: tuple = ()

    @property
    def id(self):
        return f"{self.domain}.{self.name}"

    @property
    def table(self):
        """Its name among DuckDB's tables."""
        return f"{self.domain}_{self.name}"
