//! The settings of one client's session, on every wire that has sessions: `SET civicmesh.require_complete = on`.
//!
//! A name may be written with or without `civicmesh.` before it. What is not set is as in [`QueryOptions::default`].

use civicmesh_proto::department::v1::ErrorCode;
use civicmesh_query::{QueryOptions, WindowCut};

use super::failure::Failure;

/// What settings are called after in SQL.
const PREFIX: &str = "civicmesh.";
/// Longest statement about a setting, in bytes: nothing longer is looked at.
const STATEMENT_BYTES_MAX: usize = 1 << 10;

/// What can be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Setting {
    /// A gap is an error: `on` or `off`.
    RequireComplete,
    /// The oldest that a peer's head may be: an age such as `15m`, or `none`.
    MaxStaleness,
    /// The least share of the expected windows that must be here: from 0 to 1, or `none`.
    MinCoverage,
    /// What becomes of a bound of time that cuts a window: `error`, `inside` or `covering`.
    WindowCut,
}

impl Setting {
    /// Every setting.
    pub(crate) const ALL: [Setting; 4] =
        [Setting::RequireComplete, Setting::MaxStaleness, Setting::MinCoverage, Setting::WindowCut];

    /// Its name without what settings are called after, such as `require_complete`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Setting::RequireComplete => "require_complete",
            Setting::MaxStaleness => "max_staleness",
            Setting::MinCoverage => "min_coverage",
            Setting::WindowCut => "window_cut",
        }
    }

    /// What it is for, in a line.
    pub(crate) fn purpose(self) -> &'static str {
        match self {
            Setting::RequireComplete => "a gap is an error (on or off)",
            Setting::MaxStaleness => "the oldest that a peer's head may be (an age such as 90s, 15m, 6h, 2d, or none)",
            Setting::MinCoverage => "the least share of the expected windows that must be here (0 to 1, or none)",
            Setting::WindowCut => "what becomes of a bound that cuts a window (error, inside or covering)",
        }
    }

    /// The setting of this name.
    ///
    /// # Errors
    /// [`ErrorCode::Invalid`] with all names, if there is none.
    pub(crate) fn named(name: &str) -> Result<Setting, Failure> {
        let bare = bare(name);
        Setting::ALL.into_iter().find(|setting| setting.name() == bare).ok_or_else(|| {
            let names: Vec<String> = Setting::ALL.iter().map(|setting| format!("{PREFIX}{}", setting.name())).collect();
            let message = format!("there is no setting `{name}`; there are {}", names.join(", "));
            Failure::new(ErrorCode::Invalid, message)
        })
    }
}

/// A name in small letters, without what settings are called after.
fn bare(name: &str) -> String {
    let name = name.to_ascii_lowercase();
    name.strip_prefix(PREFIX).map_or(name.clone(), str::to_owned)
}

/// What one client's session is set to.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Session {
    options: QueryOptions,
}

impl Session {
    /// What its questions are asked with.
    pub(crate) fn options(&self) -> &QueryOptions {
        &self.options
    }

    /// Sets what its text says; `default` for what is not set.
    ///
    /// # Errors
    /// [`ErrorCode::Invalid`] with what may be written.
    pub(crate) fn set(&mut self, setting: Setting, text: &str) -> Result<(), Failure> {
        let text = text.trim().to_ascii_lowercase();
        if text == "default" {
            self.reset(setting);
            return Ok(());
        }
        let options = &mut self.options;
        let read = match setting {
            Setting::RequireComplete => switch(&text).map(|on| options.require_complete = on),
            Setting::MaxStaleness => or_none(&text, age).map(|age| options.staleness_us_max = age),
            Setting::MinCoverage => or_none(&text, share).map(|share| options.coverage_min = share),
            Setting::WindowCut => cut(&text).map(|cut| options.window_cut = cut),
        };
        read.ok_or_else(|| {
            let message = format!("`{text}` is no value of {PREFIX}{}: {}", setting.name(), setting.purpose());
            Failure::new(ErrorCode::Invalid, message)
        })
    }

    /// Sets back to what it is when nothing is set.
    pub(crate) fn reset(&mut self, setting: Setting) {
        let (options, default) = (&mut self.options, QueryOptions::default());
        match setting {
            Setting::RequireComplete => options.require_complete = default.require_complete,
            Setting::MaxStaleness => options.staleness_us_max = default.staleness_us_max,
            Setting::MinCoverage => options.coverage_min = default.coverage_min,
            Setting::WindowCut => options.window_cut = default.window_cut,
        }
    }

    /// A setting's value, as it could be set.
    pub(crate) fn show(&self, setting: Setting) -> String {
        let QueryOptions { require_complete, staleness_us_max, coverage_min, window_cut } = self.options;
        let none = || "none".to_owned();
        match setting {
            Setting::RequireComplete => if require_complete { "on" } else { "off" }.to_owned(),
            Setting::MaxStaleness => staleness_us_max.map_or_else(none, |age| format!("{}s", age / SECOND_US)),
            Setting::MinCoverage => coverage_min.map_or_else(none, |share| share.to_string()),
            Setting::WindowCut => match window_cut {
                WindowCut::Error => "error",
                WindowCut::Inside => "inside",
                WindowCut::Covering => "covering",
            }
            .to_owned(),
        }
    }
}

const SECOND_US: i64 = 1_000_000;

fn switch(text: &str) -> Option<bool> {
    match text {
        "on" | "true" | "yes" | "1" => Some(true),
        "off" | "false" | "no" | "0" => Some(false),
        _ => None,
    }
}

fn or_none<T>(text: &str, read: fn(&str) -> Option<T>) -> Option<Option<T>> {
    if matches!(text, "none" | "off") { Some(None) } else { read(text).map(Some) }
}

/// An age such as `90s`, `15m`, `6h`, `2d`, in microseconds.
fn age(text: &str) -> Option<i64> {
    let (number, unit) = text.split_at(text.find(|letter: char| !letter.is_ascii_digit())?);
    let seconds = match unit.trim() {
        "s" => 1,
        "m" | "min" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return None,
    };
    number.parse::<i64>().ok()?.checked_mul(seconds * SECOND_US)
}

/// A share such as `0.95` or `95%`.
fn share(text: &str) -> Option<f64> {
    let (number, whole) = text.strip_suffix('%').map_or((text, 1.0), |number| (number, 100.0));
    let share = number.trim().parse::<f64>().ok()? / whole;
    (0.0..=1.0).contains(&share).then_some(share)
}

fn cut(text: &str) -> Option<WindowCut> {
    match text {
        "error" => Some(WindowCut::Error),
        "inside" => Some(WindowCut::Inside),
        "covering" => Some(WindowCut::Covering),
        _ => None,
    }
}

/// A statement about the session instead of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SettingStatement {
    /// `SET name = value`, `SET name TO value`.
    Set(Setting, String),
    /// `RESET name`.
    Reset(Setting),
    /// `SHOW name`.
    Show(Setting),
}

impl SettingStatement {
    /// The statement about a setting of ours that this text is; none if it is about something else.
    ///
    /// # Errors
    /// [`ErrorCode::Invalid`] if it names a setting after civicmesh that there is not, or sets one to nothing.
    pub(crate) fn read(sql: &str) -> Result<Option<SettingStatement>, Failure> {
        let sql = sql.trim().trim_end_matches(';').trim_end();
        if sql.len() > STATEMENT_BYTES_MAX {
            return Ok(None);
        }
        let (verb, rest) = word(sql);
        let verb = verb.to_ascii_lowercase();
        if !["set", "reset", "show"].contains(&verb.as_str()) {
            return Ok(None);
        }
        let rest = match (verb.as_str(), word(rest)) {
            ("set", (scope, after)) if ["session", "local"].contains(&scope.to_ascii_lowercase().as_str()) => after,
            _ => rest,
        };
        let (name, rest) = word(rest);
        let ours = name.to_ascii_lowercase().starts_with(PREFIX) || Setting::named(name).is_ok();
        if !ours {
            return Ok(None);
        }
        let setting = Setting::named(name)?;
        match verb.as_str() {
            "set" => value(rest).map(|value| Some(SettingStatement::Set(setting, value))).ok_or_else(|| {
                let message = format!("write SET {PREFIX}{} = a value: {}", setting.name(), setting.purpose());
                Failure::new(ErrorCode::Invalid, message)
            }),
            "reset" if rest.is_empty() => Ok(Some(SettingStatement::Reset(setting))),
            "show" if rest.is_empty() => Ok(Some(SettingStatement::Show(setting))),
            _ => Ok(None),
        }
    }
}

/// The first word, which ends before a space or an equals sign, and what comes after it.
fn word(text: &str) -> (&str, &str) {
    let text = text.trim_start();
    let end = text.find(|letter: char| letter.is_whitespace() || letter == '=').unwrap_or(text.len());
    let (word, rest) = text.split_at(end);
    (word, rest.trim_start())
}

/// The value after `=` or `TO`, without its quotes.
fn value(text: &str) -> Option<String> {
    let value = match (text.strip_prefix('='), word(text)) {
        (Some(value), _) => value,
        (None, (to, value)) if to.eq_ignore_ascii_case("to") => value,
        _ => return None,
    };
    let value = value.trim();
    let unquoted = value.strip_prefix('\'').and_then(|value| value.strip_suffix('\'')).unwrap_or(value);
    (!unquoted.is_empty() && !unquoted.contains('\'')).then(|| unquoted.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_is_shown_and_asked_with() {
        let mut session = Session::default();
        for (setting, text, shown) in [
            (Setting::RequireComplete, "TRUE", "on"),
            (Setting::MaxStaleness, "15m", "900s"),
            (Setting::MinCoverage, "95%", "0.95"),
            (Setting::WindowCut, "Covering", "covering"),
        ] {
            let unset = session.show(setting);
            session.set(setting, text).unwrap();
            assert_eq!(session.show(setting), shown);
            let mut again = Session::default();
            again.set(setting, &session.show(setting)).unwrap();
            assert_eq!(again.show(setting), shown, "what is shown can be set");
            again.set(setting, "default").unwrap();
            assert_eq!(again.show(setting), unset);
            again.set(setting, &unset).unwrap();
        }
        assert_eq!(
            *session.options(),
            QueryOptions {
                require_complete: true,
                staleness_us_max: Some(900_000_000),
                coverage_min: Some(0.95),
                window_cut: WindowCut::Covering,
            }
        );
        for setting in Setting::ALL {
            session.reset(setting);
        }
        assert_eq!(session, Session::default());
    }

    #[test]
    fn what_cannot_be_set_is_told_with_what_can() {
        for (setting, text) in [
            (Setting::RequireComplete, "maybe"),
            (Setting::MaxStaleness, "15"),
            (Setting::MaxStaleness, "-1h"),
            (Setting::MaxStaleness, "99999999999999999d"),
            (Setting::MinCoverage, "95"),
            (Setting::MinCoverage, "NaN"),
            (Setting::WindowCut, "ignore"),
        ] {
            let failure = Session::default().set(setting, text).unwrap_err();
            assert!(format!("{failure:?}").contains(setting.name()), "{failure:?}");
        }
        assert!(format!("{:?}", Setting::named("civicmesh.color")).contains("civicmesh.window_cut"));
    }

    #[test]
    fn statements_about_settings_are_told_from_questions() {
        use SettingStatement::{Reset, Set, Show};
        let staleness = || Some(Set(Setting::MaxStaleness, "15m".to_owned()));
        for (sql, read) in [
            ("SET civicmesh.max_staleness = '15m'", staleness()),
            ("set session CIVICMESH.MAX_STALENESS to 15m ;", staleness()),
            ("SET LOCAL max_staleness='15m';", staleness()),
            ("SHOW civicmesh.window_cut", Some(Show(Setting::WindowCut))),
            ("reset require_complete", Some(Reset(Setting::RequireComplete))),
            ("SET TIMEZONE = UTC", None),
            ("SHOW TABLES", None),
            ("SELECT 1", None),
            ("SELECT civicmesh.color FROM civicmesh.paint", None),
            ("", None),
        ] {
            assert_eq!(SettingStatement::read(sql), Ok(read), "{sql}");
        }
        for wrong in ["SET civicmesh.color = red", "SET window_cut", "SET window_cut = ''", "SHOW civicmesh.all"] {
            assert!(SettingStatement::read(wrong).is_err(), "{wrong}");
        }
    }
}
