//! What the process takes of its machine, named as Prometheus' client libraries name it.

/// What the process takes of its machine. `None`: the kernel does not tell.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ProcessUsage {
    /// Time of processors, of all threads, in user and kernel mode.
    pub cpu_seconds: f64,
    /// Memory that is in RAM.
    pub resident_bytes: Option<u64>,
    /// Addresses that are in use.
    pub virtual_bytes: Option<u64>,
    /// Files that are open, sockets among them.
    pub open_files: Option<u64>,
    /// Files that may be open.
    pub files_max: Option<u64>,
    /// Threads.
    pub threads: Option<u64>,
    /// When the process began, in seconds since the Unix epoch.
    pub started_seconds: f64,
}

impl ProcessUsage {
    /// The numbers that are known: name, type, help, value.
    pub(super) fn families(
        &self,
    ) -> impl Iterator<Item = (&'static str, &'static str, &'static str, f64)> {
        #[expect(clippy::cast_precision_loss, reason = "below 2^53")]
        let number = |value: Option<u64>| value.map(|value| value as f64);
        let families = [
            (
                "process_cpu_seconds_total",
                "counter",
                "Total user and system CPU time spent in seconds.",
                Some(self.cpu_seconds),
            ),
            (
                "process_resident_memory_bytes",
                "gauge",
                "Resident memory size in bytes.",
                number(self.resident_bytes),
            ),
            (
                "process_virtual_memory_bytes",
                "gauge",
                "Virtual memory size in bytes.",
                number(self.virtual_bytes),
            ),
            (
                "process_open_fds",
                "gauge",
                "Number of open file descriptors.",
                number(self.open_files),
            ),
            (
                "process_max_fds",
                "gauge",
                "Maximum number of open file descriptors.",
                number(self.files_max),
            ),
            (
                "process_threads",
                "gauge",
                "Number of OS threads in the process.",
                number(self.threads),
            ),
            (
                "process_start_time_seconds",
                "gauge",
                "Start time of the process since unix epoch in seconds.",
                Some(self.started_seconds),
            ),
        ];
        families
            .into_iter()
            .filter_map(|(name, kind, help, value)| Some((name, kind, help, value?)))
    }
}
