//! What one connection is set to: the settings of its questions, and those that PostgreSQL's clients look for.

use std::collections::BTreeMap;
use std::time::Duration;

use civicmesh_model::time::Zone;
use civicmesh_proto::department::v1::ErrorCode;
use civicmesh_query::{QueryOptions, SERVER_VERSION};

use crate::department::failure::Failure;
use crate::department::session::{Session, Setting};

/// Most settings that a connection may hold, and the longest value in bytes.
const SETTINGS_MAX: usize = 128;
const VALUE_BYTES_MAX: usize = 1 << 10;
/// Longest name of a setting, in bytes.
const NAME_BYTES_MAX: usize = 256;

/// Settings that clients are told of whenever they change.
const REPORTED: &[(&str, &str)] = &[
    ("application_name", "application_name"),
    ("client_encoding", "client_encoding"),
    ("datestyle", "DateStyle"),
    ("intervalstyle", "IntervalStyle"),
    ("search_path", "search_path"),
    ("timezone", "TimeZone"),
];

/// Settings that cannot be set.
const FIXED: &[&str] = &[
    "server_version",
    "server_version_num",
    "server_encoding",
    "integer_datetimes",
    "in_hot_standby",
    "is_superuser",
    "session_authorization",
    "max_identifier_length",
];

/// The settings of one connection.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    city_zone: Zone,
    session: Session,
    /// The zone in which text tells times.
    zone: Zone,
    /// Every setting of PostgreSQL's that has a value, by its name in small letters.
    texts: BTreeMap<String, String>,
    defaults: BTreeMap<String, String>,
}

impl Settings {
    /// As they are when nothing is set, for questions from this domain.
    pub(super) fn new(domain: &str, city_zone: Zone) -> Settings {
        let fixed = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        let mut defaults: BTreeMap<String, String> = [
            ("application_name", ""),
            ("bytea_output", "hex"),
            ("client_encoding", "UTF8"),
            ("client_min_messages", "notice"),
            ("datestyle", "ISO, MDY"),
            ("default_transaction_isolation", "read committed"),
            ("default_transaction_read_only", "on"),
            ("extra_float_digits", "1"),
            ("in_hot_standby", "off"),
            ("integer_datetimes", "on"),
            ("intervalstyle", "postgres"),
            ("is_superuser", "off"),
            ("lc_collate", "C"),
            ("lc_ctype", "C"),
            ("max_identifier_length", "63"),
            ("server_encoding", "UTF8"),
            ("server_version_num", "160006"),
            ("session_authorization", domain),
            ("standard_conforming_strings", "on"),
            ("statement_timeout", "0"),
            ("transaction_isolation", "read committed"),
            ("transaction_read_only", "on"),
            ("search_path", domain),
            ("timezone", city_zone.name()),
        ]
        .map(fixed)
        .into();
        defaults.insert("server_version".to_owned(), format!("{SERVER_VERSION} (civicmesh {})", crate::VERSION));
        Settings { city_zone, session: Session::default(), zone: city_zone, texts: defaults.clone(), defaults }
    }

    /// What its questions are asked with.
    pub(super) fn options(&self) -> &QueryOptions {
        self.session.options()
    }

    /// The zone in which text tells times.
    pub(super) fn zone(&self) -> Zone {
        self.zone
    }

    /// The domain that a product without one belongs to: the first of the search path that is not PostgreSQL's own.
    pub(super) fn domain(&self) -> Option<String> {
        let path = self.texts.get("search_path")?;
        let mut names = path.split(',').map(|name| name.trim().trim_matches('"').to_owned());
        names.find(|name| !["", "$user", "public", "pg_catalog"].contains(&name.as_str()))
    }

    /// The longest that a question may take, if the client says so.
    pub(super) fn timeout(&self) -> Option<Duration> {
        let text = self.texts.get("statement_timeout")?;
        let unit = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(unit);
        let number: u64 = number.parse().ok().filter(|number| *number > 0)?;
        match unit.trim() {
            "" | "ms" => Some(Duration::from_millis(number)),
            "s" => Some(Duration::from_secs(number)),
            "min" => number.checked_mul(60).map(Duration::from_secs),
            _ => None,
        }
    }

    /// Whether the client wants notices.
    pub(super) fn wants_notices(&self) -> bool {
        let level = self.texts.get("client_min_messages").map(|level| level.to_ascii_lowercase());
        !matches!(level.as_deref(), Some("warning" | "error" | "fatal" | "panic"))
    }

    /// The value of a setting.
    ///
    /// # Errors
    /// [`ErrorCode::Invalid`] if there is none of that name.
    pub(super) fn show(&self, name: &str) -> Result<String, Failure> {
        if name.to_ascii_lowercase().starts_with("civicmesh.") {
            return Setting::named(name).map(|setting| self.session.show(setting));
        }
        let unknown = || Failure::new(ErrorCode::Invalid, format!("unrecognized configuration parameter \"{name}\""));
        self.texts.get(&key(name)).cloned().ok_or_else(unknown)
    }

    /// Every setting with its value.
    pub(super) fn all(&self) -> Vec<(String, String)> {
        let ours = Setting::ALL.map(|setting| (format!("civicmesh.{}", setting.name()), self.session.show(setting)));
        ours.into_iter().chain(self.texts.iter().map(|(name, value)| (name.clone(), value.clone()))).collect()
    }

    /// Sets what its text says, and gives what the client must be told: name and value.
    ///
    /// # Errors
    /// [`ErrorCode::Invalid`] if it cannot be set so.
    pub(super) fn set(&mut self, name: &str, value: &str) -> Result<Option<(String, String)>, Failure> {
        if name.to_ascii_lowercase().starts_with("civicmesh.") {
            self.session.set(Setting::named(name)?, value)?;
            return Ok(None);
        }
        let key = key(name);
        let value = match (value.eq_ignore_ascii_case("default"), self.defaults.get(&key)) {
            (true, Some(default)) => default.clone(),
            _ => value.to_owned(),
        };
        let invalid = |text: String| Err(Failure::new(ErrorCode::Invalid, text));
        let value = match key.as_str() {
            name if name.len() > NAME_BYTES_MAX => return invalid("a setting's name is too long".to_owned()),
            _ if value.len() > VALUE_BYTES_MAX => return invalid(format!("the value of {name} is too long")),
            name if FIXED.contains(&name) => return invalid(format!("parameter \"{name}\" cannot be changed")),
            "client_encoding" => match value.to_ascii_uppercase().replace(['-', '_', '\''], "").as_str() {
                "UTF8" | "UNICODE" | "SQLASCII" => "UTF8".to_owned(),
                _ => return invalid(format!("this node speaks UTF8 alone, not {value}")),
            },
            "datestyle" if !value.to_ascii_uppercase().contains("ISO") => {
                return invalid(format!("this node writes dates as ISO does, not as {value}"));
            }
            "timezone" => {
                self.zone = self.zone_named(&value)?;
                self.zone.name().to_owned()
            }
            _ => value,
        };
        if self.texts.len() >= SETTINGS_MAX && !self.texts.contains_key(&key) {
            return invalid(format!("more than {SETTINGS_MAX} settings"));
        }
        self.texts.insert(key.clone(), value.clone());
        let reported = REPORTED.iter().find(|(name, _)| *name == key);
        Ok(reported.map(|(_, name)| ((*name).to_owned(), value)))
    }

    /// Sets back to what it is when nothing is set.
    ///
    /// # Errors
    /// As in [`Settings::set`].
    pub(super) fn reset(&mut self, name: &str) -> Result<Option<(String, String)>, Failure> {
        let key = key(name);
        if name.to_ascii_lowercase().starts_with("civicmesh.") || self.defaults.contains_key(&key) {
            return self.set(name, "default");
        }
        self.texts.remove(&key);
        Ok(None)
    }

    /// Sets everything back.
    pub(super) fn reset_all(&mut self) {
        self.session = Session::default();
        self.zone = self.city_zone;
        self.texts = self.defaults.clone();
    }

    /// What a client is told of when it connects.
    pub(super) fn told(&self) -> BTreeMap<String, String> {
        let also = ["server_version", "server_encoding", "integer_datetimes", "standard_conforming_strings"];
        let more = ["is_superuser", "session_authorization", "default_transaction_read_only", "in_hot_standby"];
        let others = also.into_iter().chain(more).map(|name| (name, name));
        let told = REPORTED.iter().copied().chain(others);
        told.filter_map(|(key, name)| Some((name.to_owned(), self.texts.get(key)?.clone()))).collect()
    }

    fn zone_named(&self, value: &str) -> Result<Zone, Failure> {
        if value.eq_ignore_ascii_case("local") {
            return Ok(self.city_zone);
        }
        let found = Zone::all().find(|zone| zone.name().eq_ignore_ascii_case(value));
        found.ok_or_else(|| {
            Failure::new(ErrorCode::Invalid, format!("there is no time zone {value}"))
                .instead("a name such as Europe/Copenhagen or UTC")
        })
    }
}

/// The name of a setting in small letters, in PostgreSQL's short form.
fn key(name: &str) -> String {
    match name.to_ascii_lowercase().as_str() {
        "time zone" => "timezone".to_owned(),
        "transaction isolation level" => "transaction_isolation".to_owned(),
        "names" => "client_encoding".to_owned(),
        name => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        Settings::new("traffic", "America/New_York".parse().unwrap())
    }

    #[test]
    fn what_is_set_is_shown_and_what_cannot_be_kept_to_is_refused() {
        let mut settings = settings();
        assert_eq!(settings.show("TimeZone").unwrap(), "America/New_York");
        let told = settings.set("TIME ZONE", "utc").unwrap();
        assert_eq!(told, Some(("TimeZone".to_owned(), "UTC".to_owned())));
        assert_eq!(settings.zone().name(), "UTC");
        settings.reset("timezone").unwrap();
        assert_eq!(settings.zone().name(), "America/New_York");
        settings.set("civicmesh.require_complete", "on").unwrap();
        assert!(settings.options().require_complete);
        settings.set("statement_timeout", "2s").unwrap();
        assert_eq!(settings.timeout(), Some(Duration::from_secs(2)));
        settings.set("my.own", "1").unwrap();
        assert_eq!(settings.show("my.own").unwrap(), "1");
        settings.reset_all();
        assert_eq!((settings.timeout(), settings.options().require_complete), (None, false));
        for (name, value) in [
            ("client_encoding", "LATIN1"),
            ("DateStyle", "German"),
            ("TimeZone", "Mars/Olympus"),
            ("server_version", "1"),
            (&"x".repeat(NAME_BYTES_MAX + 1), "1"),
            ("civicmesh.color", "red"),
            ("a", &"x".repeat(VALUE_BYTES_MAX + 1)),
        ] {
            assert!(settings.set(name, value).is_err(), "{name}");
        }
        assert!(settings.show("no_such").is_err());
        let many = (0..=SETTINGS_MAX).map(|number| settings.set(&format!("x.{number}"), "1"));
        assert!(many.last().unwrap().is_err());
    }

    #[test]
    fn the_search_path_says_which_domain_is_meant() {
        let mut settings = settings();
        assert_eq!(settings.domain().as_deref(), Some("traffic"));
        settings.set("search_path", "\"$user\", public, \"health\"").unwrap();
        assert_eq!(settings.domain().as_deref(), Some("health"));
        settings.set("search_path", "public").unwrap();
        assert_eq!(settings.domain(), None);
    }
}
