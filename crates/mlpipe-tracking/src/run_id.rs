//! [`RunId`], the name of a run: 128 random bits, written as MLflow does.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::str::FromStr;
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
    /// Two hashes under keys that the standard library seeds from the operating system; process, time and a counter go
    /// in, so that ids differ even where that seed is poor.
    pub fn random() -> Self {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let count = COUNTER.fetch_add(1, Ordering::Relaxed);
        let message = (std::process::id(), SystemTime::now(), count);
        let half = || RandomState::new().hash_one(message);
        Self(format!("{:016x}{:016x}", half(), half()))
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
    fn other_texts_are_refused() {
        let good = "0123456789abcdef0123456789abcdef";
        assert!(good.parse::<RunId>().is_ok());
        for text in ["", &good[1..], &good.to_uppercase(), &good.replace('f', "g"), &format!("{good}0")] {
            assert!(matches!(text.parse::<RunId>(), Err(Error::InvalidRunId { .. })), "{text}");
        }
        assert!(serde_json::from_str::<RunId>("\"x\"").is_err());
    }
}
