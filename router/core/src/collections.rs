//! Maps and sets with a fixed seed: the same inputs give the same iteration order, so a simulated run can be repeated.
//!
//! Keys that a stranger chooses never enter these maps unbounded: every map of the core is bounded by granted credit,
//! by the directory or by a configured limit, which is what makes the fixed seed safe.

use foldhash::fast::FixedState;

/// A hash map with a fixed seed.
pub type Map<K, V> = std::collections::HashMap<K, V, FixedState>;

/// A hash set with a fixed seed.
pub type Set<K> = std::collections::HashSet<K, FixedState>;
