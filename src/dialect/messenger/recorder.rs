//! Puts numbers of the gateway into the database from time to time, where they outlive it.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crate::conn::Chore;
use crate::process::Process;
use crate::store::{MetricRow, Store};
use crate::timestamp::timestamp_of;

/// What is recorded, with its kind.
const METRICS: [(&str, &str); 4] = [
    ("gauge", "connected_users"),
    ("gauge", "connections"),
    ("counter", "messages_in"),
    ("counter", "messages_out"),
];

/// Records numbers in the table of metrics. One that is as it was is left out, so that an idle gateway fills no disk.
#[derive(Debug)]
pub(super) struct Recorder {
    store: Arc<Store>,
    every: Duration,
    last_at: Instant,
    /// The numbers of the last time.
    last: [u64; METRICS.len()],
    is_draining: bool,
}

impl Recorder {
    /// Records so often, and once as the gateway stops.
    pub(super) fn new(store: Arc<Store>, every: Duration) -> Self {
        Self {
            store,
            every,
            last_at: Instant::now(),
            last: Default::default(),
            is_draining: false,
        }
    }

    fn record(&mut self, process: &Process, wall_ms: u64) {
        let totals = process.totals();
        let now = [
            self.store.connected(),
            process.connections(),
            totals.messages_in,
            totals.messages_out,
        ];
        let rows = rows(&now, &self.last, process.epoch, wall_ms);
        self.last = now;
        if !rows.is_empty() {
            self.store.put_metrics(rows);
        }
    }
}

impl Chore for Recorder {
    fn look(&mut self, process: &Process, _: bool) {
        let begins_to_drain = process.is_draining() && !self.is_draining;
        self.is_draining = process.is_draining();
        if !begins_to_drain && self.last_at.elapsed() < self.every {
            return;
        }
        self.last_at = Instant::now();
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let wall_ms = since.map_or(0, |since| since.as_millis());
        self.record(process, u64::try_from(wall_ms).unwrap_or(u64::MAX));
    }
}

/// The rows of numbers that have changed. Counters begin anew with each process, which is told by when it began.
fn rows(now: &[u64], last: &[u64], epoch: u64, wall_ms: u64) -> Vec<MetricRow> {
    let timestamp = timestamp_of(wall_ms);
    let timestamp = str::from_utf8(&timestamp).expect("it is ASCII");
    let all = METRICS.iter().zip(now.iter().zip(last));
    let changed = all.filter(|(_, (now, last))| now != last);
    #[expect(clippy::cast_precision_loss, reason = "no count reaches 2^53")]
    let rows = changed.map(|(&(kind, name), (&now, _))| MetricRow {
        metric_type: kind,
        metric_name: name.into(),
        value: now as f64,
        timestamp: timestamp.into(),
        metadata: format!(r#"{{"process":{epoch}}}"#).into(),
    });
    rows.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_changed_is_recorded() {
        assert!(rows(&[1, 2, 3, 4], &[1, 2, 3, 4], 9, 0).is_empty());
        let rows = rows(&[1, 2, 5, 4], &[1, 2, 3, 4], 9, 0);
        assert_eq!(rows.len(), 1);
        assert_eq!(
            (rows[0].metric_type, &*rows[0].metric_name, rows[0].value),
            ("counter", "messages_in", 5.0)
        );
        assert_eq!(&*rows[0].timestamp, "1970-01-01T00:00:00.000Z");
        assert_eq!(&*rows[0].metadata, r#"{"process":9}"#);
    }
}
