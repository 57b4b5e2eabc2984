//! The contracts of drawn departments: real ones, that a node checks as it would any department's.

use chrono::NaiveDate;

use super::kind::Kind;

/// The largest weight, by which the simulation knows which rows are in a sum: twelve digits, as a measure may have.
pub const WEIGHT_MAX: i64 = 999_999_999_999;
/// The measure that holds it.
pub const WEIGHT: &str = "weight";
/// The file that says in which district a sensor, stop or meter stands.
pub const SITES_FILE: &str = "sites.csv";
/// Hours that a window waits for rows that come late.
pub const LATENESS_HOURS: u32 = 2;

/// The contract of a department of this kind, from a day on to the first that it no longer covers.
pub(super) fn text(domain: &str, kind: Kind, (start, end): (NaiveDate, NaiveDate), raw_days: u32) -> String {
    let shape = kind.shape();
    let scaled = |value: i64| civicmesh_model::number::format_scaled(value.into(), shape.decimals);
    let (least, most) = (scaled(shape.range.0), scaled(shape.range.1));
    let logical = if shape.decimals == 0 { "integer" } else { "number" };
    let grain = if shape.grain_hours == 24 { "1 day".to_owned() } else { format!("{} hour", shape.grain_hours) };
    let topic = if kind == Kind::Services { "\n  - {name: topic, logicalType: string}" } else { "" };
    let disclosure = match kind.threshold() {
        Some(k) => format!("{{method: threshold, k: {k}, approver: Data protection officer}}"),
        None => "{method: open, reason: A station concerns no person, approver: Head of the laboratory}".to_owned(),
    };
    format!(
        r#"apiVersion: v3.1.0
kind: DataContract
id: {domain}.{product}
version: 1.0.0
status: active
description: {{purpose: {purpose}}}
schema:
- name: {product}
  properties:
  - {{name: time, logicalType: timestamp, description: Start of the window}}
  - {{name: district, logicalType: string}}{topic}
  - {{name: {measure}, logicalType: {logical}}}
  - {{name: weight, logicalType: integer, description: By which the simulation knows the rows in a sum}}
customProperties:
- property: civicmesh.terms
  value:
    windows: {{grain: {grain}, start: {start}, end: {end}, lateness: {LATENESS_HOURS} hours, idle_after: 20 days}}
    measures:
      {measure}: {{unit: {unit:?}, decimals: {decimals}, min: {least}, max: {most}, gauge: {gauge}}}
      weight: {{unit: "1", min: 0, max: {WEIGHT_MAX}}}
    disclosure: {disclosure}
    audience: city
    retention: {{raw: {raw_days} days, releases: 20 years}}
- property: civicmesh.dataset
  value:
{dataset}
    rejects_max: 50%
"#,
        product = shape.product,
        purpose = shape.purpose,
        measure = shape.measure,
        unit = shape.unit,
        decimals = shape.decimals,
        gauge = shape.gauge,
        dataset = dataset(kind),
    )
}

/// How the files of a kind are read: each in its own dialect, as departments have them.
fn dataset(kind: Kind) -> &'static str {
    match kind {
        Kind::Traffic => {
            r#"    time: {column: time, zone: UTC}
    columns: {time: timestamp, sensor: text, plate: {type: text, required: true}, speed: number, weight: integer}
    lookups: {district: {column: sensor, file: sites.csv, key: site, value: district}}
    contributor: {column: plate}"#
        }
        Kind::Transit => {
            r#"    format: {delimiter: ";"}
    time: {column: departed, format: "%Y-%m-%d %H:%M:%S", zone: UTC}
    columns: {row: text, departed: {type: timestamp, from: departure}, stop: text, boarded: {type: integer, min: 0, max: 500}, weight: integer}
    lookups: {district: {column: stop, file: sites.csv, key: site, value: district}}
    key: [row]
    contributor: {count: boarded}"#
        }
        Kind::Energy => {
            r#"    time: {column: at, format: "%s", zone: UTC}
    columns: {row: text, at: {type: timestamp, from: unix}, site: text, meter: {type: text, required: true}, energy: {type: number, from: kwh}, weight: integer}
    lookups: {district: {column: site, file: sites.csv, key: site, value: district}}
    key: [row]
    contributor: {column: meter}"#
        }
        Kind::Services => {
            r#"    time: {column: reported, format: "%d/%m/%Y %H:%M:%S", zone: UTC}
    columns: {reported: timestamp, zone_code: {type: text, from: zone}, topic: text, phone: {type: text, required: true}, minutes: number, weight: integer}
    lookups: {district: {column: zone_code, file: sites.csv, key: site, value: district}}
    contributor: {column: phone}"#
        }
        Kind::Air => {
            r#"    time: {column: at, zone: UTC}
    columns: {row: text, at: timestamp, station: text, no2: {type: number, missing: ["-999"]}, weight: integer}
    lookups: {district: {column: station, file: sites.csv, key: site, value: district}}
    key: [row]"#
        }
    }
}

/// The header of a kind's files; the columns that its contract does not name are personal, and are not read.
pub(super) fn header(kind: Kind) -> &'static str {
    match kind {
        Kind::Traffic => "time,sensor,plate,driver,speed,weight,note\n",
        Kind::Transit => "row;departure;stop;boarded;weight;conductor\n",
        Kind::Energy => "row,unix,site,meter,customer,phone,kwh,weight\n",
        Kind::Services => "reported,zone,topic,phone,caller,minutes,weight,text\n",
        Kind::Air => "row,at,station,no2,weight,technician,phone\n",
    }
}
