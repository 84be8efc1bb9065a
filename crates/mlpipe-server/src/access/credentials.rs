//! [`Login`]: from a request's `Authorization` to the caller. HTTP Basic with a password or a token, or Bearer with a token.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::http::{HeaderMap, header};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mlpipe_tracking::Store;

use super::Caller;
use super::accounts::{Accounts, TOKEN_PREFIX, User, verify_nothing};
use super::attempts::Attempts;
use crate::api::error::{ApiError, Code};
use crate::random;

/// A password that was right is not hashed again for this long: clients send it with every request.
const REMEMBERED: Duration = Duration::from_secs(600);
const MAX_REMEMBERED: usize = 10_000;

/// Signing in.
#[derive(Debug)]
pub(crate) struct Login {
    attempts: Mutex<Attempts>,
    /// Hashes, under a key of this process, of stored hash and password that belong together. A changed password has another
    /// stored hash, so nothing has to be forgotten.
    right: Mutex<HashMap<blake3::Hash, Instant>>,
    key: [u8; 32],
    /// One at a time: each takes 19 MiB.
    hashing: Mutex<()>,
}

impl Default for Login {
    fn default() -> Self {
        Self { attempts: Mutex::default(), right: Mutex::default(), key: random::bytes(), hashing: Mutex::default() }
    }
}

/// What a request says about its caller.
#[derive(Debug, PartialEq, Eq)]
enum Credentials {
    Password { username: String, password: String },
    Token(String),
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn unauthenticated(message: &str) -> ApiError {
    ApiError::new(Code::Unauthenticated, message)
}

fn credentials(headers: &HeaderMap) -> Option<Credentials> {
    let (scheme, rest) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(Credentials::Token(rest.trim().to_owned()));
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = String::from_utf8(STANDARD.decode(rest.trim()).ok()?).ok()?;
    let (username, password) = text.split_once(':')?;
    if password.starts_with(TOKEN_PREFIX) {
        return Some(Credentials::Token(password.to_owned()));
    }
    Some(Credentials::Password { username: username.to_owned(), password: password.to_owned() })
}

impl Login {
    /// Finds out who sent a request; blocks.
    ///
    /// # Errors
    /// `UNAUTHENTICATED` without valid credentials, `REQUEST_LIMIT_EXCEEDED` after too many invalid ones.
    pub(crate) fn caller(&self, store: &Store, headers: &HeaderMap, address: IpAddr) -> Result<Caller, ApiError> {
        let Some(credentials) = credentials(headers) else {
            return Err(unauthenticated("You are not authenticated: send a user's password or token."));
        };
        let name = match &credentials {
            Credentials::Password { username, .. } => username.as_str(),
            Credentials::Token(_) => "(token)",
        };
        if let Some(wait) = lock(&self.attempts).wait(address, name, Instant::now()) {
            let message = format!("Too many failed attempts to sign in; try again in {} s", wait.as_secs() + 1);
            return Err(ApiError::new(Code::RequestLimitExceeded, message));
        }
        match self.user(store, &credentials)? {
            Some(user) => {
                lock(&self.attempts).succeeded(address, name);
                Ok(Caller::User { username: user.username, is_admin: user.is_admin })
            }
            None => {
                lock(&self.attempts).failed(address, name, Instant::now());
                Err(unauthenticated("You are not authenticated: the user name, password or token is wrong."))
            }
        }
    }

    fn user(&self, store: &Store, credentials: &Credentials) -> Result<Option<User>, ApiError> {
        let accounts = Accounts::new(store);
        match credentials {
            Credentials::Token(text) => accounts.user_of_token(text),
            Credentials::Password { username, password } => match accounts.find(username)? {
                Some(user) => Ok(self.is_right(&user, password).then_some(user)),
                None => {
                    let _one_at_a_time = lock(&self.hashing);
                    verify_nothing(password);
                    Ok(None)
                }
            },
        }
    }

    fn is_right(&self, user: &User, password: &str) -> bool {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(user.password_hash().as_bytes()).update(b"\0").update(password.as_bytes());
        let key = hasher.finalize();
        if lock(&self.right).get(&key).is_some_and(|since| since.elapsed() < REMEMBERED) {
            return true;
        }
        let is_right = {
            let _one_at_a_time = lock(&self.hashing);
            user.has_password(password)
        };
        if is_right {
            let mut right = lock(&self.right);
            if right.len() >= MAX_REMEMBERED {
                right.clear();
            }
            right.insert(key, Instant::now());
        }
        is_right
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_read_from_both_schemes() {
        let of = |value: &str| {
            credentials(&HeaderMap::from_iter([(header::AUTHORIZATION, value.parse().expect("a header"))]))
        };
        let password = Credentials::Password { username: "reader".into(), password: "a:b".into() };
        assert_eq!(of(&format!("Basic {}", STANDARD.encode("reader:a:b"))), Some(password));
        assert_eq!(of("Bearer mlp_1_2"), Some(Credentials::Token("mlp_1_2".into())));
        let as_password = format!("basic {}", STANDARD.encode("anybody:mlp_1_2"));
        assert_eq!(of(&as_password), Some(Credentials::Token("mlp_1_2".into())));
        for value in ["Basic !!!", "Digest x", "Basic"] {
            assert_eq!(of(value), None, "{value}");
        }
    }
}
