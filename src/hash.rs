//! SHA-256 as text.

use sha2::{Digest, Sha256};

/// `digest` in lower-case hexadecimal.
pub fn hex(digest: impl AsRef<[u8]>) -> String {
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The SHA-256 of `bytes`.
pub fn sha256(bytes: &[u8]) -> String {
    hex(Sha256::digest(bytes))
}
