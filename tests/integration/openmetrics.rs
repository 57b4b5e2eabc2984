//! Reads OpenMetrics 1.0 text as strictly as the specification demands of it; a scraper may be more lenient.

use std::collections::{BTreeMap, BTreeSet};

/// What a scraper keeps of a text.
#[derive(Debug, Default)]
pub struct Scrape {
    /// Family by name: its kind.
    pub families: BTreeMap<String, String>,
    /// Sample by name and labels, as in `up{job="x"}`: its value.
    pub samples: BTreeMap<String, f64>,
}

/// Reads a whole text, or says what is wrong with which line.
pub fn read(text: &str) -> Result<Scrape, String> {
    let body = text.strip_suffix("# EOF\n").ok_or("it does not end with `# EOF`")?;
    let (mut scrape, mut family, mut told) = (Scrape::default(), String::new(), BTreeSet::new());
    for line in body.split_terminator('\n') {
        let wrong = |what: &str| format!("{what}: `{line}`");
        if let Some(metadata) = line.strip_prefix("# ") {
            let mut words = metadata.splitn(3, ' ');
            let (what, name, rest) = (words.next(), words.next(), words.next());
            let (Some(what), Some(name), Some(rest)) = (what, name, rest) else {
                return Err(wrong("metadata that says nothing"));
            };
            if name != family && scrape.families.contains_key(name) {
                return Err(wrong("a family in two pieces"));
            }
            if !is_name(name) || !told.insert(format!("{what} {name}")) {
                return Err(wrong("told twice, or no name"));
            }
            if scrape.samples.keys().any(|sample| name == family && sample.starts_with(name)) {
                return Err(wrong("metadata after a sample"));
            }
            name.clone_into(&mut family);
            match what {
                "TYPE" if KINDS.iter().any(|(kind, _)| *kind == rest) => {
                    scrape.families.insert(family.clone(), rest.to_owned());
                }
                "UNIT" if name.ends_with(&format!("_{rest}")) => {}
                "HELP" if is_escaped(rest, false) => {}
                _ => return Err(wrong("no metadata")),
            }
            continue;
        }
        let (name, labels, value) = sample(line).ok_or_else(|| wrong("no sample"))?;
        let kind = scrape.families.get(&family).ok_or_else(|| wrong("a sample before its type"))?;
        let suffixes = KINDS.iter().find(|(known, _)| known == kind).expect("checked above").1;
        let suffix = name.strip_prefix(&family).filter(|suffix| suffixes.contains(suffix));
        suffix.ok_or_else(|| wrong("not of the family that is told of"))?;
        if kind == "counter" && !(value >= 0.0 && value.is_finite()) {
            return Err(wrong("no count"));
        }
        if scrape.samples.insert(format!("{name}{labels}"), value).is_some() {
            return Err(wrong("a sample told twice"));
        }
    }
    histograms(&scrape)?;
    Ok(scrape)
}

/// Kinds of families, with the suffixes of their samples.
const KINDS: [(&str, &[&str]); 3] =
    [("counter", &["_total", "_created"]), ("gauge", &[""]), ("histogram", &["_bucket", "_count", "_sum", "_created"])];

fn is_name(name: &str) -> bool {
    let fit = |(at, byte): (usize, u8)| {
        byte.is_ascii_alphabetic() || b"_:".contains(&byte) || at > 0 && byte.is_ascii_digit()
    };
    !name.is_empty() && name.bytes().enumerate().all(fit)
}

/// Whether each backslash begins an escape, and no quote stands bare where that would end the text.
fn is_escaped(text: &str, quoted: bool) -> bool {
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        let fit = match letter {
            '\\' => matches!(letters.next(), Some('\\' | 'n' | '"')),
            '"' => !quoted,
            _ => true,
        };
        if !fit {
            return false;
        }
    }
    true
}

/// Name, labels as they stand, value.
fn sample(line: &str) -> Option<(&str, &str, f64)> {
    let (head, value) = line.rsplit_once(' ')?;
    let (name, labels) = head.split_at(head.find('{').unwrap_or(head.len()));
    let inner = match labels {
        "" => Some(""),
        labels => labels.strip_prefix('{').and_then(|labels| labels.strip_suffix('}')),
    };
    let mut seen = BTreeSet::new();
    let mut rest = inner?;
    while !rest.is_empty() {
        let (label, after) = rest.split_once("=\"")?;
        let end = (0..after.len()).find(|end| after[*end..].starts_with('"') && is_escaped(&after[..*end], true))?;
        let distinct = is_name(label) && !label.contains(':') && seen.insert(label);
        rest = &after[end + 1..];
        let separated = rest.is_empty() || rest.starts_with(',') && rest.len() > 1;
        if !distinct || !separated {
            return None;
        }
        rest = rest.strip_prefix(',').unwrap_or(rest);
    }
    let value = match value {
        "+Inf" => f64::INFINITY,
        value if value.starts_with(|first: char| first.is_ascii_digit() || first == '-') => value.parse().ok()?,
        _ => return None,
    };
    is_name(name).then_some((name, labels, value))
}

/// Buckets count up and end with all there are.
fn histograms(scrape: &Scrape) -> Result<(), String> {
    for (family, _) in scrape.families.iter().filter(|(_, kind)| *kind == "histogram") {
        let (mut buckets, prefix) = (Vec::new(), format!("{family}_bucket{{le=\""));
        for (sample, count) in &scrape.samples {
            if let Some(bound) = sample.strip_prefix(&prefix).and_then(|rest| rest.strip_suffix("\"}")) {
                let bound = if bound == "+Inf" { f64::INFINITY } else { bound.parse().map_err(|_| sample.clone())? };
                buckets.push((bound, *count));
            }
        }
        buckets.sort_by(|one, other| one.0.total_cmp(&other.0));
        let whole = scrape.samples.get(&format!("{family}_count"));
        let rising = buckets.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1);
        match buckets.last() {
            Some((f64::INFINITY, count)) if rising && Some(count) == whole => {}
            _ => return Err(format!("{family}: its buckets do not add up: {buckets:?}")),
        }
    }
    Ok(())
}

#[test]
fn what_is_no_openmetrics_is_refused() {
    let sound = "# HELP a_seconds How long\n# TYPE a_seconds gauge\n# UNIT a_seconds seconds\na_seconds{x=\"1,\\\"2\\\"\",y=\"\"} 1.5\n# TYPE b counter\nb_total 2\n# EOF\n";
    let scrape = read(sound).expect("sound");
    assert_eq!((scrape.families.len(), scrape.samples["b_total"]), (2, 2.0));
    for (from, to) in [
        ("# EOF\n", ""),
        ("b_total 2", "b 2"),
        ("b_total 2", "b_total -2"),
        ("b_total 2", "b_total two"),
        ("b_total 2", "b_total 2\nb_total 2"),
        ("b_total 2", "b_total 2\n\n"),
        ("b_total 2", "b_total 2\na_seconds 1"),
        ("# TYPE b counter\n", ""),
        ("# UNIT a_seconds seconds", "# UNIT a_seconds minutes"),
        ("y=\"\"", "x=\"\""),
        ("y=\"\"", "y=\"\"\""),
        (
            "b_total 2",
            "b_total 2\n# TYPE h histogram\nh_bucket{le=\"1\"} 3\nh_bucket{le=\"+Inf\"} 2\nh_count 2\nh_sum 1",
        ),
    ] {
        assert!(read(&sound.replace(from, to)).is_err(), "{from} -> {to}");
    }
}
