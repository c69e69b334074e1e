//! Detectors: what is done where an unlabelled result column holds what looks like protected data.

/// What a detector does about what it finds. The audit log and the metrics hear of it in any case.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Detect {
    #[default]
    Audit,
    /// The row and what follows are withheld.
    Block,
}

/// Each detector's word, for one client.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Detectors {
    /// Card numbers (with their check digit).
    pub pan: Detect,
    /// Password hashes.
    pub hash: Detect,
    /// Private keys.
    pub private_key: Detect,
}
