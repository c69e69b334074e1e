//! MACs over rows of the control schema: who can write to the database still cannot let a client in, or take a label
//! away.

use std::fmt;

use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::key::{KEY_LEN, MasterKey, Purpose, hmac};

/// Authenticates control rows. Replicas with the same key file accept each other's rows.
pub struct ControlMac {
    key: Zeroizing<[u8; KEY_LEN]>,
}

impl ControlMac {
    pub fn new(master: &MasterKey) -> Self {
        Self { key: master.derive(Purpose::ControlRow, "", [0; 4]) }
    }

    /// The MAC of a row: `table` separates the tables, and every field carries its length.
    pub fn tag(&self, table: &str, fields: &[&[u8]]) -> [u8; 32] {
        self.over(table, fields).finalize().into_bytes().into()
    }

    /// In constant time.
    pub fn verify(&self, table: &str, fields: &[&[u8]], tag: &[u8]) -> bool {
        self.over(table, fields).verify_slice(tag).is_ok()
    }

    fn over(&self, table: &str, fields: &[&[u8]]) -> Hmac<Sha256> {
        // HMAC takes keys of any length, so this never fails; an all-zero key would still only fail closed.
        let mut mac = hmac(&self.key);
        for field in std::iter::once(table.as_bytes()).chain(fields.iter().copied()) {
            mac.update(&(field.len() as u64).to_be_bytes());
            mac.update(field);
        }
        mac
    }
}

impl fmt::Debug for ControlMac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ControlMac(…)")
    }
}

/// The secret from which salts of clients that do not exist are made: the same on every replica, so that asking
/// another one tells nothing.
pub fn mock_login_secret(master: &MasterKey) -> Zeroizing<[u8; KEY_LEN]> {
    master.derive(Purpose::MockLogin, "", [0; 4])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_field_cannot_move_into_its_neighbour() {
        let master = MasterKey::from_bytes(&std::array::from_fn(|i| i as u8)).unwrap();
        let mac = ControlMac::new(&master);
        let tag = mac.tag("tokens", &[b"ab", b"c"]);
        assert!(mac.verify("tokens", &[b"ab", b"c"], &tag));
        assert!(!mac.verify("tokens", &[b"a", b"bc"], &tag));
        assert!(!mac.verify("labels", &[b"ab", b"c"], &tag));
        assert!(!mac.verify("tokens", &[b"ab", b"c"], &tag[..31]));
        assert_ne!(*mock_login_secret(&master), *master.derive(Purpose::ControlRow, "", [0; 4]));
    }
}
