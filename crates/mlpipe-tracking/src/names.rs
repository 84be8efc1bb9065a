//! Names for runs and models that were given none: an adjective, an animal and a number, as MLflow makes them up.

use crate::RunId;

const ADJECTIVES: [&str; 32] = [
    "able", "amber", "bold", "brave", "bright", "calm", "clear", "clever", "crisp", "eager", "early", "fair", "fine",
    "gentle", "glad", "grand", "happy", "honest", "keen", "kind", "lively", "lucky", "merry", "neat", "noble", "proud",
    "quick", "quiet", "sharp", "smart", "swift", "wise",
];
const ANIMALS: [&str; 32] = [
    "ant", "badger", "bat", "bear", "bee", "cat", "crane", "crow", "deer", "dove", "eel", "elk", "finch", "fox",
    "frog", "goat", "hare", "hawk", "heron", "horse", "jay", "lark", "lynx", "mole", "moth", "newt", "otter", "owl",
    "seal", "stork", "swan", "wren",
];

/// Returns a name that is easy to say. It need not be unique.
pub(crate) fn made_up_name() -> String {
    // A run id is the randomness at hand.
    let random = RunId::random();
    let random = u64::from_str_radix(&random.as_str()[..16], 16).unwrap_or_default();
    let pick = |words: [&'static str; 32], shift: u32| words[(random >> shift) as usize % words.len()];
    format!("{}-{}-{}", pick(ADJECTIVES, 0), pick(ANIMALS, 8), (random >> 16) % 1000)
}
