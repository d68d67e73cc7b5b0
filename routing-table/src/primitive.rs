//! Synchronisation primitives: the real ones, or loom's models of them under `--cfg loom`.
//!
//! Only what `publish.rs` uses. arc-swap cannot be modelled by loom, so under loom the slot is a mutex with the same
//! contract: `load` returns the value of the last `store` or of a concurrent one.

#[cfg(not(loom))]
mod real {
    pub(crate) use std::sync::Mutex;
    pub(crate) use std::sync::atomic::{AtomicU64, Ordering};

    use std::sync::Arc;

    use arc_swap::ArcSwap;

    /// A place that holds one shared value. Loading never waits.
    #[derive(Debug)]
    pub(crate) struct Slot<T>(ArcSwap<T>);

    impl<T> Slot<T> {
        pub(crate) fn new(value: Arc<T>) -> Self {
            Self(ArcSwap::new(value))
        }

        pub(crate) fn load(&self) -> Arc<T> {
            self.0.load_full()
        }

        /// Stores and returns what was there.
        pub(crate) fn swap(&self, value: Arc<T>) -> Arc<T> {
            self.0.swap(value)
        }
    }
}

#[cfg(loom)]
mod modelled {
    pub(crate) use loom::sync::Mutex;
    pub(crate) use loom::sync::atomic::{AtomicU64, Ordering};

    use std::sync::Arc;

    /// A place that holds one shared value.
    #[derive(Debug)]
    pub(crate) struct Slot<T>(Mutex<Arc<T>>);

    impl<T> Slot<T> {
        pub(crate) fn new(value: Arc<T>) -> Self {
            Self(Mutex::new(value))
        }

        pub(crate) fn load(&self) -> Arc<T> {
            self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
        }

        pub(crate) fn swap(&self, value: Arc<T>) -> Arc<T> {
            let mut held = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            std::mem::replace(&mut *held, value)
        }
    }
}

#[cfg(loom)]
pub(crate) use modelled::{AtomicU64, Mutex, Ordering, Slot};
#[cfg(not(loom))]
pub(crate) use real::{AtomicU64, Mutex, Ordering, Slot};
