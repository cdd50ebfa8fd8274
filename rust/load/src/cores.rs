//! Measures the time that data takes from one core to another.
//!
//! Two cores of a virtual machine may be on one chiplet of the host's processor or on two. That can change, and the
//! virtual machine is not told. If they share no cache, one core is slow to write memory that the other has read.

use std::time::Duration;

/// Round trips of the word in one measurement.
#[cfg(target_os = "linux")]
const TURNS: u32 = 1000;

/// Number of measurements. The shortest counts: in the others a core may have had other work.
#[cfg(target_os = "linux")]
const TRIES: u32 = 9;

/// The time that a word takes from the cache of one core to that of another, for the first two cores that this process
/// may use. None if there is only one core, or if the system cannot pin a thread to a core.
#[cfg(target_os = "linux")]
pub fn apart() -> Option<Duration> {
    use std::hint::spin_loop;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::thread;
    use std::time::Instant;

    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

    /// Alone in its cache line, and in the adjacent line that the processor fetches with it.
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
    // Two threads on one core would wait for the scheduler at each turn, so check that pinning works.
    if !thread::scope(|scope| scope.spawn(|| stay_on(second) && stay_on(first)).join()).ok()? {
        return None;
    }
    let word = Word(AtomicU32::new(0));
    let wait_for = |number| {
        while word.0.load(Ordering::Acquire) != number {
            spin_loop();
        }
    };
    // One thread sends odd numbers. The other replies with the next number.
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

/// None: only Linux can pin threads in this way.
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
