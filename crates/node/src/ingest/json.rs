//! NDJSON: one JSON object a line, of which the contract's fields are kept.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::cell::Cell;

/// Fields that the contract takes, by their dotted path (`location.lat`).
pub(super) struct Wanted {
    /// The place of each field among those kept.
    slots: BTreeMap<String, usize>,
    /// For each column of the contract, the slot of its field.
    columns: Vec<usize>,
    /// Objects that hold one of them.
    parents: BTreeSet<String>,
}

/// The kept fields of one object.
pub(super) struct Object {
    fields: Vec<Field>,
    /// Text of the fields, one after the other.
    text: Vec<u8>,
    path: String,
}

#[derive(Clone)]
enum Field {
    Absent,
    Null,
    Text(Range<usize>),
    Integer(i64),
    Number(f64),
    Boolean(bool),
    Nested,
}

impl Wanted {
    /// The fields of these paths, in the order of the contract's columns.
    pub fn new<'a>(paths: impl Iterator<Item = &'a str>) -> Self {
        let mut slots = BTreeMap::new();
        let mut slot = |path: &str| {
            let next = slots.len();
            *slots.entry(path.to_owned()).or_insert(next)
        };
        let columns = paths.map(&mut slot).collect();
        let dots = |path: &String| path.match_indices('.').map(|(dot, _)| path[..dot].to_owned()).collect::<Vec<_>>();
        let parents = slots.keys().flat_map(dots).collect();
        Wanted { slots, columns, parents }
    }
}

impl Object {
    pub fn new(wanted: &Wanted) -> Self {
        Object { fields: vec![Field::Absent; wanted.slots.len()], text: Vec::new(), path: String::new() }
    }

    /// Reads the object that `line` holds; false where it holds none.
    pub fn read(&mut self, line: &[u8], wanted: &Wanted) -> bool {
        self.fields.fill(Field::Absent);
        self.text.clear();
        self.path.clear();
        let mut json = serde_json::Deserializer::from_slice(line);
        let members = Members { wanted, object: self };
        members.deserialize(&mut json).is_ok() && json.end().is_ok()
    }

    /// Whether the object has the field of the n-th column, be it null.
    pub fn has(&self, column: usize, wanted: &Wanted) -> bool {
        !matches!(self.fields[wanted.columns[column]], Field::Absent)
    }

    /// The field of the n-th column.
    pub fn cell(&self, column: usize, wanted: &Wanted) -> Cell<'_> {
        match &self.fields[wanted.columns[column]] {
            Field::Absent | Field::Null => Cell::Null,
            Field::Text(range) => Cell::Text(&self.text[range.clone()]),
            Field::Integer(number) => Cell::Integer(*number),
            Field::Number(number) => Cell::Double(*number),
            Field::Boolean(value) => Cell::Boolean(*value),
            Field::Nested => Cell::Nested,
        }
    }
}

/// Reads the members of an object.
struct Members<'a> {
    wanted: &'a Wanted,
    object: &'a mut Object,
}

impl<'de> DeserializeSeed<'de> for Members<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Members<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Members { wanted, object } = self;
        let parent = object.path.len();
        while map.next_key_seed(Key(&mut object.path))?.is_some() {
            let slot = wanted.slots.get(&object.path).copied();
            if slot.is_some() || wanted.parents.contains(&object.path) {
                map.next_value_seed(Member { wanted, object, slot })?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
            object.path.truncate(parent);
        }
        Ok(())
    }
}

/// Reads a member's name and appends it to the path.
struct Key<'a>(&'a mut String);

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<(), E> {
        if !self.0.is_empty() {
            self.0.push('.');
        }
        self.0.push_str(name);
        Ok(())
    }
}

/// Reads a member's value: a column of the contract, an object that holds one, or both.
struct Member<'a> {
    wanted: &'a Wanted,
    object: &'a mut Object,
    slot: Option<usize>,
}

impl Member<'_> {
    fn keep(self, field: Field) {
        if let Some(slot) = self.slot {
            self.object.fields[slot] = field;
        }
    }
}

impl<'de> DeserializeSeed<'de> for Member<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Member<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.keep(Field::Null);
        Ok(())
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        self.keep(Field::Boolean(value));
        Ok(())
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<(), E> {
        self.keep(Field::Integer(number));
        Ok(())
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<(), E> {
        self.keep(i64::try_from(number).map_or(Field::Number(number as f64), Field::Integer));
        Ok(())
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<(), E> {
        self.keep(Field::Number(number));
        Ok(())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        let start = self.object.text.len();
        self.object.text.extend_from_slice(text.as_bytes());
        let range = start..self.object.text.len();
        self.keep(Field::Text(range));
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<(), A::Error> {
        self.keep(Field::Nested);
        while sequence.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        if let Some(slot) = self.slot {
            self.object.fields[slot] = Field::Nested;
        }
        Members { wanted: self.wanted, object: self.object }.visit_map(map)
    }
}

/// The dotted paths of all single values in the object that `line` holds; None where it holds none.
pub(super) fn paths(line: &[u8]) -> Option<Vec<(String, serde_json::Value)>> {
    fn walk(path: &str, value: serde_json::Value, found: &mut Vec<(String, serde_json::Value)>) {
        match value {
            serde_json::Value::Object(members) => {
                for (name, value) in members {
                    let path = if path.is_empty() { name } else { format!("{path}.{name}") };
                    walk(&path, value, found);
                }
            }
            value => found.push((path.to_owned(), value)),
        }
    }
    let value: serde_json::Value = serde_json::from_slice(line).ok()?;
    value.is_object().then(|| {
        let mut found = Vec::new();
        walk("", value, &mut found);
        found
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(line: &str, paths: &[&str]) -> Option<Vec<String>> {
        let wanted = Wanted::new(paths.iter().copied());
        let mut object = Object::new(&wanted);
        let read = object.read(line.as_bytes(), &wanted);
        let shown = |column| {
            if object.has(column, &wanted) { object.cell(column, &wanted).shown() } else { "absent".to_owned() }
        };
        read.then(|| (0..paths.len()).map(shown).collect())
    }

    #[test]
    fn fields_are_found_by_their_dotted_path() {
        let line = r#"{"id":7,"at":{"lat":56.1,"deep":{"x":"é\n"}},"skip":[{"id":8}],"ok":true,"none":null,"big":18446744073709551615}"#;
        let paths = ["id", "at.lat", "at.deep.x", "ok", "none", "gone", "skip", "at", "big"];
        let found = read(line, &paths).unwrap();
        assert_eq!(found, ["7", "56.1", "é\n", "true", "", "absent", "", "", "18446744073709552000"]);
    }

    #[test]
    fn what_is_no_object_is_none() {
        for line in ["", "7", "[1]", "{", r#"{"a":1} {"a":2}"#, r#"{"a":"\ud800"}"#, "{\"a\":1}x", "nul"] {
            assert_eq!(read(line, &["a"]), None, "{line}");
        }
        let deep = format!("{}1{}", r#"{"a":"#.repeat(500), "}".repeat(500));
        assert_eq!(read(&deep, &["a"]).unwrap(), [""], "what is not wanted is passed over at any depth");
        assert!(paths(deep.as_bytes()).is_none(), "depth is bounded");
    }

    #[test]
    fn a_name_with_a_point_is_a_path_too() {
        assert_eq!(read(r#"{"a.b":1}"#, &["a.b"]).unwrap(), ["1"]);
        assert_eq!(paths(br#"{"a":{"b":1},"c":[2]}"#).unwrap().len(), 2);
        assert!(paths(b"[1]").is_none());
    }

    proptest! {
        #[test]
        fn no_line_breaks_the_reader(line in prop_oneof!["\\PC{0,40}", r#"[{}\[\]",:a0-9.e\\-]{0,40}"#]) {
            let _ = read(&line, &["a", "a.a"]);
            let _ = paths(line.as_bytes());
        }
    }
}
