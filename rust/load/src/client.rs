//! Runs the operations of one client, one after another, until the deadline.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::connection::Connection;
use crate::error::Failure;
use crate::load::Load;
use crate::step::{Body, Step, Target, local_path, with_query};

/// Pause after a failure, so that a server that refuses everything does not get a million requests.
const FAILURE_PAUSE: Duration = Duration::from_millis(20);

/// Longest time that the histogram can record, in its unit. Longer times count as this one.
const MAX_TIME: u64 = 3600 * 10_000_000;

/// The results of one client, or of several.
pub(crate) struct Counts {
    pub(crate) count: u64,
    pub(crate) sent: u64,
    pub(crate) received: u64,
    pub(crate) hashed: u64,
    /// Times of operations that succeeded, in units of 100 ns.
    pub(crate) times: Histogram<u64>,
    pub(crate) errors: BTreeMap<String, u64>,
    pub(crate) first_error: Option<String>,
    /// When the last operation ended.
    pub(crate) ended: Option<Instant>,
}

impl Counts {
    pub(crate) fn new() -> Self {
        #[allow(clippy::unwrap_used)] // The bounds are constants, and valid.
        let times = Histogram::new_with_bounds(1, MAX_TIME, 3).unwrap();
        Self {
            count: 0,
            sent: 0,
            received: 0,
            hashed: 0,
            times,
            errors: BTreeMap::new(),
            first_error: None,
            ended: None,
        }
    }

    fn succeeded(&mut self, began: Instant, sent: u64, received: u64, hashed: u64) {
        let now = Instant::now();
        self.count += 1;
        self.sent += sent;
        self.received += received;
        self.hashed += hashed;
        let time = u64::try_from((now - began).as_nanos() / 100).unwrap_or(MAX_TIME);
        self.times.saturating_record(time.max(1));
        self.ended = Some(now);
    }

    pub(crate) fn failed(&mut self, step: &Step, path: &str, failure: &Failure) {
        *self.errors.entry(failure.to_string()).or_default() += 1;
        self.first_error.get_or_insert_with(|| {
            let detail = failure.detail();
            let colon = if detail.is_empty() { "" } else { ": " };
            format!("{} {path}: {failure}{colon}{detail}", step.method)
        });
        self.ended = Some(Instant::now());
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.count += other.count;
        self.sent += other.sent;
        self.received += other.received;
        self.hashed += other.hashed;
        // This cannot fail: both histograms have the same bounds.
        let _ = self.times.add(&other.times);
        for (name, count) in &other.errors {
            *self.errors.entry(name.clone()).or_default() += count;
        }
        if self.first_error.is_none() {
            self.first_error.clone_from(&other.first_error);
        }
        self.ended = self.ended.max(other.ended);
    }
}

/// Run the operations of one client.
pub(crate) async fn run(load: Arc<Load>, mut connection: Connection, deadline: Option<Instant>) -> Counts {
    let mut counts = Counts::new();
    while deadline.is_none_or(|deadline| Instant::now() < deadline) {
        let Some(operation) = load.next() else { break };
        if !perform(&load, &mut connection, operation, &mut counts).await {
            tokio::time::sleep(FAILURE_PAUSE).await;
        }
        load.done();
    }
    counts
}

/// Run one operation. Returns false if a step failed.
async fn perform(load: &Load, connection: &mut Connection, steps: &[Arc<Step>], counts: &mut Counts) -> bool {
    let (began, mut sent, mut received, mut hashed) = (Instant::now(), 0, 0, 0);
    let mut location: Option<String> = None;
    for step in steps {
        let path = match &step.target {
            Target::Path(path) => path.clone(),
            // The Location was checked when the response came.
            Target::Location(query) => with_query(location.as_deref().unwrap_or("/"), query),
        };
        let result = match connection.exchange(step, &path).await {
            Ok(response) => {
                sent += step.body.length();
                received += response.received;
                hashed += response.hashed;
                follow(load, response.location, &mut location)
            }
            Err(failure) => Err(failure),
        };
        if let Err(failure) = result {
            counts.failed(step, &path, &failure);
            if let Some(session) = location.filter(|path| path.contains("/uploads/")) {
                abandon(connection, &session).await;
            }
            return false;
        }
    }
    counts.succeeded(began, sent, received, hashed);
    true
}

/// Remember the Location of a response, if it has one.
fn follow(load: &Load, found: Option<String>, location: &mut Option<String>) -> Result<(), Failure> {
    if let Some(found) = found {
        let path = local_path(&found, load.authority()).map(str::to_owned);
        *location = Some(path.ok_or(Failure::BadLocation(found))?);
    }
    Ok(())
}

/// Cancel an upload that will not be completed. Otherwise the registry keeps it until it expires.
async fn abandon(connection: &mut Connection, session: &str) {
    let step = Step {
        method: "DELETE".into(),
        target: Target::Path(session.to_owned()),
        headers: Vec::new(),
        body: Body::None,
        expect: vec![204],
        digest: None,
    };
    // The result does not matter.
    let _ = connection.exchange(&step, session).await;
}
