//! How far apart the cores are.
//!
//! Two cores of a virtual machine may be on one chiplet of the host's processor or on two, now so and then otherwise, and
//! the machine is not told. Where they share no cache, memory that one of them has read is slow to write for the other.

use std::time::Duration;

/// Times that a word goes to and fro in one try.
#[cfg(target_os = "linux")]
const TURNS: u32 = 1000;

/// The least of them counts: in the others a core had something else to do.
#[cfg(target_os = "linux")]
const TRIES: u32 = 9;

/// How long a word takes from one core's cache to another's, for the first two that this process may use. None where
/// there is only one, or where a thread cannot be kept on its core.
#[cfg(target_os = "linux")]
pub fn apart() -> Option<Duration> {
    use std::hint::spin_loop;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::thread;
    use std::time::Instant;

    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

    /// Alone in its cache line, and in the one that is fetched with it.
    #[repr(align(128))]
    struct Word(AtomicU32);

    let allowed = sched_getaffinity(None).ok()?;
    let mut cores = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core));
    let (first, second) = (cores.next()?, cores.next()?);
    let stay_on = |core| {
        let mut one = CpuSet::new();
        one.set(core);
        sched_setaffinity(None, &one).is_ok()
    };
    // Two threads on one core would wait for the scheduler at each turn.
    if !thread::scope(|scope| scope.spawn(|| stay_on(second) && stay_on(first)).join()).ok()? {
        return None;
    }
    let word = Word(AtomicU32::new(0));
    let wait_for = |number| {
        while word.0.load(Ordering::Acquire) != number {
            spin_loop();
        }
    };
    // Odd numbers are sent, and answered with the next.
    let end = 2 * TURNS * TRIES;
    thread::scope(|scope| {
        scope.spawn(|| {
            stay_on(second);
            for number in (1..end).step_by(2) {
                wait_for(number);
                word.0.store(number + 1, Ordering::Release);
            }
        });
        let asking = scope.spawn(|| {
            stay_on(first);
            let mut least = Duration::MAX;
            for first in (1..end).step_by(2 * TURNS as usize) {
                let begun = Instant::now();
                for number in (first..first + 2 * TURNS).step_by(2) {
                    word.0.store(number, Ordering::Release);
                    wait_for(number + 1);
                }
                least = least.min(begun.elapsed() / (2 * TURNS));
            }
            least
        });
        asking.join().ok()
    })
}

/// Not known how to measure here.
#[cfg(not(target_os = "linux"))]
pub fn apart() -> Option<Duration> {
    None
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_word_takes_longer_than_within_a_core_and_less_than_waking_a_thread() {
        if std::thread::available_parallelism().is_ok_and(|cores| cores.get() > 1) {
            let apart = apart().expect("two cores");
            assert!(apart > Duration::from_nanos(3) && apart < Duration::from_micros(5), "{apart:?}");
        }
    }
}
