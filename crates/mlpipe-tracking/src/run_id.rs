//! [`RunId`], the name of a run: 128 bits, written as MLflow does.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::str::FromStr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use serde::{Deserialize, Deserializer, Serialize, de};

use crate::{Error, Result};

const DIGITS: usize = 32;

/// The id of a run: 32 lower-case hexadecimal digits. It identifies, it is not a secret.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct RunId(String);

impl RunId {
    /// Returns an id that no other run has.
    ///
    /// 96 bits are random: hashes under keys that the standard library seeds from the operating system; process, time and a
    /// counter go in, so that ids differ even where that seed is poor. The first 32 bits count on from a random number, so that
    /// the ids of one process lie side by side in an index, and the eight digits that people use are never the same.
    pub fn random() -> Self {
        static FIRST: OnceLock<u64> = OnceLock::new();
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let count = COUNTER.fetch_add(1, Ordering::Relaxed);
        let message = (std::process::id(), SystemTime::now(), count);
        let random = || RandomState::new().hash_one(message);
        let leading = FIRST.get_or_init(random).wrapping_add(count) & 0xffff_ffff;
        Self(format!("{leading:08x}{:08x}{:016x}", random() >> 32, random()))
    }

    /// Returns the 32 digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl FromStr for RunId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if text.len() == DIGITS && is_lower_hex(text) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Error::InvalidRunId { text: text.to_owned() })
        }
    }
}

impl<'de> Deserialize<'de> for RunId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// Returns whether `text` consists of lower-case hexadecimal digits.
pub(crate) fn is_lower_hex(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn random_ids_parse_and_differ_across_threads() {
        let ids: BTreeSet<_> = std::thread::scope(|scope| {
            let threads: Vec<_> =
                (0..4).map(|_| scope.spawn(|| (0..500).map(|_| RunId::random()).collect::<Vec<_>>())).collect();
            threads.into_iter().flat_map(|thread| thread.join().expect("no panic")).collect()
        });
        assert_eq!(ids.len(), 2_000);
        assert!(ids.iter().all(|id| id.as_str().parse::<RunId>().is_ok_and(|parsed| parsed == *id)));
    }

    #[test]
    fn first_digits_of_ids_of_one_process_differ() {
        let first = |id: &RunId| id.as_str()[..8].to_owned();
        let ids: Vec<RunId> = (0..1_000).map(|_| RunId::random()).collect();
        assert_eq!(ids.iter().map(first).collect::<BTreeSet<_>>().len(), 1_000);
    }

    #[test]
    fn other_texts_are_refused() {
        let good = "0123456789abcdef0123456789abcdef";
        assert!(good.parse::<RunId>().is_ok());
        for text in ["", &good[1..], &good.to_uppercase(), &good.replace('f', "g"), &format!("{good}0")] {
            assert!(matches!(text.parse::<RunId>(), Err(Error::InvalidRunId { .. })), "{text}");
        }
        assert!(serde_json::from_str::<RunId>("\"x\"").is_err());
    }
}
