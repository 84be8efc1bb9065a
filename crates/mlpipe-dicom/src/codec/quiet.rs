//! A decoder that panics on a damaged stream is a refusal, and must not write a panic report over the user's terminal.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

thread_local! {
    static EXPECTED: Cell<bool> = const { Cell::new(false) };
}

static HOOK: Once = Once::new();

/// Runs a foreign decoder; none when it panicked. Panics elsewhere are reported as ever: the hook that is put in front
/// of the one in place keeps silent only for the thread that is inside this function.
pub(crate) fn catching_panics<T>(decode: impl FnOnce() -> T) -> Option<T> {
    HOOK.call_once(|| {
        let report = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !EXPECTED.get() {
                report(panic);
            }
        }));
    });
    let before = EXPECTED.replace(true);
    let result = catch_unwind(AssertUnwindSafe(decode));
    EXPECTED.set(before);
    result.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panic_becomes_none_and_ends_with_the_call() {
        assert_eq!(catching_panics(|| Vec::<u8>::new()[3]), None);
        assert_eq!(catching_panics(|| 3), Some(3));
        assert!(!EXPECTED.get());
    }
}
