//! [`Attempts`]: how often signing in has failed, so that passwords cannot be tried out. Counted per address and name, and per
//! address: somebody who fails cannot lock out anybody else.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Failures are forgotten after this.
const WINDOW: Duration = Duration::from_secs(300);
const MAX_PER_NAME: u32 = 10;
const MAX_PER_ADDRESS: u32 = 100;
/// Beyond this many entries old ones are swept out.
const SWEEP_AT: usize = 10_000;

#[derive(Debug, Clone, Copy)]
struct Failures {
    count: u32,
    first: Instant,
}

/// Failures of the last minutes.
#[derive(Debug, Default)]
pub(crate) struct Attempts {
    failures: HashMap<(IpAddr, Option<String>), Failures>,
}

impl Attempts {
    /// Returns how long this caller has to wait before it may try again.
    pub(crate) fn wait(&self, address: IpAddr, username: &str, now: Instant) -> Option<Duration> {
        let limits = [((address, Some(username.to_owned())), MAX_PER_NAME), ((address, None), MAX_PER_ADDRESS)];
        let wait = |(key, most): &((IpAddr, Option<String>), u32)| {
            let failures = self.failures.get(key).filter(|failures| failures.count >= *most)?;
            WINDOW.checked_sub(now.duration_since(failures.first))
        };
        limits.iter().filter_map(wait).max()
    }

    /// Counts a failure.
    pub(crate) fn failed(&mut self, address: IpAddr, username: &str, now: Instant) {
        if self.failures.len() >= SWEEP_AT {
            self.failures.retain(|_, failures| now.duration_since(failures.first) < WINDOW);
        }
        for key in [(address, Some(username.to_owned())), (address, None)] {
            let failures = self.failures.entry(key).or_insert(Failures { count: 0, first: now });
            if now.duration_since(failures.first) >= WINDOW {
                *failures = Failures { count: 0, first: now };
            }
            failures.count += 1;
        }
    }

    /// Forgets the failures of a name that has signed in.
    pub(crate) fn succeeded(&mut self, address: IpAddr, username: &str) {
        self.failures.remove(&(address, Some(username.to_owned())));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_failures_of_a_name_shut_it_for_that_address_for_a_while() {
        let (here, there) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let start = Instant::now();
        let mut attempts = Attempts::default();
        for _ in 0..MAX_PER_NAME {
            assert_eq!(attempts.wait(here, "reader", start), None);
            attempts.failed(here, "reader", start);
        }
        assert_eq!(attempts.wait(here, "reader", start), Some(WINDOW));
        assert_eq!(attempts.wait(there, "reader", start), None);
        assert_eq!(attempts.wait(here, "other", start), None);
        assert_eq!(attempts.wait(here, "reader", start + WINDOW + Duration::from_secs(1)), None);
        attempts.succeeded(here, "reader");
        assert_eq!(attempts.wait(here, "reader", start), None);
    }

    #[test]
    fn many_names_from_one_address_are_shut_too() {
        let here = IpAddr::from([10, 0, 0, 1]);
        let now = Instant::now();
        let mut attempts = Attempts::default();
        for number in 0..MAX_PER_ADDRESS {
            attempts.failed(here, &format!("user{number}"), now);
        }
        assert!(attempts.wait(here, "anybody", now).is_some());
    }
}
