//! SHA-256 digests: they show whether a file changed, and stand for tokens in memory.

use ring::digest::{Context, SHA256};

/// A SHA-256 digest.
pub(super) type Digest = [u8; 32];

/// Outcome of reading files again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reloaded {
    /// The files differ from those read before, and are in use now.
    Changed,
    /// The files are those read before.
    Unchanged,
}

/// Hashes `pieces` in their order.
pub(super) fn hash<T: AsRef<[u8]>>(pieces: &[T]) -> Digest {
    let mut context = Context::new(&SHA256);
    for piece in pieces {
        let piece = piece.as_ref();
        // The length makes the border between two pieces count too.
        context.update(&(piece.len() as u64).to_le_bytes());
        context.update(piece);
    }
    let mut digest = Digest::default();
    digest.copy_from_slice(context.finish().as_ref());
    digest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_depends_on_bytes_order_and_borders() {
        let digest = hash(&["ab", "c"]);
        assert_eq!(digest, hash(&["ab", "c"]));
        for other in [&["a", "bc"][..], &["c", "ab"], &["abc"], &["ab", "c", ""]] {
            assert_ne!(digest, hash(other), "{other:?}");
        }
    }
}
