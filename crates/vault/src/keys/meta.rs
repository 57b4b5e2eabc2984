//! What there is one of.
//!
//! ```text
//! "sequence" -> 8 bytes, big endian: the number of the last change to observations
//! "identity" -> JSON: the format of this vault and the zone whose civil days its partitions are
//! "id"       -> 16 bytes, random: what tells this vault from another
//! "clock"    -> JSON: how the clock stood when it was last looked at, and since when it is steady
//! ```

use super::{Fields, from_json, to_json};
use crate::ClockLook;
use crate::VaultError;
use civicmesh_model::time::Zone;
use civicmesh_model::vault_id::VaultId;
use civicmesh_store::{Batch, Keyspace, Read};
use serde::{Deserialize, Serialize};

pub(crate) const KEYSPACE: Keyspace = Keyspace::new("meta");
const SEQUENCE: &[u8] = b"sequence";
const IDENTITY: &[u8] = b"identity";
const ID: &[u8] = b"id";
const CLOCK: &[u8] = b"clock";

/// The format that this version reads and writes.
pub(crate) const FORMAT: u32 = 1;

/// What a vault is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Identity {
    pub(crate) format: u32,
    pub(crate) zone: Zone,
}

pub(crate) fn sequence(reader: &impl Read) -> Result<u64, VaultError> {
    let Some(value) = reader.get(KEYSPACE, SEQUENCE)? else {
        return Ok(0);
    };
    let mut fields = Fields::of(KEYSPACE, &value);
    let sequence = fields.u64()?;
    fields.end()?;
    Ok(sequence)
}

pub(crate) fn put_sequence(batch: &mut Batch<'_>, sequence: u64) {
    batch.put(KEYSPACE, SEQUENCE, sequence.to_be_bytes());
}

pub(crate) fn identity(reader: &impl Read) -> Result<Option<Identity>, VaultError> {
    reader.get(KEYSPACE, IDENTITY)?.map(|value| from_json(KEYSPACE, &value)).transpose()
}

pub(crate) fn put_identity(batch: &mut Batch<'_>, identity: &Identity) {
    batch.put(KEYSPACE, IDENTITY, to_json(identity));
}

/// The vault's id; none in one that was made before vaults had ids.
pub(crate) fn id(reader: &impl Read) -> Result<Option<VaultId>, VaultError> {
    let Some(value) = reader.get(KEYSPACE, ID)? else {
        return Ok(None);
    };
    let mut fields = Fields::of(KEYSPACE, &value);
    let id = VaultId(fields.take()?);
    fields.end()?;
    Ok(Some(id))
}

pub(crate) fn put_id(batch: &mut Batch<'_>, id: VaultId) {
    batch.put(KEYSPACE, ID, id.0);
}

pub(crate) fn clock(reader: &impl Read) -> Result<Option<ClockLook>, VaultError> {
    reader.get(KEYSPACE, CLOCK)?.map(|value| from_json(KEYSPACE, &value)).transpose()
}

pub(crate) fn put_clock(batch: &mut Batch<'_>, look: ClockLook) {
    batch.put(KEYSPACE, CLOCK, to_json(&look));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::store;

    #[test]
    fn it_reads_back() {
        let store = store();
        assert_eq!(sequence(&store).unwrap(), 0);
        assert_eq!(identity(&store).unwrap(), None);
        assert_eq!((id(&store).unwrap(), clock(&store).unwrap()), (None, None));
        let written = Identity { format: FORMAT, zone: "Europe/Copenhagen".parse().unwrap() };
        let mut batch = store.batch();
        put_sequence(&mut batch, u64::MAX);
        put_identity(&mut batch, &written);
        put_id(&mut batch, VaultId([7; 16]));
        store.commit(batch).unwrap();
        assert_eq!(sequence(&store).unwrap(), u64::MAX);
        assert_eq!(identity(&store).unwrap(), Some(written));
        assert_eq!(id(&store).unwrap(), Some(VaultId([7; 16])));
    }
}
