use std::collections::BTreeSet;
use std::path::Path;

use proptest::prelude::*;

use super::{Findings, document, tree};
use crate::contract::*;

/// A threshold contract that uses every section.
const TAXI: &str = include_str!("../../../../../deploy/demo/traffic/taxi.yaml");
const ADMISSIONS: &str = include_str!("../../../../../deploy/demo/health/admissions.yaml");
const WEATHER: &str = include_str!("../../../../../deploy/demo/weather/daily.yaml");

pub(in crate::contract) fn contract(text: &str) -> Contract {
    Contract::parse(text, "x.yaml").unwrap_or_else(|findings| panic!("{findings:#?}")).0
}

/// The findings of a contract after replacing the one place where `from` stands.
fn findings_of(text: &str, from: &str, to: &str) -> Vec<String> {
    assert_eq!(text.matches(from).count(), 1, "{from}");
    let findings = Contract::parse(&text.replace(from, to), "taxi.yaml").expect_err(to);
    findings.iter().map(ToString::to_string).collect()
}

/// Says that an edit of the taxi contract gives this one finding.
#[track_caller]
fn refused(from: &str, to: &str, finding: &str) {
    assert_eq!(findings_of(TAXI, from, to), [finding]);
}

#[test]
fn the_taxi_contract_is_short_and_says_all() {
    assert!(TAXI.lines().count() < 30);
    let taxi = contract(TAXI);
    assert_eq!(taxi.product.to_string(), "traffic.taxi");
    assert_eq!((taxi.status, taxi.grain, taxi.time_column.as_str()), (Status::Active, Grain::Day, "time"));
    assert_eq!(taxi.dimensions.len(), 1);
    let [speed] = taxi.measures.as_slice() else { panic!() };
    assert_eq!((speed.unit.as_str(), speed.decimals, speed.min, speed.max), ("mi/h", 2, Some(100), Some(8000)));
    let moments = [Statistic::Count, Statistic::Sum, Statistic::SumSquares];
    assert_eq!(speed.publish, moments.into());
    assert!(matches!(taxi.method, Method::Threshold { k: 10, .. }));
    assert_eq!(taxi.coverage.end.unwrap().to_string(), "2021-01-01 00:00:00");
    assert_eq!(taxi.coverage.empty, EmptyWindows::Missing);
    let dataset = taxi.dataset.unwrap();
    assert_eq!(dataset.name.as_str(), "taxi");
    assert_eq!(dataset.columns.len(), 4);
    assert_eq!(dataset.column("trip_distance").unwrap().max, Some(100.0));
    assert_eq!(dataset.lookups[0].unknown, UnknownCode::Value("Unknown".to_owned()));
    assert_eq!(dataset.lookups[0].value, "borough");
    assert_eq!(dataset.derived[0].name, "seconds");
    assert_eq!(dataset.derived[1].sql, "trip_distance / seconds * 3600");
    assert_eq!((dataset.contributor, dataset.time.resolution), (Contributor::Row, Span::ZERO));
}

#[test]
fn every_contract_in_deploy_is_valid_without_a_warning() {
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy")];
    let mut seen = Vec::new();
    while let Some(folder) = folders.pop() {
        for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            let text = if path.is_dir() { String::new() } else { std::fs::read_to_string(&path).unwrap_or_default() };
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "yaml") && text.contains("kind: DataContract") {
                let parsed = Contract::parse(&text, &path.display().to_string());
                let (contract, warnings) = parsed.unwrap_or_else(|findings| panic!("{findings:#?}"));
                assert_eq!(warnings, []);
                assert_at_peer(&contract);
                seen.push(contract.product.to_string());
            }
        }
    }
    for product in ["traffic.taxi", "transit.ridership", "health.emergency", "health.admissions", "weather.daily"] {
        assert!(seen.iter().any(|seen| seen == product), "{seen:?}");
    }
}

/// The page for department people shows whole contracts, and datasets to stand in one.
#[test]
fn contracts_page_shows_valid_contracts_only() {
    const PAGE: &str = include_str!("../../../../../deploy/CONTRACTS.md");
    let blocks = PAGE.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let (whole, datasets): (Vec<_>, Vec<_>) = blocks.partition(|block| block.contains("kind: DataContract"));
    assert!(!whole.is_empty() && datasets.len() > 3);
    for text in whole.into_iter().map(str::to_owned).chain(datasets.into_iter().map(around)) {
        let (contract, warnings) =
            Contract::parse(&text, "page.yaml").unwrap_or_else(|findings| panic!("{text}{findings:#?}"));
        assert_eq!(warnings, []);
        assert_at_peer(&contract);
    }
}

/// A contract around a dataset: of the method that suits its contributor, with no column but the time.
fn around(dataset: &str) -> String {
    let method = match dataset.contains("contributor:") {
        true => "method: threshold, k: 10",
        false => "method: open, reason: Nobody",
    };
    let dataset: String = dataset.lines().map(|line| format!("    {line}\n")).collect();
    format!(
        "\
apiVersion: {ODCS_VERSION}
kind: DataContract
id: city.page
version: 1.0.0
status: draft
description: {{purpose: Test}}
schema:
- {{name: page, properties: [{{name: time, logicalType: timestamp}}]}}
customProperties:
- property: civicmesh.terms
  value:
    windows: {{grain: 1 day, start: 2024-01-01, lateness: 1 day}}
    disclosure: {{{method}, approver: Test}}
    audience: city
    retention: {{raw: 90 days, releases: 1 year}}
- property: civicmesh.dataset
  value:
{dataset}"
    )
}

/// A peer reads the same contract from the public document, without the dataset.
pub(in crate::contract) fn assert_at_peer(contract: &Contract) {
    let peer = Contract::from_public(contract.public_document()).unwrap();
    assert_eq!(peer, Contract { dataset: None, ..contract.clone() });
    assert_eq!(peer.hash(), Hash32::of(&[contract.public_document()]));
}

#[test]
fn an_unknown_key_is_named_with_its_line_and_the_word_meant() {
    refused(
        "{grain: 1 day",
        "{grian: 1 day, grain: 1 day",
        "taxi.yaml:16: civicmesh.terms.windows.grian: unknown key; did you mean `grain`?",
    );
    let findings = findings_of(TAXI, "contributor: row", "contributer: row");
    assert_eq!(
        findings,
        [
            "taxi.yaml:23: civicmesh.dataset.contributor: a threshold counts contributors, and the dataset has none; write `contributor: row`, {column: NAME} or {count: NAME}",
            "taxi.yaml:29: civicmesh.dataset.contributer: unknown key; did you mean `contributor`?",
        ]
    );
    refused(
        "kind: DataContract",
        "kind: DataContract\ntitle: x",
        "taxi.yaml:3: title: unknown key; known here: apiVersion, authoritativeDefinitions, contractCreatedTs, customProperties, dataProduct, description, domain, id, kind, name, price, roles, schema, servers, slaDefaultElement, slaProperties, status, support, tags, team, tenant, version",
    );
    refused(
        "{name: time, logicalType",
        "{name: time, logicaltype: x, logicalType",
        "taxi.yaml:10: schema.properties.logicaltype: unknown key; did you mean `logicalType`?",
    );
    refused(
        "customProperties:",
        "customProperties:\n- {property: civicmesh.term, value: 1}",
        "taxi.yaml:14: civicmesh.term: unknown entry; did you mean `civicmesh.terms`?",
    );
}

#[test]
fn every_finding_comes_at_once_in_the_order_of_the_file() {
    let text = TAXI
        .replace("status: active", "status: actve")
        .replace("mi/h, decimals: 2", "TODO, decimals: 12")
        .replace("k: 10", "k: 5")
        .replace("America/New_York", "New_York")
        .replace("type: number", "type: nmber");
    let findings = Contract::parse(&text, "taxi.yaml").unwrap_err();
    let lines: Vec<(u32, &str)> = findings.iter().map(|finding| (finding.line, finding.key.as_str())).collect();
    assert_eq!(
        lines,
        [
            (5, "status"),
            (17, "civicmesh.terms.measures.speed.unit"),
            (17, "civicmesh.terms.measures.speed.decimals"),
            (18, "civicmesh.terms.disclosure.k"),
            (23, "civicmesh.dataset.time.zone"),
            (25, "civicmesh.dataset.columns.trip_distance.type"),
        ]
    );
}

#[test]
fn what_people_must_write_is_refused_until_they_have() {
    refused(
        "audience: city",
        "audience: TODO",
        "taxi.yaml:19: civicmesh.terms.audience: is still TODO; write `city`, or the list of domains that may hold the releases",
    );
    refused(
        "America/New_York",
        "TODO",
        "taxi.yaml:23: civicmesh.dataset.time.zone: is still TODO; write the zone in which the file's times are meant, such as Europe/Copenhagen or UTC",
    );
    refused(
        "method: threshold",
        "method: TODO",
        "taxi.yaml:18: civicmesh.terms.disclosure.method: is still TODO; write `threshold` where rows are about people, `open` where they are about no person",
    );
    refused(
        "Show how fast traffic moves in each borough",
        "TODO say it",
        "taxi.yaml:6: description.purpose: is still TODO; write what the product may be used for, in one sentence",
    );
}

#[test]
fn a_threshold_hides_among_ten_and_publishes_no_extremes() {
    refused(
        "k: 10",
        "k: 9",
        "taxi.yaml:18: civicmesh.terms.disclosure.k: 9 contributors are too few to hide among; write 10 or more",
    );
    for word in ["min", "max", "quantiles", "kll"] {
        let why = "a threshold product publishes count, sum and sum_squares only: with min, max or quantiles beside them all five fares of a five-trip cell could be rebuilt";
        refused(
            "min: 1, max: 80",
            &format!("min: 1, max: 80, publish: [sum, {word}]"),
            &format!("taxi.yaml:17: civicmesh.terms.measures.speed.publish: {why}; leave `{word}` out"),
        );
    }
    let range = "taxi.yaml:17: civicmesh.terms.measures.speed: a measure of a threshold product needs a valid range, so that no single value shows in a sum; write `min` and `max`";
    refused(", min: 1, max: 80", "", range);
    refused(", max: 80", "", range);
    let contributor = "civicmesh.dataset.contributor: a threshold counts contributors, and the dataset has none; write `contributor: row`, {column: NAME} or {count: NAME}";
    refused("contributor: row", "contributor: none", &format!("taxi.yaml:29: {contributor}"));
}

/// A row that stands for ten people fills a cell alone; of two such rows count, sum and sum of squares give both.
#[test]
fn a_count_of_contributors_publishes_no_sum_of_squares() {
    let moments = BTreeSet::from([Statistic::Count, Statistic::Sum]);
    let admissions = contract(ADMISSIONS);
    assert!(matches!(admissions.dataset.as_ref().unwrap().contributor, Contributor::Count(_)));
    assert!(!admissions.measures.is_empty() && admissions.measures.iter().all(|measure| measure.publish == moments));
    // A peer does not see whom the dataset counts, and must not take a zero for a sum of squares.
    assert_at_peer(&admissions);
    let measure = &admissions.measures[0].name;
    let from = format!("measures: {{{measure}: {{");
    assert_eq!(ADMISSIONS.matches(&from).count(), 1);
    let asks = |publish: &str| ADMISSIONS.replace(&from, &format!("{from}publish: {publish}, "));
    assert_eq!(contract(&asks("[sum]")).measures, admissions.measures);
    let findings = Contract::parse(&asks("[sum, sum_squares]"), "x.yaml").unwrap_err();
    let [finding] = findings.as_slice() else { panic!("{findings:#?}") };
    assert_eq!(finding.key, format!("civicmesh.terms.measures.{measure}.publish"));
    assert!(finding.message.contains("a cell often rests on two rows"), "{finding}");
    assert_eq!(finding.mend, "leave `sum_squares` out");
}

/// Suppressed cells are named by their dimensions: with the contributor among them, each would be named.
#[test]
fn a_dimension_is_not_the_contributor() {
    let dimension = |derived: &str, contributor: &str, name: &str| {
        let text = TAXI
            .replace("customProperties:", &format!("  - {{name: {name}, logicalType: string}}\ncustomProperties:"))
            .replace("    derived: {", &format!("    derived: {{{derived}"))
            .replace("contributor: row", &format!("contributor: {contributor}"));
        Contract::parse(&text, "taxi.yaml").map(|_| ()).map_err(|findings| findings[0].to_string())
    };
    let of = |contributor: &str, name: &str| {
        Err(format!(
            "taxi.yaml:13: schema.{name}: the dimension is the contributor `{contributor}`, and suppressed cells are \
             named by it; leave it out, or group by a lookup or a coarser column made of it"
        ))
    };
    let zone = "{column: pickup_location_id}";
    assert_eq!(dimension("", zone, "pickup_location_id"), of("pickup_location_id", "pickup_location_id"));
    let renamed = "a: {sql: pickup_location_id, type: text}, b: {sql: ( A ), type: text}, ";
    assert_eq!(dimension(renamed, zone, "b"), of("pickup_location_id", "b"));
    assert_eq!(dimension(renamed, "{column: b}", "pickup_location_id"), of("b", "pickup_location_id"));
    let count = "riders: {sql: 1 + 1, type: integer}, ";
    assert_eq!(dimension(count, "{count: riders}", "riders"), of("riders", "riders"));
    let coarser = "a: {sql: \"substr(pickup_location_id, 1, 1)\", type: text}, ";
    assert_eq!(dimension(coarser, zone, "a"), Ok(()));
    // The taxi contract's own dimension is a lookup of this column.
    assert!(Contract::parse(&TAXI.replace("contributor: row", &format!("contributor: {zone}")), "x.yaml").is_ok());
}

#[test]
fn open_needs_a_reason_an_approver_and_no_contributor() {
    let weather = contract(WEATHER);
    assert!(matches!(&weather.method, Method::Open { reason, .. } if reason.contains("no person")));
    assert!(weather.measures.iter().all(|measure| measure.publish == Statistic::EXACT.into()));
    assert!(weather.measures[0].gauge);
    let reason = "reason: A public weather station concerns no person, ";
    assert_eq!(
        findings_of(WEATHER, reason, ""),
        ["taxi.yaml:27: civicmesh.terms.disclosure.reason: is missing; write `reason: why no person can be concerned`"]
    );
    assert_eq!(
        findings_of(WEATHER, ", approver: Station manager", ""),
        ["taxi.yaml:27: civicmesh.terms.disclosure.approver: is missing; write `approver: who decided so`"]
    );
    let findings = findings_of(WEATHER, "    key: [day]", "    key: [day]\n    contributor: row");
    assert_eq!(
        findings,
        [
            "taxi.yaml:48: civicmesh.dataset.contributor: rows with contributors are about people and cannot be open; write `method: threshold`, or leave contributor out"
        ]
    );
}

#[test]
fn sketches_leave_where_the_contract_says_so() {
    let quantiles = contract(&WEATHER.replacen("gauge: true", "gauge: true, publish: [sum, quantiles]", 1));
    let published = [Statistic::Count, Statistic::Sum, Statistic::Quantiles];
    assert_eq!(quantiles.measures[0].publish, published.into());
    assert_at_peer(&quantiles);
    let like = |word: &str| {
        let text = WEATHER.replacen("gauge: true", &format!("gauge: true, publish: [{word}]"), 1);
        let findings = Contract::parse(&text, "x.yaml").unwrap_err();
        findings[0].to_string().split_once(".publish: ").unwrap().1.to_owned()
    };
    assert_eq!(like("median"), "`median` is not known; write `quantiles`");
    assert!(like("hll").starts_with("distinct values are counted of a text, not of a measure"));

    let property = "  - {name: pickup_location_id, logicalType: string, description: Zone}\n";
    let text = TAXI.replace("customProperties:", &format!("{property}customProperties:"));
    let distinct = text.replace("    measures:", "    distinct: [pickup_location_id]\n    measures:");
    // a dimension that is the contributor is refused; one whose distinct values are counted is none
    let by_zone = "contributor: {column: pickup_location_id}";
    assert!(Contract::parse(&text.replace("contributor: row", by_zone), "x.yaml").is_err());
    let distinct = contract(&distinct.replace("contributor: row", by_zone));
    let column = DistinctColumn { name: "pickup_location_id".to_owned(), description: "Zone".to_owned() };
    assert_eq!((distinct.distinct.as_slice(), distinct.dimensions.len()), (&[column][..], 1));
    assert_at_peer(&distinct);
    refused(
        "    measures:",
        "    distinct: [driver]\n    measures:",
        "taxi.yaml:17: civicmesh.terms.distinct: the schema has no text `driver`; add `- {name: driver, logicalType: string}` to its properties",
    );
}

#[test]
fn parts_must_fit_each_other() {
    refused(
        "raw: 20 years",
        "raw: 3 days",
        "taxi.yaml:20: civicmesh.terms.retention.raw: 3 days is too short for a window to close; write more than 3 days: lateness and a window",
    );
    refused(
        "end: 2021-01-01",
        "end: 2020-01-01",
        "taxi.yaml:16: civicmesh.terms.windows: ends before it starts; `end` is the first day that is no longer covered",
    );
    refused(
        "speed: trip_distance",
        "sped: trip_distance",
        "taxi.yaml:12: schema.speed: the dataset has no column of this name; did you mean `sped`?",
    );
    refused(
        "column: pickup_datetime",
        "column: pickup",
        "taxi.yaml:23: civicmesh.dataset.time.column: no input column of this name; add `pickup: timestamp` to columns",
    );
    refused(
        "dropoff_datetime: timestamp",
        "dropoff_datetime: timestamp, speed: number",
        "taxi.yaml:28: civicmesh.dataset.derived.speed: the column is made twice; rename one",
    );
    refused(
        "column: pickup_location_id",
        "column: pickup_zone",
        "taxi.yaml:26: civicmesh.dataset.lookups.borough.column: no input column `pickup_zone`; add it to columns",
    );
    refused(
        "contributor: row",
        "key: [trip_id]\n    contributor: row",
        "taxi.yaml:29: civicmesh.dataset.key: the dataset has no column `trip_id`",
    );
    refused(
        "contributor: row",
        "contributor: {count: trip_distance}",
        "taxi.yaml:25: civicmesh.dataset.columns.trip_distance: the count of contributors is made of it; give it the type integer",
    );
    refused(
        "customProperties:",
        "  - {name: seconds, logicalType: string}\ncustomProperties:",
        "taxi.yaml:28: civicmesh.dataset.derived.seconds: a dimension is made of it; give it the type text",
    );
    refused(
        "mi/h, decimals: 2, min: 1, max: 80}",
        "mi/h, decimals: 2, min: 1, max: 80}, seconds: {unit: s}",
        "taxi.yaml:17: civicmesh.terms.measures.seconds: the schema has no number of this name; add `- {name: seconds, logicalType: number}` to its properties",
    );
    let findings = findings_of(WEATHER, "grain: 1 day", "grain: 1 hour");
    assert_eq!(
        findings,
        [
            "taxi.yaml:32: civicmesh.dataset.time.format: a time stands for 1 day, a window only for 1 hour; choose a grain as long or longer"
        ]
    );
}

#[test]
fn values_follow_their_rules() {
    refused(
        "grain: 1 day",
        "grain: 7 minutes",
        "taxi.yaml:16: civicmesh.terms.windows.grain: a grain is 1, 2, 3, 5, 6, 10, 12, 15, 20 or 30 minutes, 1, 2, 3, 4, 6, 8 or 12 hours, 1 day, 1 week or 1 month",
    );
    refused(
        "min: 1, max: 80",
        "min: 1.005, max: 80",
        "taxi.yaml:17: civicmesh.terms.measures.speed.min: `1.005` has more decimals than the measure, which keeps 2; round it, or raise `decimals`",
    );
    refused(
        "min: 1, max: 80",
        "min: 81, max: 80",
        "taxi.yaml:17: civicmesh.terms.measures.speed: min is greater than max",
    );
    refused(
        "speed, logicalType: number",
        "speed, logicalType: integer",
        "taxi.yaml:17: civicmesh.terms.measures.speed.decimals: an integer has no decimals; write `logicalType: number` in the schema, or leave decimals out",
    );
    refused(
        "zones_taxi_lookup.csv",
        "../zones.csv",
        "taxi.yaml:26: civicmesh.dataset.lookups.borough.file: `../zones.csv` is outside the contract's folder; put the file beside the contract",
    );
    refused(
        "zone: America",
        "format: \"%Y-%m-%d %H\", zone: America",
        "taxi.yaml:23: civicmesh.dataset.time.format: no time can be read by `%Y-%m-%d %H`; write it as in \"%Y-%m-%d %H:%M:%S\", \"%d/%m/%Y %I:%M %p\" or \"%Y-%m-%d\"",
    );
    refused(
        "{name: time, logicalType",
        "{name: group, logicalType",
        "taxi.yaml:10: schema.taxi.group: `group` is a word of SQL and would need quotes in every query; choose another, such as `group_`",
    );
    refused(
        "contributor: row",
        "rejects_max: 5\n    contributor: row",
        "taxi.yaml:29: civicmesh.dataset.rejects_max: `5` is not a share; write it as in 5%",
    );
    refused(
        "id: traffic.taxi",
        "id: traffic.taxi\ndomain: transport",
        "taxi.yaml:4: domain: is another than in `id`; write traffic, or leave it out",
    );
    refused(
        "apiVersion: v3.1.0",
        "apiVersion: v3.0.2",
        "taxi.yaml:1: apiVersion: `v3.0.2` is not known; write one of: v3.1.0",
    );
    refused(
        "status: active",
        "status: active\nstatus: draft",
        "taxi.yaml:6: status: the key stands twice, first on line 5; leave one out",
    );
}

#[test]
fn time_formats_say_how_long_a_written_time_lasts() {
    for (format, resolution) in [
        ("%Y-%m-%d", Span::DAY),
        ("%d.%m.%y", Span::DAY),
        ("%m/%d/%Y %I:%M:%S %p", Span::ZERO),
        ("%Y-%m-%dT%H:%M", Span::ZERO),
        ("%Y-%m-%dT%H:%M:%S%.f%:z", Span::ZERO),
        ("%s", Span::ZERO),
    ] {
        let text = TAXI.replace("zone: America", &format!("format: \"{format}\", zone: America"));
        let dataset = contract(&text).dataset.unwrap();
        assert_eq!(dataset.time.resolution, resolution, "{format}");
        assert_eq!(dataset.column("dropoff_datetime").unwrap().format.as_deref(), Some(format));
    }
    let text = TAXI.replace("zone: America", "resolution: 1 hour, zone: America");
    assert_eq!(contract(&text).dataset.unwrap().time.resolution, Span::seconds(3600));
}

#[test]
fn files_without_a_header_are_read_by_position() {
    let text = TAXI
        .replace("    columns:", "    format: {header: false, delimiter: tab}\n    columns:")
        .replace("pickup_datetime: timestamp", "pickup_datetime: {type: timestamp, at: 2}")
        .replace("dropoff_datetime: timestamp", "dropoff_datetime: {type: timestamp, at: 3}")
        .replace(
            "pickup_location_id: text",
            "pickup_location_id: {type: text, at: 8, missing: [0, \"n/a\"], required: true}",
        )
        .replace("{type: number,", "{type: number, at: 5, invalid: null,");
    let dataset = contract(&text).dataset.unwrap();
    assert_eq!(dataset.format, FileFormat { header: false, delimiter: b'\t' });
    let zone = dataset.column("pickup_location_id").unwrap();
    assert_eq!((&zone.from, zone.required), (&ColumnRef::Position(8), true));
    assert_eq!(zone.missing, ["0", "n/a"]);
    assert_eq!(dataset.column("trip_distance").unwrap().on_invalid, OnInvalid::Null);
    let text = text.replace("at: 8, ", "");
    let findings = Contract::parse(&text, "taxi.yaml").unwrap_err();
    assert_eq!(findings.len(), 1, "{findings:#?}");
    assert!(findings[0].mend.contains("at: 1"));
}

#[test]
fn what_is_no_contract_gets_one_clear_finding() {
    let only = |text: &str| {
        let findings = Contract::parse(text, "x.yaml").unwrap_err();
        assert_eq!(findings.len(), 1, "{findings:#?}");
        findings[0].to_string()
    };
    assert_eq!(only(""), "x.yaml:1: the file is empty; `civicmesh contract draft` writes a first contract from a file");
    assert!(only("a: [1").contains("this is not YAML"));
    assert!(only(&format!("a: {}{}", "[".repeat(30), "]".repeat(30))).contains("nested deeper than 24 levels"));
    assert!(only("a: &x 1\nb: *x").starts_with("x.yaml:2: a contract has no YAML aliases"));
    assert!(only("a: 1\n---\nb: 1").contains("a second document begins here"));
    assert!(only(&" ".repeat(CONTRACT_BYTES_MAX + 1)).contains("262145 bytes"));
    assert!(only("just text").contains("one value stands where a map should"));
}

#[test]
fn warnings_come_beside_the_contract() {
    let text = TAXI
        .replace("audience: city", "audience: [traffic, health]")
        .replace("schema:", "servers: [{server: db, type: custom}]\nschema:");
    let (contract, warnings) = Contract::parse(&text, "x.yaml").unwrap();
    let warnings: Vec<String> = warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        [
            "x.yaml:7: warning: servers: peers see this, as all of the document but the dataset",
            "x.yaml:20: warning: civicmesh.terms.audience: traffic owns the product; leave it out",
        ]
    );
    assert!(contract.audience.admits(&"health".parse().unwrap()));
    assert!(!contract.audience.admits(&"weather".parse().unwrap()));
}

#[test]
fn the_public_document_is_canonical_and_keeps_the_dataset_at_home() {
    let taxi = contract(TAXI);
    let text = std::str::from_utf8(taxi.public_document()).unwrap();
    assert!(text.starts_with(r#"{"apiVersion":"v3.1.0","customProperties":[{"property":"civicmesh.terms","value":{"audience":"city","disclosure":{"approver":"#));
    let json: serde_json::Value = serde_json::from_str(text).unwrap();
    assert_eq!(json["customProperties"][0]["value"]["measures"]["speed"]["decimals"], 2);
    let private = &json["customProperties"][1]["value"];
    assert_eq!(private.as_object().unwrap().len(), 1);
    assert_eq!(private["sha256"].as_str().unwrap().len(), 64);
    for secret in ["pickup_datetime", "zones_taxi_lookup", "to_unixtime"] {
        assert!(!text.contains(secret));
    }
    // Layout and comments are no part of it; a change of the private entry is.
    let laid_out = contract(
        &TAXI.replace("schema:", "# a comment\nschema:\n").replace("id: traffic.taxi", "id: \"traffic.taxi\""),
    );
    assert_eq!(laid_out.hash(), taxi.hash());
    assert_ne!(contract(&TAXI.replace("unknown: Unknown", "unknown: None")).hash(), taxi.hash());

    let reject = |text: &str| Contract::from_public(text.as_bytes()).unwrap_err();
    assert_eq!(reject(&text.replace(":{", ": {")), PublicDocumentError::NotCanonical);
    assert!(matches!(reject(TAXI), PublicDocumentError::Invalid(_)));
    assert!(matches!(reject("{}"), PublicDocumentError::Invalid(_)));
    assert_eq!(Contract::from_public(&[0xff]).unwrap_err(), PublicDocumentError::NotText);
}

#[test]
fn a_contract_that_would_change_the_meaning_of_released_windows_breaks() {
    let taxi = contract(TAXI);
    assert_eq!(taxi.breaks(&taxi), None);
    let breaks = |from: &str, to: &str| {
        assert_eq!(TAXI.matches(from).count(), 1, "{from}");
        contract(&TAXI.replace(from, to)).breaks(&taxi)
    };
    assert_eq!(breaks("k: 10", "k: 20"), None);
    assert_eq!(breaks("lateness: 2 days", "lateness: 5 days"), None);
    assert_eq!(
        breaks("grain: 1 day", "grain: 1 week").unwrap(),
        "the grain changed from 1 day to 1 week; this needs a new product"
    );
    assert_eq!(
        breaks("mi/h", "km/h").unwrap(),
        "the unit of speed changed from mi/h to km/h; this needs a new product"
    );
    assert_eq!(
        breaks("decimals: 2", "decimals: 1").unwrap(),
        "the decimals of speed changed from 2 to 1; this needs a new product"
    );
    assert_eq!(
        breaks("{name: time,", "{name: day,").unwrap(),
        "the time column changed from time to day; this needs a new product"
    );
    let open =
        TAXI.replace("threshold, k: 10", "open, reason: none is concerned").replace("    contributor: row\n", "");
    assert_eq!(
        contract(&open).breaks(&taxi).unwrap(),
        "the method changed from threshold to open; this needs a new product"
    );
    assert_eq!(taxi.breaks(&contract(&open)), None);
    let wider = TAXI.replace("- {name: speed", "- {name: pickup_location_id, logicalType: string}\n  - {name: speed");
    assert_eq!(
        contract(&wider).breaks(&taxi).unwrap(),
        "the dimensions changed from [borough] to [borough, pickup_location_id]; this needs a new product"
    );
}

/// JSON as the canonical text has it.
fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<i32>().prop_map(|n| (f64::from(n) / 8.0).into()),
        any::<String>().prop_map(Into::into),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
            proptest::collection::btree_map(any::<String>(), inner, 0..6)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn canonical_text_reads_back_to_itself(value in json()) {
        let text = value.to_string();
        let canonical = |text: &str| {
            let mut findings = Findings::new("x");
            tree::read(text, &mut findings).map(|root| document::canonical(&root)).ok_or(findings)
        };
        let once = canonical(&text).unwrap();
        prop_assert_eq!(serde_json::from_str::<serde_json::Value>(&once).unwrap(), value);
        prop_assert_eq!(canonical(&once).unwrap(), once);
    }

    /// Whatever is cut out or put in, reading ends in a contract that peers can read, or in findings within the file.
    #[test]
    fn no_text_brings_reading_down(at in 0..TAXI.len(), cut in 0_usize..60, put in "[-{}:,\\[\\]#\"'a-z0-9 \n&*~|>%@]{0,6}") {
        let head: String = TAXI.chars().take(at).collect();
        let tail: String = TAXI.chars().skip(at + cut).collect();
        let text = format!("{head}{put}{tail}");
        match Contract::parse(&text, "x.yaml") {
            Ok((contract, _)) => assert_at_peer(&contract),
            Err(findings) => {
                prop_assert!(findings.iter().any(|finding| finding.severity == Severity::Error));
                let lines = text.lines().count() as u32 + 1;
                prop_assert!(findings.iter().all(|finding| (1..=lines).contains(&finding.line)), "{:#?}", findings);
            }
        }
    }
}
