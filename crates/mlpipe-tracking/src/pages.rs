//! Pages: how many entities an answer has, and where it begins.
//!
//! A token is the letter of its kind and what it says: `o200`, skip 200; `r<start time>:<run id>`, go on behind that
//! run. The latter costs the same for every page, and runs that begin meanwhile do not shift what follows.

use crate::{Error, Page, Result};

/// Returns how many entities are wanted, which must be between 1 and `most`.
pub(crate) fn page_size(wanted: Option<i64>, default: usize, most: usize) -> Result<usize> {
    let Some(wanted) = wanted else { return Ok(default) };
    match usize::try_from(wanted) {
        Ok(size) if (1..=most).contains(&size) => Ok(size),
        Ok(size) if size > most => Err(Error::invalid(format!(
            "Invalid value {wanted} for parameter 'max_results' supplied: It must be at most {most}, but got {wanted}"
        ))),
        _ => Err(Error::invalid(format!(
            "Invalid value {wanted} for parameter 'max_results' supplied. It must be a positive integer"
        ))),
    }
}

/// Returns the error for a token that was not given out.
pub(crate) fn bad_token(token: &str) -> Error {
    Error::invalid(format!("Invalid page token '{token}'"))
}

/// Returns how many entities to skip.
pub(crate) fn offset(token: Option<&str>) -> Result<usize> {
    match token {
        None | Some("") => Ok(0),
        Some(token) => {
            let number = token.strip_prefix('o').and_then(|number| number.parse::<u32>().ok());
            Ok(number.ok_or_else(|| bad_token(token))? as usize)
        }
    }
}

/// Returns the page of the first `size` of `items`, which begin `offset` entities from the start. There are more than
/// `size` items if, and only if, there is a page behind.
pub(crate) fn page<T>(mut items: Vec<T>, offset: usize, size: usize) -> Page<T> {
    let next_page_token = (items.len() > size).then(|| format!("o{}", offset + size));
    items.truncate(size);
    Page { items, next_page_token }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_page_has_no_token() {
        assert_eq!(page(vec![1, 2, 3], 4, 2).next_page_token, Some("o6".to_owned()));
        assert_eq!(page(vec![1, 2], 4, 2).next_page_token, None);
    }

    #[test]
    fn tokens_of_others_are_refused() {
        for token in ["%%%", "not a token", "o-1", "o", "17", "o99999999999999"] {
            assert!(offset(Some(token)).is_err(), "{token}");
        }
        assert_eq!(offset(Some("o17")).expect("ours"), 17);
    }
}
