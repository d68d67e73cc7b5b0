//! How is a head written?
//!
//! CBOR arrays without names: `[1, kind, [endpoint…], class, taken, due, body's segment or 0, [entry…]]`, an entry
//! `[index, sender, id, leaf, expires, [case]?, cost, [state…]]`. About 90 bytes an entry beside sender and case.

use std::sync::Arc;

use kernpost_codecs::cbor::{CborError, CborFault, Reader, Writer};
use kernpost_codecs::{Class, Code, Digest, EndpointId, MessageId, Outcome, UnixMs};
use kernpost_router_core::custody::spool::{EntryState, Head, HeadEntry, Kind, Queue, RecordId};

/// A head as it lies on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StoredHead {
    pub(super) head: Head,
    /// The segment its body is sealed in; 0: it has none any more.
    pub(super) body_segment: u32,
}

/// What stands in front of the entries: enough to find the record's other rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Front {
    pub(super) kind: Kind,
    pub(super) queue: Queue,
    pub(super) taken: UnixMs,
    pub(super) due: UnixMs,
    /// As in [`StoredHead`].
    pub(super) body_segment: u32,
}

pub(super) fn encode(head: &Head, body_segment: u32) -> Vec<u8> {
    let mut out = Vec::with_capacity(64 + head.entries.len() * 128);
    let mut writer = Writer::new(&mut out);
    writer.array(8);
    writer.uint(VERSION);
    writer.uint(match head.kind {
        Kind::Messages => 0,
        Kind::Receipts => 1,
    });
    write_endpoints(&mut writer, &head.queue);
    writer.uint(head.queue.class.as_u64());
    writer.uint(head.taken.0);
    writer.uint(head.due.0);
    writer.uint(body_segment.into());
    writer.array(head.entries.len());
    for entry in &head.entries {
        write_entry(&mut writer, entry);
    }
    out
}

pub(super) fn decode(bytes: &[u8]) -> Option<StoredHead> {
    let mut reader = Reader::new(bytes);
    let stored = read(&mut reader).ok()?;
    reader.finish().ok()?;
    Some(stored)
}

/// Reads no entry: of a row that opened under its seal, they are what was written.
pub(super) fn decode_front(bytes: &[u8]) -> Option<Front> {
    read_front(&mut Reader::new(bytes)).ok()
}

/// The name of a queue: class and endpoints.
pub(super) fn encode_queue(queue: &Queue) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = Writer::new(&mut out);
    writer.array(2);
    writer.uint(queue.class.as_u64());
    write_endpoints(&mut writer, queue);
    out
}

pub(super) fn decode_queue(bytes: &[u8]) -> Option<Queue> {
    let mut reader = Reader::new(bytes);
    let queue = read_queue(&mut reader).ok()?;
    reader.finish().ok()?;
    Some(queue)
}

fn read_queue(reader: &mut Reader<'_>) -> Result<Queue, CborError> {
    reader.array_of(2, "queue")?;
    let class = read_class(reader)?;
    Ok(Queue { class, waits_for: read_endpoints(reader)? })
}

fn write_endpoints(writer: &mut Writer<'_>, queue: &Queue) {
    writer.array(queue.waits_for.len());
    for endpoint in queue.waits_for.iter() {
        writer.text(endpoint.as_str());
    }
}

fn write_entry(writer: &mut Writer<'_>, entry: &HeadEntry) {
    writer.array(8);
    writer.uint(entry.index.into());
    writer.text(entry.sender.as_str());
    writer.bytes(&entry.message.0);
    writer.bytes(entry.leaf.as_bytes());
    writer.uint(entry.expires.0);
    writer.array(entry.case.iter().len());
    for case in entry.case.iter() {
        writer.bytes(case);
    }
    writer.uint(entry.cost);
    write_state(writer, entry.state);
}

fn write_state(writer: &mut Writer<'_>, state: EntryState) {
    let parts = match state {
        EntryState::Waiting => [0, 0, 0],
        EntryState::Final { outcome, receipt } => [1, outcome.as_u64(), receipt.0],
        EntryState::Sent(code) => [2, code.as_u64(), 0],
        EntryState::Repeat => [3, 0, 0],
    };
    writer.array(parts.len());
    for part in parts {
        writer.uint(part);
    }
}

fn read(reader: &mut Reader<'_>) -> Result<StoredHead, CborError> {
    let Front { kind, queue, taken, due, body_segment } = read_front(reader)?;
    let count = reader.array()?;
    let mut entries = Vec::with_capacity(count.min(reader.remaining() / LEAST_ENTRY));
    for _ in 0..count {
        entries.push(read_entry(reader)?);
    }
    Ok(StoredHead { head: Head { kind, queue, taken, due, entries }, body_segment })
}

fn read_front(reader: &mut Reader<'_>) -> Result<Front, CborError> {
    reader.array_of(8, "head")?;
    reader.uint_to(VERSION, "version")?;
    let kind = match reader.uint_to(1, "kind")? {
        0 => Kind::Messages,
        _ => Kind::Receipts,
    };
    let waits_for = read_endpoints(reader)?;
    let queue = Queue { waits_for, class: read_class(reader)? };
    let (taken, due) = (UnixMs(reader.uint()?), UnixMs(reader.uint()?));
    Ok(Front { kind, queue, taken, due, body_segment: narrow(reader)? })
}

fn read_endpoints(reader: &mut Reader<'_>) -> Result<Arc<[EndpointId]>, CborError> {
    let count = reader.array()?;
    let mut endpoints = Vec::with_capacity(count.min(reader.remaining()));
    for _ in 0..count {
        endpoints.push(read_endpoint(reader)?);
    }
    Ok(endpoints.into())
}

fn read_endpoint(reader: &mut Reader<'_>) -> Result<EndpointId, CborError> {
    let text = reader.text()?;
    text.parse().map_err(|_| reader.fault(CborFault::Range("endpoint")))
}

fn read_class(reader: &mut Reader<'_>) -> Result<Class, CborError> {
    let number = reader.uint()?;
    Class::try_from(number).map_err(|_| reader.fault(CborFault::Range("class")))
}

fn read_entry(reader: &mut Reader<'_>) -> Result<HeadEntry, CborError> {
    reader.array_of(8, "entry")?;
    Ok(HeadEntry {
        index: narrow(reader)?,
        sender: read_endpoint(reader)?,
        message: MessageId(reader.fixed("id")?),
        leaf: Digest(reader.fixed("leaf")?),
        expires: UnixMs(reader.uint()?),
        case: match reader.array()? {
            0 => None,
            1 => Some(reader.bytes()?.into()),
            _ => return Err(reader.fault(CborFault::Range("case"))),
        },
        cost: reader.uint()?,
        state: read_state(reader)?,
    })
}

fn read_state(reader: &mut Reader<'_>) -> Result<EntryState, CborError> {
    reader.array_of(3, "state")?;
    let [kind, first, second] = [reader.uint()?, reader.uint()?, reader.uint()?];
    let outcome = || Outcome::try_from(first).map_err(|_| reader.fault(CborFault::Range("outcome")));
    match kind {
        0 => Ok(EntryState::Waiting),
        1 => Ok(EntryState::Final { outcome: outcome()?, receipt: RecordId(second) }),
        2 => Ok(EntryState::Sent(Code(first))),
        3 => Ok(EntryState::Repeat),
        _ => Err(reader.fault(CborFault::Range("state"))),
    }
}

fn narrow<T: TryFrom<u64>>(reader: &mut Reader<'_>) -> Result<T, CborError> {
    let number = reader.uint()?;
    T::try_from(number).map_err(|_| reader.fault(CborFault::Range("number")))
}

const VERSION: u64 = 1;
/// No entry is shorter, in bytes: bounds what a count makes room for.
const LEAST_ENTRY: usize = 60;

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(index: u16, state: EntryState) -> HeadEntry {
        HeadEntry {
            index,
            sender: "de/portal".parse().unwrap(),
            message: MessageId([index as u8; 16]),
            leaf: Digest([9; 32]),
            expires: UnixMs(1_700_000_000_000),
            case: index.is_multiple_of(2).then(|| Arc::from([1, 2, 3])),
            cost: 1_500,
            state,
        }
    }

    fn head() -> Head {
        let final_state = EntryState::Final { outcome: Outcome::Delivered, receipt: RecordId(9) };
        let states = [EntryState::Waiting, final_state, EntryState::Sent(Code::NOTED), EntryState::Repeat];
        Head {
            kind: Kind::Messages,
            queue: Queue {
                waits_for: Arc::from(["de/a".parse().unwrap(), "de/b".parse().unwrap()]),
                class: Class::Urgent,
            },
            taken: UnixMs(1),
            due: UnixMs(2),
            entries: (0..).zip(states).map(|(index, state)| entry(index, state)).collect(),
        }
    }

    #[test]
    fn a_head_reads_back_as_it_was_written() {
        for kind in [Kind::Messages, Kind::Receipts] {
            let head = Head { kind, ..head() };
            let bytes = encode(&head, 7);
            let front = decode_front(&bytes).unwrap();
            assert_eq!((&front.queue, front.due, front.body_segment), (&head.queue, head.due, 7));
            assert_eq!(decode(&bytes), Some(StoredHead { head, body_segment: 7 }));
        }
    }

    #[test]
    fn a_queue_reads_back_as_it_was_written() {
        let queue = head().queue;
        assert_eq!(decode_queue(&encode_queue(&queue)), Some(queue));
    }

    #[test]
    fn a_head_cut_anywhere_is_none() {
        let bytes = encode(&head(), 7);
        assert!((0..bytes.len()).all(|length| decode(&bytes[..length]).is_none()));
        assert!(decode(&[&bytes[..], &[0]].concat()).is_none());
    }
}
