//! Resident memory of this process, as Linux tells it.

/// Resident memory, in bytes; zeros where the system does not tell.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ProcessMemory {
    /// Pages that belong to the process alone.
    pub(super) anonymous: f64,
    /// Pages of mapped files, which the system takes back when it needs them.
    pub(super) of_files: f64,
}

impl ProcessMemory {
    /// The resident memory at this moment.
    pub(super) fn now() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        Self::parse(&status)
    }

    fn parse(status: &str) -> Self {
        let bytes = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let number = line.and_then(|line| line.split_whitespace().next());
            number.and_then(|n| n.parse::<f64>().ok()).unwrap_or(0.0) * 1024.0
        };
        Self {
            anonymous: bytes("RssAnon:"),
            of_files: bytes("RssFile:"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kilobytes_are_read_by_name() {
        let status = "Name:\tpinnersage\nRssAnon:\t    12 kB\nRssFile:\t     3 kB\n";
        let memory = ProcessMemory::parse(status);
        assert_eq!((memory.anonymous, memory.of_files), (12_288.0, 3_072.0));
        let unknown = ProcessMemory::parse("");
        assert_eq!((unknown.anonymous, unknown.of_files), (0.0, 0.0));
    }
}
