//! Where the surfaces of a server come from, and how they are read again.

use std::fmt;
use std::sync::Arc;

use super::params::SurfaceSet;

/// The surfaces of a server.
#[derive(Clone, Debug, Default)]
pub struct SurfaceSource {
    /// Those that it starts with.
    pub surfaces: SurfaceSet,
    /// Reads them again; none where they cannot change.
    pub reader: Option<SurfaceReader>,
}

/// Reads surfaces again, or says why they cannot be used.
#[derive(Clone)]
pub struct SurfaceReader(Arc<dyn Fn() -> Result<ReadSurfaces, String> + Send + Sync>);

/// What was read.
#[derive(Clone, Debug, PartialEq)]
pub struct ReadSurfaces {
    /// The surfaces.
    pub surfaces: SurfaceSet,
    /// Sections of the settings that changed beside them since the start, and that count
    /// after a restart only.
    pub waiting: Vec<&'static str>,
}

impl SurfaceReader {
    /// Creates a reader that calls `read` each time.
    pub fn new(read: impl Fn() -> Result<ReadSurfaces, String> + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }

    /// Reads the surfaces.
    pub(crate) fn read(&self) -> Result<ReadSurfaces, String> {
        (self.0)()
    }
}

impl fmt::Debug for SurfaceReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SurfaceReader").finish_non_exhaustive()
    }
}
