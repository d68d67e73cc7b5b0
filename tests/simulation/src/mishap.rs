//! What really went wrong in a run: counted where it took effect, not where it was planned.

/// Something that went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mishap {
    /// A link broke with what was on it.
    LinkCut,
    /// Two nodes could not reach each other.
    Parted,
    /// A frame was held back in one direction, the other being open.
    HeldBackOneWay,
    /// A frame was held back while nothing passed in either direction.
    HeldBackBothWays,
    /// Frames held back arrived after all, late.
    ReleasedLate,
    /// Frames held back were lost with their link.
    LostInSilence,
    /// One side gave a link up by its idle timeout, the other did not know yet.
    GivenUpByOne,
    /// A second link of one dialler came up while its peer believed in the first.
    LinkedTwice,
    /// A message arrived once more, as a copy.
    Replayed,
    /// A router died and lost all that its fsync under way was for.
    UnsyncedLost,
    /// A router died and part of what its fsync under way was for is there.
    UnsyncedTorn,
    /// A router died behind its fsync, and told nobody.
    SyncedUntold,
    /// A router died with nothing under way.
    RouterDied,
    /// An endpoint died with a write under way.
    EndpointDiedWriting,
    /// An endpoint died.
    EndpointDied,
    /// A bit of a body or a head flipped.
    FlippedRecord,
    /// A bit of an index row flipped.
    FlippedIndex,
    /// Rows of queues were lost.
    LostRows,
    /// A row could not be read any more.
    UnreadableRow,
    /// A commit failed and left nothing.
    CommitLost,
    /// A commit failed and was there after the next start.
    CommitUnclear,
    /// A disk was full while something was to be written.
    DiskFull,
    /// A disk took no writes while something was to be written.
    DiskReadOnly,
    /// A verdict could not be journalled.
    JournalFailed,
    /// A message was not taken because the outbox could not keep it.
    OutboxRefused,
    /// A late receipt could not be kept by the outbox.
    OutboxFailed,
    /// What an endpoint's failed write was for was there after the next start.
    KeptThoughFailed,
    /// A sender died that had told how a message ended and not yet written it down: the message is open again.
    OutcomeForgotten,
    /// A wall clock stepped.
    ClockStepped,
    /// A table without a route was in force.
    RouteDropped,
    /// A table without a grant was in force.
    GrantDropped,
    /// A table with a revoked key was in force.
    KeyRevoked,
    /// A table with another recipient was in force.
    RecipientMoved,
    /// A message in custody went back as no longer routable or permitted.
    Returned,
    /// A message was sent again because its copy in custody was damaged.
    Damaged,
    /// An order of a case was checked at a hand-over.
    OrderChecked,
    /// A receipt *custody* was checked when its router signed it.
    CustodyChecked,
}

impl Mishap {
    /// All of them.
    pub const ALL: [Self; 37] = [
        Self::LinkCut,
        Self::Parted,
        Self::HeldBackOneWay,
        Self::HeldBackBothWays,
        Self::ReleasedLate,
        Self::LostInSilence,
        Self::GivenUpByOne,
        Self::LinkedTwice,
        Self::Replayed,
        Self::UnsyncedLost,
        Self::UnsyncedTorn,
        Self::SyncedUntold,
        Self::RouterDied,
        Self::EndpointDiedWriting,
        Self::EndpointDied,
        Self::FlippedRecord,
        Self::FlippedIndex,
        Self::LostRows,
        Self::UnreadableRow,
        Self::CommitLost,
        Self::CommitUnclear,
        Self::DiskFull,
        Self::DiskReadOnly,
        Self::JournalFailed,
        Self::OutboxRefused,
        Self::OutboxFailed,
        Self::KeptThoughFailed,
        Self::OutcomeForgotten,
        Self::ClockStepped,
        Self::RouteDropped,
        Self::GrantDropped,
        Self::KeyRevoked,
        Self::RecipientMoved,
        Self::Returned,
        Self::Damaged,
        Self::OrderChecked,
        Self::CustodyChecked,
    ];
}

/// How often each happened.
#[derive(Debug, Clone, Copy)]
pub struct Mishaps([u64; Mishap::ALL.len()]);

impl Default for Mishaps {
    fn default() -> Self {
        Self([0; Mishap::ALL.len()])
    }
}

impl Mishaps {
    pub fn note(&mut self, mishap: Mishap) {
        self.add(mishap, 1);
    }

    pub fn add(&mut self, mishap: Mishap, times: u64) {
        self.0[mishap as usize] += times;
    }

    pub fn merge(&mut self, other: &Self) {
        for (sum, more) in self.0.iter_mut().zip(other.0) {
            *sum += more;
        }
    }

    /// Each with its count.
    pub fn all(&self) -> impl Iterator<Item = (Mishap, u64)> {
        Mishap::ALL.into_iter().zip(self.0)
    }

    /// What never happened.
    pub fn never(&self) -> Vec<Mishap> {
        self.all().filter(|(_, count)| *count == 0).map(|(mishap, _)| mishap).collect()
    }
}
