"""The city of the demonstration, New York in 2020: real files, read here a second time and independently."""

import csv
import gzip
from collections import defaultdict
from datetime import date, datetime
from pathlib import Path

import civil
import exact
from product import Measure, Product

DEMO = Path(__file__).parents[2] / "deploy/demo"
K = 10
START, END = date(2020, 1, 1), date(2021, 1, 1)
NO_EXTREMES = ("count", "sum", "sum_squares")
BOROUGHS = ["Manhattan", "Queens", "Bronx", "Brooklyn", "Unknown", "Staten Island", "EWR"]


def lines(domain, name):
    with gzip.open(DEMO / domain / name, "rt", newline="", encoding="utf-8-sig") as file:
        yield from csv.DictReader(file)


class NewYork:
    """The same as a made world has: products, tables, turns."""

    def __init__(self, _dice, _folder):
        self.clock = civil.Clock("America/New_York")
        self.tables = [self.taxi(), self.emergency(), self.ridership(), self.weather()]
        self.products = [product for product, _, _ in self.tables]

    def domains(self):
        """Each domain's contract, and the file that it looks codes up in."""
        found = {p.domain: [str(DEMO / p.domain / f"{p.name}.yaml")] for p in self.products}
        found["traffic"].append(str(DEMO / "traffic/zones_taxi_lookup.csv"))
        found["health"].append(str(DEMO / "health/population.csv"))
        return found

    def turns(self):
        def delivery(domain, dataset, file, *arguments):
            return {
                "do": "take_in",
                "node": domain,
                "dataset": dataset,
                "file": str(DEMO / domain / file),
                "arguments": list(arguments),
            }

        complete = f"--complete={END}"
        return [
            [
                delivery("traffic", "taxi", "taxi_2020.csv.gz", complete),
                delivery("health", "emergency", "covid_like_illness_2020.csv.gz", complete),
                delivery("transit", "ridership", "ridership_2020_03_to_11.csv.gz"),
                delivery("weather", "daily", "central_park_2020.csv.gz", complete),
            ],
            [
                {"do": "restart", "node": "transit"},
                delivery("transit", "ridership", "ridership_2020_12.csv.gz", complete),
            ],
        ]

    def midnight(self, text):
        return self.clock.day(datetime.strptime(text, "%Y-%m-%d").date())

    def taxi(self):
        """Trips by borough: cells of fewer than ten are suppressed, every row another contributor."""
        product = Product(
            "traffic",
            "taxi",
            "1 day",
            [Measure("speed", 2, NO_EXTREMES, typical=20)],
            {"borough": BOROUGHS},
            START,
            END,
            True,
        )
        with open(DEMO / "traffic/zones_taxi_lookup.csv", newline="", encoding="utf-8-sig") as file:
            boroughs = {row["LocationID"]: row["borough"] for row in csv.DictReader(file)}
        cells = defaultdict(list)
        for row in lines("traffic", "taxi_2020.csv.gz"):
            speed = self.speed(row)
            if speed is not None:
                picked_up, scaled = speed
                borough = boroughs.get(row["pickup_location_id"]) or "Unknown"
                cells[picked_up.date(), borough].append((self.clock.at(picked_up), (borough,), (scaled,)))
        return (
            product,
            [row for rows in cells.values() if len(rows) >= K for row in rows],
            [row for rows in cells.values() for row in rows],
        )

    def speed(self, row):
        """When a trip began and how fast it was, to two decimals; None for one that the contract rejects."""
        try:
            begun, ended = (datetime.fromisoformat(row[name]) for name in ("pickup_datetime", "dropoff_datetime"))
            miles = float(row["trip_distance"])
        except ValueError:
            return None
        seconds = (self.clock.at(ended) - self.clock.at(begun)) // civil.SECOND
        if not (0.1 <= miles <= 100 and 60 <= seconds <= 10_800 and START <= begun.date() < END):
            return None
        scaled = exact.half_even(miles / seconds * 3600, 2)
        return (begun, scaled) if 100 <= scaled <= 8_000 else None

    def emergency(self):
        """A row is so many visits: suppressed where a day's visits of a borough are fewer than ten."""
        product = Product(
            "health",
            "emergency",
            "1 day",
            [Measure("visits", 0, ("count", "sum"), typical=100)],
            {"borough": BOROUGHS[:4]},
            date(2020, 2, 1),
            END,
            True,
        )
        with open(DEMO / "health/population.csv", newline="", encoding="utf-8-sig") as file:
            people = {row["borough"]: float(row["population"]) for row in csv.DictReader(file)}
        rows = []
        for row in lines("health", "covid_like_illness_2020.csv.gz"):
            day = row["Date"]
            if row["Borough"] not in people or not "2020-02-01" <= day < "2021-01-01" or not row["Visit_All_ages"]:
                continue
            exactly = float(row["Visit_All_ages"]) * people[row["Borough"]] / 100_000
            visits = int(exactly + 0.5)  # SQL's round: a half goes up
            rows.append((self.midnight(day), (row["Borough"],), (visits,)))
        return product, [row for row in rows if row[2][0] >= K], rows

    def ridership(self):
        """One row a day, and all of it open."""
        columns = {
            "subway_riders": "Subways: Total Estimated Ridership",
            "bus_riders": "Buses: Total Estimated Ridership",
            "lirr_riders": "LIRR: Total Estimated Ridership",
            "metro_north_riders": "Metro-North: Total Estimated Ridership",
            "access_a_ride_trips": "Access-A-Ride: Total Scheduled Trips",
            "bridge_tunnel_vehicles": "Bridges and Tunnels: Total Traffic",
            "staten_island_railway_riders": "Staten Island Railway: Total Estimated Ridership",
        }
        product = Product(
            "transit",
            "ridership",
            "1 day",
            [Measure(name, typical=300_000) for name in columns],
            {},
            date(2020, 3, 1),
            END,
        )
        rows = []
        for file in ("ridership_2020_03_to_11.csv.gz", "ridership_2020_12.csv.gz"):
            for row in lines("transit", file):
                values = [int(float(row[name])) if row[name] else None for name in columns.values()]
                rows.append((self.midnight(row["Date"]), (), tuple(values)))
        return product, rows, rows

    def weather(self):
        """Derived measures: reckoned in doubles, of which the exact value is rounded."""
        measures = [
            Measure("temp", 1, gauge=True, typical=15),
            Measure("wind", 1, gauge=True, typical=3),
            Measure("precipitation", 1, typical=5),
            Measure("snowfall"),
            Measure("snow_depth", gauge=True),
        ]
        product = Product("weather", "daily", "1 day", measures, {}, START, END)
        rows = []
        for row in lines("weather", "central_park_2020.csv.gz"):
            read = {
                name: float(row[name]) if row[name] else None
                for name in ("AWND", "PRCP", "SNOW", "SNWD", "TMAX", "TMIN")
            }
            derived = [
                None if None in (read["TMAX"], read["TMIN"]) else ((read["TMAX"] + read["TMIN"]) / 2 - 32) * 5 / 9,
                None if read["AWND"] is None else read["AWND"] * 0.44704,
                *(None if read[name] is None else read[name] * 25.4 for name in ("PRCP", "SNOW", "SNWD")),
            ]
            scaled = tuple(
                None if value is None else exact.half_even(value, m.decimals) for value, m in zip(derived, measures)
            )
            rows.append((self.midnight(row["DATE"]), (), scaled))
        return product, rows, rows
