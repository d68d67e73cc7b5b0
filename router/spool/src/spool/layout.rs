//! Under which keys do rows lie, and how are small plain numbers kept?
//!
//! ```text
//! Records   record                      sealed body
//! Heads     record                      sealed head, with the segment of the body
//! Messages  time, keyed hash of sender, id  sealed record; identity: id and sender
//! Queue     epoch, keyed hash, record   sealed waiting counts, only while something waits
//! Queues    epoch, keyed hash           the queue's name, sealed standing
//! Due       epoch, time, record         empty
//! Quarantine record, which              what was found, as it was; and why, sealed standing
//! Audit     number                      hash of the entry before and entry, sealed standing
//! Meta      names below                 numbers, each with its complement
//! ```
//!
//! Queue, Queues, Due and Messages follow from Heads and can be made again; then in another epoch, so that damaged rows of before are
//! not read any more.

use bytes::Bytes;
use kernpost_codecs::UnixMs;
use kernpost_router_core::custody::spool::RecordId;

/// The keyed hash of a queue's name.
pub(super) type QueueHash = [u8; 16];

/// Names in Meta.
pub(super) const NEXT: &[u8] = b"next record";
pub(super) const EPOCH: &[u8] = b"index epoch";
/// There while the index is made again.
pub(super) const REINDEXING: &[u8] = b"reindexing";
pub(super) const QUEUED: &[u8] = b"queue rows";
pub(super) const AUDITED: &[u8] = b"audit entries";
pub(super) const LIVE: &[u8] = b"live ";

pub(super) fn record(id: RecordId) -> Vec<u8> {
    id.0.to_be_bytes().to_vec()
}

pub(super) fn queue_row(epoch: u64, queue: &QueueHash, id: RecordId) -> Vec<u8> {
    [&epoch.to_be_bytes()[..], queue, &id.0.to_be_bytes()].concat()
}

/// Where the rows of a queue end.
pub(super) fn queue_end(epoch: u64, queue: &QueueHash) -> Vec<u8> {
    [&epoch.to_be_bytes()[..], queue, &[0xff; 9]].concat()
}

pub(super) fn read_queue_row(key: &[u8]) -> Option<(QueueHash, RecordId)> {
    let (queue, id) = key.get(8..)?.split_first_chunk::<16>()?;
    Some((*queue, RecordId(u64::from_be_bytes(id.try_into().ok()?))))
}

pub(super) fn queue_name(epoch: u64, queue: &QueueHash) -> Vec<u8> {
    [&epoch.to_be_bytes()[..], queue].concat()
}

pub(super) fn read_queue_name(key: &[u8]) -> Option<QueueHash> {
    key.get(8..)?.try_into().ok()
}

pub(super) fn due_row(epoch: u64, at: UnixMs, id: RecordId) -> Vec<u8> {
    [epoch.to_be_bytes(), at.0.to_be_bytes(), id.0.to_be_bytes()].concat()
}

pub(super) fn read_due_row(key: &[u8]) -> Option<(UnixMs, RecordId)> {
    let (at, id) = key.get(8..)?.split_first_chunk::<8>()?;
    Some((UnixMs(u64::from_be_bytes(*at)), RecordId(u64::from_be_bytes(id.try_into().ok()?))))
}

/// First and last possible row of an epoch.
pub(super) fn epoch_bounds(epoch: u64) -> (Vec<u8>, Vec<u8>) {
    (epoch.to_be_bytes().to_vec(), [&epoch.to_be_bytes()[..], &[0xff; 25]].concat())
}

pub(super) fn live(segment: u32) -> Vec<u8> {
    [LIVE, &segment.to_be_bytes()].concat()
}

pub(super) fn read_live(key: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(key.strip_prefix(LIVE)?.try_into().ok()?))
}

/// A number and its complement: a flipped bit shows.
pub(super) fn number(value: u64) -> Bytes {
    Bytes::from([value.to_be_bytes(), (!value).to_be_bytes()].concat())
}

pub(super) fn read_number(row: &[u8]) -> Option<u64> {
    let (value, complement) = row.split_first_chunk::<8>()?;
    let (value, complement) = (u64::from_be_bytes(*value), u64::from_be_bytes(complement.try_into().ok()?));
    (value == !complement).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_with_a_flipped_bit_is_none() {
        let row = number(77);
        assert_eq!(read_number(&row), Some(77));
        for bit in 0..row.len() * 8 {
            let mut flipped = row.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(read_number(&flipped), None);
        }
    }

    #[test]
    fn keys_read_back_and_order_by_age() {
        let queue = [7; 16];
        assert_eq!(read_queue_row(&queue_row(1, &queue, RecordId(300))), Some((queue, RecordId(300))));
        assert_eq!(read_due_row(&due_row(1, UnixMs(5), RecordId(300))), Some((UnixMs(5), RecordId(300))));
        assert!(queue_row(1, &queue, RecordId(255)) < queue_row(1, &queue, RecordId(256)));
        assert!(queue_row(1, &queue, RecordId(u64::MAX)) < queue_end(1, &queue));
        assert!(due_row(1, UnixMs(9), RecordId(u64::MAX)) < due_row(1, UnixMs(10), RecordId(0)));
    }
}
