//! Calls into libraries that panic on some damaged files. What becomes of it is said by
//! the caller, in words: the panic's own text, with places in somebody's source, is kept
//! from people who named a damaged file.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;

thread_local! {
    /// Calls of this thread that are caught, one within the other.
    static CAUGHT: Cell<u32> = const { Cell::new(0) };
}

static HOOK: Once = Once::new();

/// What the work gives; nothing where it panicked, which is not printed.
pub(crate) fn guarded<T>(work: impl FnOnce() -> T) -> Option<T> {
    HOOK.call_once(|| {
        let before = take_hook();
        set_hook(Box::new(move |panic| {
            if CAUGHT.get() == 0 {
                before(panic);
            }
        }));
    });
    CAUGHT.set(CAUGHT.get() + 1);
    let done = catch_unwind(AssertUnwindSafe(work));
    CAUGHT.set(CAUGHT.get() - 1);
    done.ok()
}
