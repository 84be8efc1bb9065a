//! The secret of a de-identification: where it comes from, when it is too weak, and the values that follow from it.
//!
//! A file's bytes are the secret, or, where they are text, what that text encodes in hexadecimal or base64. Subkeys are
//! BLAKE3 `derive_key(context, secret)`, values are keyed hashes under a subkey, so that no value tells another. Whoever
//! has the secret can link old and new identifiers; without it that takes guessing 256 bits.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;

use crate::{Error, Result};

/// Shortest secret.
const LEAST_BYTES: usize = 32;
/// Fewest different bytes, and different steps from byte to byte, of a secret: 32 random bytes have about 30.
const LEAST_DIFFERENT: usize = 16;
/// Largest share of one kind of letter in base64: random text has 41 %, words over 80 %.
const LARGEST_SHARE_OF_A_CASE: f64 = 0.7;
/// Furthest shift of dates: ten years.
const MOST_DAYS: u64 = 3650;

/// The secret. It is never printed: its `Debug` shows the id.
#[derive(Clone)]
pub struct DeidKey {
    uid: [u8; 32],
    patient: [u8; 32],
    shift: [u8; 32],
    input: [u8; 32],
    id: String,
}

impl fmt::Debug for DeidKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "DeidKey({})", self.id)
    }
}

impl DeidKey {
    /// Reads the key from a file that nobody but its owner (and group) may read.
    ///
    /// # Errors
    /// When the file cannot be read, others have access to it, or the secret is weak.
    pub fn read(path: &Path) -> Result<Self> {
        let unreadable = |source| Error::Read { path: path.to_path_buf(), source };
        let origin = path.display().to_string();
        if others_have_access(&std::fs::metadata(path).map_err(unreadable)?) {
            let message = "every user of this machine has access to it; `chmod 600` it".to_owned();
            return Err(Error::Key { origin, message });
        }
        Self::from_bytes(&origin, &std::fs::read(path).map_err(unreadable)?)
    }

    /// Takes the key from bytes, or from text in hexadecimal or base64. `origin` names their place in messages.
    ///
    /// # Errors
    /// When the secret is weak.
    pub fn from_bytes(origin: &str, bytes: &[u8]) -> Result<Self> {
        let weak = |message| Error::Key { origin: origin.to_owned(), message };
        let secret = secret_of(bytes).map_err(weak)?;
        check_strength(&secret).map_err(weak)?;
        Ok(Self::of(&secret))
    }

    fn of(secret: &[u8]) -> Self {
        let subkey = |context: &str| blake3::derive_key(context, secret);
        let id = blake3::keyed_hash(&subkey("mlpipe.deid/1 key id"), b"").to_hex()[..16].to_owned();
        DeidKey {
            uid: subkey("mlpipe.deid/1 uid"),
            patient: subkey("mlpipe.deid/1 patient"),
            shift: subkey("mlpipe.deid/1 date shift"),
            input: subkey("mlpipe.deid/1 input digest"),
            id,
        }
    }

    /// Returns 16 hexadecimal digits that tell keys apart and say nothing else: fit for parameters and records.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Returns the new UID: `2.25.` and the first 128 bits of the keyed hash of the old one, big endian (PS3.5 B.2).
    pub(super) fn uid(&self, old: &str) -> String {
        format!("2.25.{}", u128::from_be_bytes(first(&self.uid, old.as_bytes())))
    }

    /// Returns `anon-` and 64 bits of the keyed hash of a patient's identifier.
    pub(super) fn pseudonym(&self, patient: &str) -> String {
        format!("anon-{:016x}", u64::from_be_bytes(first(&self.patient, patient.as_bytes())))
    }

    /// Returns by how many days a patient's dates go back, 1 to 3650.
    pub(super) fn shift_days(&self, patient: &str) -> i64 {
        let number = u64::from_be_bytes(first(&self.shift, patient.as_bytes()));
        // Below 3651, so it fits.
        (1 + number % MOST_DAYS) as i64
    }

    /// Returns the keyed digest of a whole file, 64 hexadecimal digits.
    pub(super) fn input_digest(&self, bytes: &[u8]) -> String {
        blake3::keyed_hash(&self.input, bytes).to_hex().to_string()
    }
}

fn first<const N: usize>(key: &[u8; 32], message: &[u8]) -> [u8; N] {
    let mut first = [0; N];
    first.copy_from_slice(&blake3::keyed_hash(key, message).as_bytes()[..N]);
    first
}

#[cfg(unix)]
fn others_have_access(file: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt;
    file.permissions().mode() & 0o007 != 0
}

#[cfg(not(unix))]
fn others_have_access(_: &std::fs::Metadata) -> bool {
    false
}

/// Returns the bytes, or what they encode when they are text.
fn secret_of(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let Some(text) = as_text(bytes) else { return Ok(bytes.to_vec()) };
    if text.is_empty() {
        return Err("it is empty".into());
    }
    if text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(from_hexadecimal(text));
    }
    let share = |of: fn(&u8) -> bool| text.bytes().filter(of).count() as f64 / text.len() as f64;
    let random = share(u8::is_ascii_lowercase) <= LARGEST_SHARE_OF_A_CASE
        && share(u8::is_ascii_uppercase) <= LARGEST_SHARE_OF_A_CASE
        && text.bytes().any(|byte| byte.is_ascii_digit());
    match from_base64(text) {
        Some(secret) if random => Ok(secret),
        _ => Err("it is text that is neither hexadecimal nor base64 of random bytes; words can be guessed".into()),
    }
}

fn as_text(bytes: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(bytes).ok()?.trim();
    (!text.chars().any(char::is_control)).then_some(text)
}

fn from_hexadecimal(text: &str) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).unwrap_or_default() as u8;
    text.as_bytes().chunks_exact(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

/// Decodes base64 or base64url, padded or not.
fn from_base64(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let (mut buffer, mut bits) = (0_u32, 0);
    for byte in text.trim_end_matches('=').bytes() {
        let six = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        buffer = (buffer << 6 | u32::from(six)) & 0xFFFF;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push((buffer >> bits) as u8);
        }
    }
    Some(bytes)
}

/// Says why a secret can be guessed.
fn check_strength(secret: &[u8]) -> Result<(), String> {
    if secret.len() < LEAST_BYTES {
        return Err(format!("it has {} bytes where {LEAST_BYTES} are needed", secret.len()));
    }
    if as_text(secret).is_some() {
        return Err("it encodes text; words can be guessed".into());
    }
    let different = secret.iter().collect::<BTreeSet<_>>().len();
    let steps = secret.windows(2).map(|pair| pair[1].wrapping_sub(pair[0])).collect::<BTreeSet<_>>().len();
    if different.min(steps) < LEAST_DIFFERENT {
        return Err("it follows a pattern: too few different bytes".into());
    }
    let repeats = |period: usize| secret.iter().zip(&secret[period..]).all(|(a, b)| a == b);
    if (1..LEAST_BYTES).any(|period| secret.len() >= 2 * period && repeats(period)) {
        return Err("it repeats a short piece".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 32 bytes that look random.
    fn secret() -> Vec<u8> {
        blake3::hash(b"a secret for tests").as_bytes().to_vec()
    }

    fn refusal(bytes: &[u8]) -> String {
        DeidKey::from_bytes("KEY", bytes).expect_err("weak").to_string()
    }

    #[test]
    fn random_bytes_are_a_key_as_they_are_or_in_hexadecimal_or_base64() {
        let id = DeidKey::from_bytes("KEY", &secret()).expect("strong").id().to_owned();
        let hexadecimal = blake3::hash(b"a secret for tests").to_hex().to_string();
        let base64 = "1iGYO4pMphzyy1SCsLN2kDcqvPrUvHbFJEdSr8Uh1C8=";
        for text in [hexadecimal.clone(), format!("{hexadecimal}\n"), hexadecimal.to_uppercase()] {
            assert_eq!(DeidKey::from_bytes("KEY", text.as_bytes()).expect("strong").id(), id, "{text}");
        }
        assert_eq!(from_base64(base64).expect("base64").len(), 32);
        assert_eq!(from_base64("Zm9vYmE=").expect("base64"), b"fooba");
        DeidKey::from_bytes("KEY", base64.as_bytes()).expect("strong");
    }

    #[test]
    fn a_thousand_random_keys_are_accepted() {
        for number in 0..1000_u32 {
            let key = blake3::hash(&number.to_le_bytes());
            DeidKey::from_bytes("KEY", key.as_bytes()).expect("strong");
        }
    }

    #[test]
    fn weak_keys_are_refused_with_the_cure() {
        let sequence: Vec<u8> = (0..=255).collect();
        let piece = secret()[..20].repeat(4);
        let text_in_hexadecimal: String =
            b"correct horse battery staple and so on".map(|byte| format!("{byte:02x}")).concat();
        for (bytes, reason) in [
            (&b""[..], "it is empty"),
            (b"short", "words can be guessed"),
            (&secret()[..31], "31 bytes where 32"),
            (&[0; 64], "too few different bytes"),
            (&sequence, "too few different bytes"),
            (&piece, "repeats a short piece"),
            (b"correct horse battery staple correct horse", "words can be guessed"),
            (b"averyveryverylongpasswordmadeofwordsonlyandnothingelse1", "words can be guessed"),
            (b"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", "too few different bytes"),
            (b"0000000000000000000000000000000000000000000000000000000000000000", "too few different bytes"),
            (b"00112233445566778899", "10 bytes where 32"),
            (text_in_hexadecimal.as_bytes(), "words can be guessed"),
        ] {
            let message = refusal(bytes);
            assert!(message.contains(reason), "{reason}: {message}");
            assert!(message.contains("head -c 32 /dev/urandom"), "{message}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn key_file_that_others_can_read_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("key");
        std::fs::write(&path, secret()).expect("written");
        let allow = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("set");
        allow(0o644);
        assert!(DeidKey::read(&path).expect_err("open to all").to_string().contains("chmod 600"));
        allow(0o600);
        let key = DeidKey::read(&path).expect("closed");
        assert_eq!(format!("{key:?}"), format!("DeidKey({})", key.id()));
    }

    #[test]
    fn values_depend_on_key_and_input_and_have_their_form() {
        let key = DeidKey::from_bytes("KEY", &secret()).expect("strong");
        let other = DeidKey::from_bytes("KEY", blake3::hash(b"another").as_bytes()).expect("strong");
        assert_eq!(key.uid("1.2.3"), key.uid("1.2.3"));
        assert_ne!(key.uid("1.2.3"), key.uid("1.2.4"));
        assert_ne!(key.uid("1.2.3"), other.uid("1.2.3"));
        assert!(key.uid("1.2.3").len() <= 44 && key.uid("1.2.3").starts_with("2.25."));
        assert_eq!(key.pseudonym("P1").len(), "anon-".len() + 16);
        assert!((0..1000).all(|number| (1..=3650).contains(&key.shift_days(&format!("P{number}")))));
    }
}
