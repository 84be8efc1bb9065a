//! [`SecretKey`]: how the secrets of webhooks are kept. They sign deliveries, so they must be known again, unlike passwords; but not to
//! whoever has a copy of the tracking store. The key lies beside the store: in a variable, or in a file that backups leave out.
//!
//! A secret is sealed with XChaCha20-Poly1305 under a random nonce, with the id of its webhook as associated data: a sealed secret is of no use
//! in another webhook's place.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{Key, KeyInit, XChaCha20Poly1305, XNonce};

use crate::random;

/// MLflow's variable, with a key as MLflow wants it: 32 bytes in URL-safe base64.
const VARIABLE: &str = "MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY";
const FILE: &str = "webhook.key";
/// So long that random ones do not meet.
const NONCE_BYTES: usize = 24;

/// Where the key comes from.
#[derive(Debug, Clone)]
pub(crate) struct SecretKey {
    given: Option<String>,
    file: PathBuf,
}

impl SecretKey {
    /// The key of the environment, else of a file in the state directory, which is made when it is first needed.
    pub(crate) fn of(state_directory: &Path) -> Self {
        let given = std::env::var(VARIABLE).ok().filter(|text| !text.is_empty());
        Self { given, file: state_directory.join(FILE) }
    }

    /// Seals the secret of a webhook.
    ///
    /// # Errors
    /// In words, when there is no usable key.
    pub(crate) fn seal(&self, webhook_id: &str, secret: &str) -> Result<String, String> {
        let nonce = random::bytes::<NONCE_BYTES>();
        let payload = Payload { msg: secret.as_bytes(), aad: webhook_id.as_bytes() };
        let sealed = self.cipher()?.encrypt(&XNonce::from(nonce), payload);
        let sealed = sealed.map_err(|_| "the webhook's secret is too long".to_owned())?;
        Ok(STANDARD.encode([nonce.as_slice(), &sealed].concat()))
    }

    /// Opens what was sealed.
    ///
    /// # Errors
    /// In words, when there is no usable key, or it was sealed with another one or for another webhook.
    pub(crate) fn open(&self, webhook_id: &str, sealed: &str) -> Result<String, String> {
        let cipher = self.cipher()?;
        let opened = || {
            let bytes = STANDARD.decode(sealed).ok()?;
            let (nonce, msg) = bytes.split_first_chunk::<NONCE_BYTES>()?;
            let payload = Payload { msg, aad: webhook_id.as_bytes() };
            String::from_utf8(cipher.decrypt(&XNonce::from(*nonce), payload).ok()?).ok()
        };
        opened().ok_or_else(|| {
            format!(
                "the webhook's secret was sealed with another key than that of {VARIABLE} or {}",
                self.file.display()
            )
        })
    }

    fn cipher(&self) -> Result<XChaCha20Poly1305, String> {
        Ok(XChaCha20Poly1305::new(&Key::from(self.key()?)))
    }

    fn key(&self) -> Result<[u8; 32], String> {
        let text = match &self.given {
            Some(text) => text.clone(),
            None => self.kept().map_err(|error| format!("{}: {error}", self.file.display()))?,
        };
        let source = if self.given.is_some() { VARIABLE.to_owned() } else { self.file.display().to_string() };
        let bytes = URL_SAFE.decode(text.trim()).ok().and_then(|bytes| bytes.try_into().ok());
        bytes.ok_or_else(|| format!("{source} must be 32 bytes in URL-safe base64"))
    }

    /// Reads the file, and makes it where it is missing: aside, then under its name, so that nobody reads half a key, and of two
    /// servers that make it at once both read the first one's.
    fn kept(&self) -> io::Result<String> {
        if !self.file.exists() {
            let aside = self.file.with_file_name(format!("{FILE}.{}", random::hex128()));
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&aside)?;
            file.write_all(URL_SAFE.encode(random::bytes::<32>()).as_bytes())?;
            file.sync_all()?;
            let linked = std::fs::hard_link(&aside, &self.file);
            std::fs::remove_file(&aside)?;
            match linked {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
        }
        std::fs::read_to_string(&self.file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn sealed_secret_opens_with_its_key_for_its_webhook_only() {
        let folder = tempfile::tempdir().expect("a folder");
        let key = SecretKey { given: None, file: folder.path().join(FILE) };
        let sealed = key.seal("a", "hush").expect("sealed");
        assert!(!sealed.contains("hush") && sealed != key.seal("a", "hush").expect("sealed"), "{sealed}");
        assert_eq!(key.open("a", &sealed).as_deref(), Ok("hush"));
        assert!(key.open("b", &sealed).is_err());
        let mut damaged = STANDARD.decode(&sealed).expect("base64");
        damaged[NONCE_BYTES] ^= 1;
        for nonsense in ["", "hush", &STANDARD.encode(damaged)] {
            assert!(key.open("a", nonsense).is_err(), "{nonsense}");
        }
        let other = SecretKey { given: Some(URL_SAFE.encode([1; 32])), ..key.clone() };
        assert!(other.open("a", &sealed).is_err());
        let mode = key.file.metadata().expect("a file").permissions().mode();
        assert_eq!((mode & 0o777, folder.path().read_dir().expect("listed").count()), (0o600, 1));
    }

    #[test]
    fn key_that_is_none_is_refused() {
        for given in ["short", "", &STANDARD.encode([255; 32])] {
            let key = SecretKey { given: Some(given.to_owned()), file: PathBuf::new() };
            assert!(key.seal("a", "hush").expect_err("no key").contains(VARIABLE), "{given}");
        }
    }
}
