//! Runs the clients on a few threads, and adds up their results.

use std::sync::{Arc, Barrier, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::client::{Counts, run};
use crate::connection::Connection;
use crate::load::Load;

/// How often a thread checks whether to stop.
const CHECK_INTERVAL: Duration = Duration::from_millis(50);

/// Seconds in a unit of the histogram.
const UNIT_S: f64 = 1e-7;

/// The result of a load.
#[derive(Debug, Clone)]
pub struct Report {
    /// Number of operations that succeeded.
    pub count: u64,
    /// Number of operations that were started: the first ones, if none is repeated.
    pub begun: u64,
    /// Seconds from the start of the first operation to the end of the last.
    pub seconds: f64,
    /// Bytes of request bodies of operations that succeeded.
    pub sent: u64,
    /// Bytes of response bodies of operations that succeeded.
    pub received: u64,
    /// Bytes of both that the clients hashed.
    pub hashed: u64,
    /// Median time of an operation that succeeded, in seconds.
    pub p50: f64,
    /// 99th percentile of these times, in seconds.
    pub p99: f64,
    /// 99.9th percentile of these times, in seconds.
    pub p999: f64,
    /// Number of failed operations by kind of failure.
    pub errors: Vec<(String, u64)>,
    /// The first request that failed, and why.
    pub first_error: Option<String>,
}

impl Load {
    /// Run the operations with `clients` clients on `threads` threads, until `duration` is over or all are done. An
    /// operation that has started is finished.
    pub fn run(self: &Arc<Self>, clients: usize, threads: usize, duration: Option<Duration>) -> Report {
        let threads = threads.clamp(1, clients.max(1));
        let start = Start { barrier: Barrier::new(threads), at: Mutex::new(None), duration };
        let mut total = Counts::new();
        thread::scope(|scope| {
            let share = |index| clients / threads + usize::from(index < clients % threads);
            let start = &start;
            let all: Vec<_> = (0..threads).map(|index| scope.spawn(move || self.thread(share(index), start))).collect();
            for thread in all {
                match thread.join() {
                    Ok(counts) => total.add(&counts),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
        });
        self.report(&total, start.at.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    /// Run the clients of one thread.
    fn thread(self: &Arc<Self>, clients: usize, start: &Start) -> Counts {
        let mut total = Counts::new();
        match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => {
                let connections = runtime.block_on(self.connect(clients));
                let deadline = start.wait();
                runtime.block_on(self.clients(connections, deadline, &mut total));
            }
            Err(error) => {
                start.wait();
                total.errors.insert("no thread".into(), 1);
                total.first_error = Some(error.to_string());
            }
        }
        total
    }

    async fn connect(&self, clients: usize) -> Vec<Connection> {
        let mut connections = Vec::new();
        for _ in 0..clients {
            let mut connection = self.connection();
            // A failure is not counted here: the first request connects again, and counts it.
            let _ = connection.open().await;
            connections.push(connection);
        }
        connections
    }

    async fn clients(self: &Arc<Self>, connections: Vec<Connection>, deadline: Option<Instant>, total: &mut Counts) {
        let mut tasks = JoinSet::new();
        for connection in connections {
            tasks.spawn(run(self.clone(), connection, deadline));
        }
        loop {
            match timeout(CHECK_INTERVAL, tasks.join_next()).await {
                Ok(Some(Ok(counts))) => total.add(&counts),
                Ok(Some(Err(error))) => {
                    if let Ok(panic) = error.try_into_panic() {
                        std::panic::resume_unwind(panic);
                    }
                }
                Ok(None) => return,
                Err(_) if self.is_stopped() => tasks.abort_all(),
                Err(_) => {}
            }
        }
    }

    fn report(&self, total: &Counts, began: Option<Instant>) -> Report {
        let seconds = match (began, total.ended) {
            (Some(began), Some(ended)) => (ended - began).as_secs_f64(),
            _ => 0.0,
        };
        #[allow(clippy::cast_precision_loss)] // The histogram has three significant digits.
        let time = |quantile| total.times.value_at_quantile(quantile) as f64 * UNIT_S;
        Report {
            count: total.count,
            begun: self.begun(),
            seconds,
            sent: total.sent,
            received: total.received,
            hashed: total.hashed,
            p50: time(0.5),
            p99: time(0.99),
            p999: time(0.999),
            errors: total.errors.clone().into_iter().collect(),
            first_error: total.first_error.clone(),
        }
    }
}

/// Starts all threads together, when all clients are connected.
struct Start {
    barrier: Barrier,
    at: Mutex<Option<Instant>>,
    duration: Option<Duration>,
}

impl Start {
    /// Wait for the other threads. Returns the time at which to stop.
    fn wait(&self) -> Option<Instant> {
        self.barrier.wait();
        let began = *self.at.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(Instant::now);
        self.duration.and_then(|duration| began.checked_add(duration))
    }
}
