//! Which keyspaces does the spool have, and what are they called on disk?

/// A keyspace. Names and numbers are on disk and never change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Space {
    /// What the spool knows about itself.
    Meta,
    /// Wrapped secrets of the sealing segments.
    Segments,
    /// Parts as they were taken: the large values.
    Records,
    /// Heads of the entries in records.
    Heads,
    /// Messages by lookup key.
    Messages,
    /// Records that wait, by queue and age.
    Queue,
    /// What the queues are called.
    Queues,
    /// When somebody has to look at a record again.
    Due,
    /// Rows found damaged, for people to look at.
    Quarantine,
    /// Administrative acts.
    Audit,
}

impl Space {
    /// Every keyspace, in the order of its numbers.
    pub const ALL: [Self; 10] = [
        Self::Meta,
        Self::Segments,
        Self::Records,
        Self::Heads,
        Self::Messages,
        Self::Queue,
        Self::Queues,
        Self::Due,
        Self::Quarantine,
        Self::Audit,
    ];

    /// The name on disk.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Meta => "meta",
            Self::Segments => "segments",
            Self::Records => "records",
            Self::Heads => "heads",
            Self::Messages => "messages",
            Self::Queue => "queue",
            Self::Queues => "queues",
            Self::Due => "due",
            Self::Quarantine => "quarantine",
            Self::Audit => "audit",
        }
    }

    /// The number on disk, bound into sealed values.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Meta => 0,
            Self::Segments => 1,
            Self::Records => 2,
            Self::Heads => 3,
            Self::Messages => 4,
            Self::Queue => 5,
            Self::Queues => 6,
            Self::Due => 7,
            Self::Quarantine => 8,
            Self::Audit => 9,
        }
    }
}

impl std::fmt::Display for Space {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::Space;

    #[test]
    fn every_space_has_its_place_in_the_list_as_number() {
        for (place, space) in Space::ALL.into_iter().enumerate() {
            assert_eq!(usize::from(space.number()), place);
        }
    }

    #[test]
    fn names_differ() {
        let names: std::collections::BTreeSet<_> = Space::ALL.iter().map(|space| space.name()).collect();
        assert_eq!(names.len(), Space::ALL.len());
    }
}
