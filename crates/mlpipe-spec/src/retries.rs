//! After which failures a task is tried again, how often, and how long later.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Waiting longer than this between attempts helps nobody.
const LONGEST_BACKOFF: Duration = Duration::from_secs(600);

/// A shell says that a command was ended by signal n with exit code 128 + n.
const SHELL_SIGNALS: std::ops::RangeInclusive<i32> = 129..=192;

/// The key `retries:`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Retries {
    /// How often a failed attempt is repeated.
    pub max: u32,
    /// The failures after which it is; empty for all.
    pub on: Vec<RetryOn>,
    /// How long before the first repetition; twice as long before each further one, at most ten minutes.
    pub backoff: Duration,
}

/// A kind of failure that is worth another attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RetryOn {
    /// The attempt took longer than its `timeout`.
    Timeout,
    /// The process was ended by a signal.
    Signal,
    /// The process ended with this code; with any but 0 without one.
    Exit(Option<i32>),
}

/// Why an attempt failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureCause {
    /// It took longer than its `timeout`.
    Timeout,
    /// Its process was ended by this signal.
    Signal(i32),
    /// Its process ended with this code.
    Exit(i32),
    /// Anything else, such as an output that was not written.
    #[default]
    Other,
}

impl FailureCause {
    /// Returns the cause behind the exit code of a process; `by_shell` when it was a shell's.
    pub fn of_exit_code(code: i32, by_shell: bool) -> FailureCause {
        match by_shell && SHELL_SIGNALS.contains(&code) {
            true => FailureCause::Signal(code - 128),
            false => FailureCause::Exit(code),
        }
    }
}

impl RetryOn {
    /// Returns the kind that a text stands for: `timeout`, `signal`, `exit` or `exit CODE`.
    pub(crate) fn named(text: &str) -> Option<RetryOn> {
        match text {
            "timeout" => Some(RetryOn::Timeout),
            "signal" => Some(RetryOn::Signal),
            "exit" => Some(RetryOn::Exit(None)),
            _ => {
                let code = text.strip_prefix("exit ")?.trim().parse().ok()?;
                (1..=255).contains(&code).then_some(RetryOn::Exit(Some(code)))
            }
        }
    }

    fn covers(self, cause: FailureCause) -> bool {
        match (self, cause) {
            (RetryOn::Timeout, FailureCause::Timeout)
            | (RetryOn::Signal, FailureCause::Signal(_))
            | (RetryOn::Exit(None), FailureCause::Exit(_)) => true,
            (RetryOn::Exit(Some(wanted)), FailureCause::Exit(code)) => wanted == code,
            // A user who writes down what the shell reports means just that.
            (RetryOn::Exit(Some(wanted)), FailureCause::Signal(signal)) => wanted == 128 + signal,
            _ => false,
        }
    }
}

impl Retries {
    /// Returns how long to wait before the next attempt, or `None` when there is none: `attempts` were made, the last failed
    /// for `cause`.
    pub fn next(&self, attempts: u32, cause: FailureCause) -> Option<Duration> {
        let covered = self.on.is_empty() || self.on.iter().any(|on| on.covers(cause));
        if !covered || attempts > self.max {
            return None;
        }
        let doubled = 1_u32.checked_shl(attempts.saturating_sub(1)).unwrap_or(u32::MAX);
        Some(self.backoff.saturating_mul(doubled).min(LONGEST_BACKOFF))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_doubles_up_to_ten_minutes() {
        let retries = Retries { max: 100, on: Vec::new(), backoff: Duration::from_secs(2) };
        let waits: Vec<u64> = [1, 2, 3, 9, 10, 40, 100]
            .map(|attempts| retries.next(attempts, FailureCause::Other).expect("another attempt").as_secs())
            .to_vec();
        assert_eq!(waits, [2, 4, 8, 512, 600, 600, 600]);
        assert_eq!(retries.next(101, FailureCause::Other), None);
        assert_eq!(Retries { max: 1, ..Retries::default() }.next(1, FailureCause::Exit(1)), Some(Duration::ZERO));
    }

    #[test]
    fn only_the_named_failures_are_worth_another_attempt() {
        let retries = |on: &str| Retries { max: 1, on: RetryOn::named(on).into_iter().collect(), ..Retries::default() };
        let cases = [
            ("timeout", FailureCause::Timeout, true),
            ("timeout", FailureCause::Signal(9), false),
            ("signal", FailureCause::Signal(9), true),
            ("signal", FailureCause::of_exit_code(137, true), true),
            ("signal", FailureCause::of_exit_code(137, false), false),
            ("exit 137", FailureCause::of_exit_code(137, true), true),
            ("exit 75", FailureCause::Exit(75), true),
            ("exit 75", FailureCause::Exit(1), false),
            ("exit", FailureCause::Exit(1), true),
            ("exit", FailureCause::Other, false),
        ];
        for (on, cause, expected) in cases {
            assert_eq!(retries(on).next(1, cause).is_some(), expected, "{on} {cause:?}");
        }
        for text in ["exit 0", "exit 256", "exit x", "exits", ""] {
            assert_eq!(RetryOn::named(text), None, "{text}");
        }
    }
}
