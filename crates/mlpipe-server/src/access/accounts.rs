//! [`Accounts`]: users, tokens and what was granted, as documents in the tracking store. Passwords are kept as Argon2id hashes,
//! tokens as hashes of 256 random bits; neither can be read back.

use argon2::password_hash::{PasswordHasher, PasswordVerifier, SaltString};
use argon2::{Argon2, PasswordHash};
use mlpipe_tracking::Store;
use serde::{Deserialize, Serialize};

use super::{Permission, Resource};
use crate::api::error::{ApiError, Code};
use crate::random;

const USER: &str = "user";
const TOKEN: &str = "token";
const GRANT: &str = "grant";

/// Begins every token, so that scanners for leaked secrets can know them.
pub(crate) const TOKEN_PREFIX: &str = "mlp_";
/// The shortest password, in characters (NIST SP 800-63B asks for 8; MLflow for 12).
const MIN_PASSWORD_CHARS: usize = 12;
const MAX_USERNAME_CHARS: usize = 100;

/// Somebody who may sign in.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct User {
    format: String,
    /// A number that is never given to anybody else while the user exists.
    pub id: i64,
    /// The name to sign in with.
    pub username: String,
    /// Argon2id, as a PHC text.
    password: String,
    /// Whether nothing is refused.
    pub is_admin: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct Token {
    format: String,
    username: String,
    name: String,
    hash: String,
    created_ms: i64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Grant {
    format: String,
    username: String,
    resource_type: String,
    resource_id: String,
    permission: Permission,
}

/// A token that was just made.
#[derive(Debug)]
pub struct NewToken {
    /// What revokes it.
    pub id: String,
    /// The secret, which is shown once.
    pub text: String,
}

/// What is known about a token.
#[derive(Debug, Clone, Serialize)]
pub struct TokenInfo {
    /// What revokes it.
    pub id: String,
    /// Whose it is.
    pub username: String,
    /// What it is for.
    pub name: String,
    /// When it was made, in milliseconds since 1970-01-01 UTC.
    pub created_ms: i64,
}

/// The users of a store.
#[derive(Debug, Clone, Copy)]
pub struct Accounts<'a> {
    store: &'a Store,
}

fn parse<T: for<'de> Deserialize<'de>>(text: &str) -> Result<T, ApiError> {
    serde_json::from_str(text)
        .map_err(|error| ApiError::new(Code::InternalError, format!("a stored account is damaged: {error}")))
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("accounts have text keys")
}

fn no_user(username: &str) -> ApiError {
    ApiError::missing(format!("User with username={username} not found"))
}

fn grant_key(username: &str, resource: Resource, id: &str) -> String {
    format!("{username}/{}/{id}", resource.as_str())
}

impl<'a> Accounts<'a> {
    /// The users of `store`.
    pub fn new(store: &'a Store) -> Self {
        Self { store }
    }

    /// Returns a user.
    pub(crate) fn user(&self, username: &str) -> Result<User, ApiError> {
        self.find(username)?.ok_or_else(|| no_user(username))
    }

    pub(crate) fn find(&self, username: &str) -> Result<Option<User>, ApiError> {
        self.store.document(USER, username)?.map(|text| parse(&text)).transpose()
    }

    pub(crate) fn users(&self) -> Result<Vec<User>, ApiError> {
        self.store.documents(USER)?.iter().map(|(_, text)| parse(text)).collect()
    }

    pub(crate) fn add(&self, username: &str, password: &str, is_admin: bool) -> Result<User, ApiError> {
        check_username(username)?;
        let id = self.users()?.iter().map(|user| user.id).max().unwrap_or_default() + 1;
        let format = "mlpipe.user/1".to_owned();
        let user = User { format, id, username: username.to_owned(), password: hashed(password)?, is_admin };
        if !self.store.add_document(USER, username, &json(&user))? {
            let message = format!("User (username={username}) already exists.");
            return Err(ApiError::new(Code::ResourceAlreadyExists, message));
        }
        Ok(user)
    }

    pub(crate) fn set_password(&self, username: &str, password: &str) -> Result<(), ApiError> {
        let user = User { password: hashed(password)?, ..self.user(username)? };
        Ok(self.store.put_document(USER, username, &json(&user))?)
    }

    pub(crate) fn set_admin(&self, username: &str, is_admin: bool) -> Result<(), ApiError> {
        let user = User { is_admin, ..self.user(username)? };
        Ok(self.store.put_document(USER, username, &json(&user))?)
    }

    /// Removes a user with tokens and grants; a user of the same name later starts with nothing.
    pub(crate) fn remove(&self, username: &str) -> Result<(), ApiError> {
        if !self.store.delete_document(USER, username)? {
            return Err(no_user(username));
        }
        for token in self.tokens()?.into_iter().filter(|token| token.username == username) {
            self.store.delete_document(TOKEN, &token.id)?;
        }
        for (key, _) in self.store.documents(GRANT)? {
            if key.split('/').next() == Some(username) {
                self.store.delete_document(GRANT, &key)?;
            }
        }
        Ok(())
    }

    /// Makes a token with all that its user may do.
    pub(crate) fn add_token(&self, username: &str, name: &str, now_ms: i64) -> Result<NewToken, ApiError> {
        self.user(username)?;
        let (id, secret) = (random::hex(&random::bytes::<8>()), random::hex(&random::bytes::<32>()));
        let token = Token {
            format: "mlpipe.token/1".to_owned(),
            username: username.to_owned(),
            name: name.to_owned(),
            hash: blake3::hash(secret.as_bytes()).to_string(),
            created_ms: now_ms,
        };
        self.store.put_document(TOKEN, &id, &json(&token))?;
        Ok(NewToken { text: format!("{TOKEN_PREFIX}{id}_{secret}"), id })
    }

    pub(crate) fn tokens(&self) -> Result<Vec<TokenInfo>, ApiError> {
        let info = |(id, text): &(String, String)| {
            let Token { username, name, created_ms, .. } = parse(text)?;
            Ok(TokenInfo { id: id.clone(), username, name, created_ms })
        };
        self.store.documents(TOKEN)?.iter().map(info).collect()
    }

    pub(crate) fn revoke_token(&self, id: &str) -> Result<(), ApiError> {
        if self.store.delete_document(TOKEN, id)? { Ok(()) } else { Err(ApiError::missing(format!("No token {id}"))) }
    }

    /// Returns whose token this is, if it is one.
    pub(crate) fn user_of_token(&self, text: &str) -> Result<Option<User>, ApiError> {
        let Some((id, secret)) = text.strip_prefix(TOKEN_PREFIX).and_then(|rest| rest.split_once('_')) else {
            return Ok(None);
        };
        let Some(token) = self.store.document(TOKEN, id)? else { return Ok(None) };
        let token: Token = parse(&token)?;
        // The comparison of blake3::Hash takes the same time wherever two hashes differ.
        let is_right = blake3::Hash::from_hex(&token.hash).is_ok_and(|hash| hash == blake3::hash(secret.as_bytes()));
        if is_right { self.find(&token.username) } else { Ok(None) }
    }

    pub(crate) fn grant_of(
        &self,
        username: &str,
        resource: Resource,
        id: &str,
    ) -> Result<Option<Permission>, ApiError> {
        let text = self.store.document(GRANT, &grant_key(username, resource, id))?;
        text.map(|text| parse::<Grant>(&text).map(|grant| grant.permission)).transpose()
    }

    pub(crate) fn grant(
        &self,
        username: &str,
        resource: Resource,
        id: &str,
        permission: Permission,
    ) -> Result<(), ApiError> {
        let grant = Grant {
            format: "mlpipe.grant/1".to_owned(),
            username: username.to_owned(),
            resource_type: resource.as_str().to_owned(),
            resource_id: id.to_owned(),
            permission,
        };
        Ok(self.store.put_document(GRANT, &grant_key(username, resource, id), &json(&grant))?)
    }

    pub(crate) fn revoke(&self, username: &str, resource: Resource, id: &str) -> Result<bool, ApiError> {
        Ok(self.store.delete_document(GRANT, &grant_key(username, resource, id))?)
    }

    /// Takes back all that was granted for a resource; returns what it was.
    pub(crate) fn forget(&self, resource: Resource, id: &str) -> Result<Vec<(String, Permission)>, ApiError> {
        let mut taken = Vec::new();
        for (key, text) in self.store.documents(GRANT)? {
            let grant: Grant = parse(&text)?;
            if grant.resource_type == resource.as_str() && grant.resource_id == id {
                self.store.delete_document(GRANT, &key)?;
                taken.push((grant.username, grant.permission));
            }
        }
        Ok(taken)
    }
}

/// What the command offers; errors are texts for people.
impl Accounts<'_> {
    /// Adds a user.
    ///
    /// # Errors
    /// When the name is taken or not allowed, the password is too short, or the store fails.
    pub fn add_user(&self, username: &str, password: &str, is_admin: bool) -> Result<User, String> {
        self.add(username, password, is_admin).map_err(|error| error.message)
    }

    /// Returns all users, by name.
    ///
    /// # Errors
    /// When the store fails.
    pub fn list_users(&self) -> Result<Vec<User>, String> {
        self.users().map_err(|error| error.message)
    }

    /// Removes a user with tokens and permissions.
    ///
    /// # Errors
    /// When there is none of this name, or the store fails.
    pub fn remove_user(&self, username: &str) -> Result<(), String> {
        self.remove(username).map_err(|error| error.message)
    }

    /// Gives a user another password.
    ///
    /// # Errors
    /// When there is none of this name, the password is too short, or the store fails.
    pub fn change_password(&self, username: &str, password: &str) -> Result<(), String> {
        self.set_password(username, password).map_err(|error| error.message)
    }

    /// Makes a token for a user; `now_ms` is the time in milliseconds since 1970-01-01 UTC.
    ///
    /// # Errors
    /// When there is no such user, or the store fails.
    pub fn create_token(&self, username: &str, name: &str, now_ms: i64) -> Result<NewToken, String> {
        self.add_token(username, name, now_ms).map_err(|error| error.message)
    }

    /// Returns what is known about all tokens.
    ///
    /// # Errors
    /// When the store fails.
    pub fn list_tokens(&self) -> Result<Vec<TokenInfo>, String> {
        self.tokens().map_err(|error| error.message)
    }

    /// Makes a token worthless.
    ///
    /// # Errors
    /// When there is none of this id, or the store fails.
    pub fn remove_token(&self, id: &str) -> Result<(), String> {
        self.revoke_token(id).map_err(|error| error.message)
    }
}

impl User {
    /// The stored hash; changes with the password.
    pub(crate) fn password_hash(&self) -> &str {
        &self.password
    }

    /// Returns whether this is the user's password. Takes some 20 ms and 19 MiB, on purpose.
    pub(crate) fn has_password(&self, password: &str) -> bool {
        verify(&self.password, password)
    }
}

/// Compares with a hash that nobody's password has, so that unknown names take as long as known ones.
pub(crate) fn verify_nothing(password: &str) {
    const NOBODY: &str = "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5bm9ib2R5$c2l4dGVlbiBieXRlcyBhbmQgc2l4dGVlbiBtb3JlLi4";
    verify(NOBODY, password);
}

fn verify(hash: &str, password: &str) -> bool {
    PasswordHash::new(hash).is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok())
}

fn hashed(password: &str) -> Result<String, ApiError> {
    if password.chars().count() < MIN_PASSWORD_CHARS {
        return Err(ApiError::invalid(format!(
            "Password must be a string longer than {MIN_PASSWORD_CHARS} characters."
        )));
    }
    let failed =
        |error: argon2::password_hash::Error| ApiError::new(Code::InternalError, format!("the password: {error}"));
    let salt = SaltString::encode_b64(&random::bytes::<16>()).map_err(failed)?;
    Argon2::default().hash_password(password.as_bytes(), &salt).map(|hash| hash.to_string()).map_err(failed)
}

fn check_username(username: &str) -> Result<(), ApiError> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-@+".contains(&byte);
    if !username.is_empty() && username.len() <= MAX_USERNAME_CHARS && username.bytes().all(is_plain) {
        return Ok(());
    }
    Err(ApiError::invalid("Username cannot be empty; letters, digits and . _ - @ + are allowed, 100 at most."))
}
