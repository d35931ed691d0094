//! A pool of scratch memory, so that work does not allocate it each time.

use std::sync::{Mutex, PoisonError};

/// A pool of idle scratches. When none is idle, a new one is made.
#[derive(Debug)]
pub struct Pool<T>(Mutex<Vec<T>>);

impl<T> Default for Pool<T> {
    fn default() -> Self {
        Self(Mutex::new(Vec::new()))
    }
}

impl<T: Default> Pool<T> {
    /// Runs `work` with a scratch. The lock is held only to take the scratch and to put
    /// it back. A scratch whose work panics is not put back.
    pub fn with<R>(&self, work: impl FnOnce(&mut T) -> R) -> R {
        let idle = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut scratch = idle().pop().unwrap_or_default();
        let result = work(&mut scratch);
        idle().push(scratch);
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scratch_is_used_again_and_never_twice_at_a_time() {
        let pool: Pool<Vec<u8>> = Pool::default();
        pool.with(|outer| {
            outer.push(1);
            pool.with(|inner| assert!(inner.is_empty()));
        });
        assert_eq!(pool.with(|last| last.len()), 1);
    }
}
