//! One client: operations, one after another, until the time is up.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::connection::Connection;
use crate::error::Failure;
use crate::load::Load;
use crate::step::{Body, Step, Target, local_path, with_query};

/// After a failure: a server that refuses everything at once is not to be asked a million times.
const PAUSE: Duration = Duration::from_millis(20);

/// Longest time of an operation that the histogram tells from longer ones, in its unit.
const LONGEST: u64 = 3600 * 10_000_000;

/// What one client, or all of them, did.
pub(crate) struct Counts {
    pub(crate) count: u64,
    pub(crate) sent: u64,
    pub(crate) received: u64,
    /// Times of operations that succeeded, in units of 100 ns.
    pub(crate) times: Histogram<u64>,
    pub(crate) errors: BTreeMap<String, u64>,
    pub(crate) first_error: Option<String>,
    /// When the last operation ended.
    pub(crate) ended: Option<Instant>,
}

impl Counts {
    pub(crate) fn new() -> Self {
        #[allow(clippy::unwrap_used)] // bounds that are constants, and right
        let times = Histogram::new_with_bounds(1, LONGEST, 3).unwrap();
        Self { count: 0, sent: 0, received: 0, times, errors: BTreeMap::new(), first_error: None, ended: None }
    }

    fn succeeded(&mut self, began: Instant, sent: u64, received: u64) {
        let now = Instant::now();
        self.count += 1;
        self.sent += sent;
        self.received += received;
        let time = u64::try_from((now - began).as_nanos() / 100).unwrap_or(LONGEST);
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
        // The same bounds: it cannot fail.
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

/// One client's work.
pub(crate) async fn work(load: Arc<Load>, mut connection: Connection, deadline: Option<Instant>) -> Counts {
    let mut counts = Counts::new();
    while deadline.is_none_or(|deadline| Instant::now() < deadline) {
        let Some(operation) = load.next() else { break };
        if !perform(&load, &mut connection, operation, &mut counts).await {
            tokio::time::sleep(PAUSE).await;
        }
        load.done();
    }
    counts
}

/// One operation; false if a step failed.
async fn perform(load: &Load, connection: &mut Connection, steps: &[Arc<Step>], counts: &mut Counts) -> bool {
    let (began, mut sent, mut received) = (Instant::now(), 0, 0);
    let mut location: Option<String> = None;
    for step in steps {
        let path = match &step.target {
            Target::Path(path) => path.clone(),
            // That there is one was seen to when it came.
            Target::Location(query) => with_query(location.as_deref().unwrap_or("/"), query),
        };
        let result = match connection.exchange(step, &path).await {
            Ok(answer) => {
                sent += step.body.length();
                received += answer.received;
                follow(load, answer.location, &mut location)
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
    counts.succeeded(began, sent, received);
    true
}

/// Take the Location of an answer over.
fn follow(load: &Load, answer: Option<String>, location: &mut Option<String>) -> Result<(), Failure> {
    if let Some(found) = answer {
        let path = local_path(&found, load.authority()).map(str::to_owned);
        *location = Some(path.ok_or(Failure::BadLocation(found))?);
    }
    Ok(())
}

/// End an upload that will not be finished; a registry that does not know this keeps it until it forgets it.
async fn abandon(connection: &mut Connection, session: &str) {
    let step = Step {
        method: "DELETE".into(),
        target: Target::Path(session.to_owned()),
        headers: Vec::new(),
        body: Body::None,
        expect: vec![204],
        digest: None,
    };
    // What it answers changes nothing.
    let _ = connection.exchange(&step, session).await;
}
