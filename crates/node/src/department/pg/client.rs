//! What the node keeps of one connection: its settings, and how many statements and portals it holds.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use datafusion_postgres::pgwire::api::ClientInfo;
use datafusion_postgres::pgwire::error::PgWireResult;

use super::failure::refuse;
use super::settings::Settings;
use super::shelved::Shelved;
use super::statement::Planned;
use crate::department::outgoing::Room;

/// Most prepared statements of one connection that have a name.
const STATEMENTS_MAX: usize = 512;
/// Most portals of one connection that have a name. Each holds an answer.
const PORTALS_MAX: usize = 16;

/// What is kept of one connection.
pub(super) struct Kept {
    pub settings: Settings,
    /// The names of prepared statements.
    statements: BTreeSet<String>,
    /// The names of portals.
    portals: BTreeSet<String>,
    /// Open cursors, whose names are among those of portals.
    pub cursors: BTreeMap<String, Cursor>,
    /// The room of the answer that is being sent: the library gathers its rows before it sends the first.
    pub sending: Option<Room>,
}

/// Longest name of a statement or portal, in bytes.
pub(super) const NAME_BYTES_MAX: usize = 256;

/// An answer that is fetched piece by piece.
pub(super) struct Cursor {
    pub planned: Arc<Planned>,
    pub rows: Shelved,
}

/// What is kept of the connection of this client.
pub(super) struct Client(Mutex<Kept>);

impl Client {
    pub(super) fn new(settings: Settings) -> Client {
        Client(Mutex::new(Kept {
            settings,
            statements: BTreeSet::new(),
            portals: BTreeSet::new(),
            cursors: BTreeMap::new(),
            sending: None,
        }))
    }

    /// What is kept of the connection of this client. There is nothing before it has logged in.
    pub(super) fn of(client: &(impl ClientInfo + ?Sized)) -> PgWireResult<Arc<Client>> {
        client.session_extensions().get::<Client>().ok_or_else(|| refuse("08P01", "a question before the password"))
    }

    /// What is kept.
    pub(super) fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    /// Takes a place for a statement of this name.
    pub(super) fn name_statement(&mut self, name: &str) -> PgWireResult<()> {
        place(&mut self.statements, name, "prepared statements", STATEMENTS_MAX)
    }

    /// Takes a place for a portal of this name.
    pub(super) fn name_portal(&mut self, name: &str) -> PgWireResult<()> {
        place(&mut self.portals, name, "portals", PORTALS_MAX)
    }

    /// Gives back the place of a statement.
    pub(super) fn forget_statement(&mut self, name: &str) {
        self.statements.remove(name);
    }

    /// Gives back the place of a portal.
    pub(super) fn forget_portal(&mut self, name: &str) {
        self.portals.remove(name);
        self.cursors.remove(name);
    }

    /// Gives back the places of all portals.
    pub(super) fn forget_portals(&mut self) {
        self.portals.clear();
        self.cursors.clear();
    }

    /// The names of all statements, whose places are given back.
    pub(super) fn forget_statements(&mut self) -> BTreeSet<String> {
        std::mem::take(&mut self.statements)
    }
}

fn place(names: &mut BTreeSet<String>, name: &str, what: &str, max: usize) -> PgWireResult<()> {
    if name.len() > NAME_BYTES_MAX {
        return Err(refuse("42622", format!("a name of {what} has at most {NAME_BYTES_MAX} bytes")));
    }
    if names.len() >= max && !names.contains(name) {
        return Err(refuse("54000", format!("this connection holds {max} {what}: close some")));
    }
    names.insert(name.to_owned());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_and_portals_are_bounded_and_names_can_be_used_again() {
        let client = Client::new(Settings::new("traffic", "UTC".parse().unwrap()));
        let mut kept = client.kept();
        for number in 0..PORTALS_MAX {
            kept.name_portal(&format!("p{number}")).unwrap();
        }
        kept.name_portal("p0").unwrap();
        assert!(kept.name_portal("one more").is_err());
        kept.forget_portal("p0");
        kept.name_portal("one more").unwrap();
        kept.forget_portals();
        kept.name_portal("p0").unwrap();
        assert!(kept.name_portal(&"p".repeat(NAME_BYTES_MAX + 1)).is_err());
        let over = (0..=STATEMENTS_MAX).map(|number| kept.name_statement(&number.to_string()));
        assert!(over.last().unwrap().is_err());
        assert_eq!(kept.forget_statements().len(), STATEMENTS_MAX);
    }
}
