"""Reads sketches as Apache DataSketches' own library does, and makes some: what tests/integration/sketches.rs asks.

A JSON object on stdin holds sketches in hexadecimal digits; one on stdout says what was read, and holds others."""

import json
import sys

import datasketches

given = json.load(sys.stdin)
quantiles = datasketches.kll_doubles_sketch.deserialize(bytes.fromhex(given["quantiles"]))
distinct = [datasketches.hll_sketch.deserialize(bytes.fromhex(text)) for text in given["distinct"]]
union = datasketches.hll_union(12)
for sketch in distinct:
    union.update(sketch)

made_quantiles = datasketches.kll_doubles_sketch(200)
made_distinct = datasketches.hll_sketch(12, datasketches.tgt_hll_type.HLL_8)
for value in range(10_000):
    made_quantiles.update(value / 4)
    made_distinct.update(value)
json.dump(
    {
        "count": quantiles.n,
        "least": quantiles.get_min_value(),
        "median": quantiles.get_quantile(0.5, True),
        "ninth": quantiles.get_quantile(0.9, True),
        "estimates": [sketch.get_estimate() for sketch in distinct],
        "union": union.get_estimate(),
        "quantiles": made_quantiles.serialize().hex(),
        "made_ninth": made_quantiles.get_quantile(0.9, True),
        "distinct": made_distinct.serialize_compact().hex(),
    },
    sys.stdout,
)
