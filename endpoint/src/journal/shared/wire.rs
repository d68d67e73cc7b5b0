//! What is said over the socket of a shared journal: frames of a 4-byte big-endian length and a deterministic CBOR array.
//!
//! ```text
//! [1, version, holder 16 bytes]              --> [1, version, journal id 16 bytes]
//! [2, [[sender, message id], …]]             --> [2, [false (yours) | true (elsewhere) | verdict, …]]
//! [3, [[sender, message id, verdict], …]]    --> [3, [true (durable) | false (another process decided), …]]
//! [4, [[sender, message id], …]]             --> [4]
//!                                                [5, why] instead of an answer: it failed
//! ```
//! A verdict is a byte string in the layout of the journal's records. Bounds: frames of 1 MiB, 512 items in each.

use kernpost_codecs::cbor::{CborError, CborFault, Reader, Writer};
use kernpost_codecs::{EndpointId, MessageId};

/// The version of this protocol.
pub(super) const VERSION: u64 = 1;
/// Longest frame, bytes.
pub(super) const LONGEST_FRAME: usize = 1 << 20;
/// Most items in a frame.
pub(super) const MOST_ITEMS: usize = 512;
/// Longest verdict: its fixed part and the longest problem.
const LONGEST_VERDICT: usize = 2_048;
const LONGEST_WHY: usize = 1_024;

/// A message, by sender and id.
pub(super) type Identity = (EndpointId, MessageId);

/// What a process says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Request {
    Hello { version: u64, holder: [u8; 16] },
    LookUp(Vec<Identity>),
    Record(Vec<(Identity, Vec<u8>)>),
    Release(Vec<Identity>),
}

/// What is known of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Looked {
    /// Nothing: reserved for who asked.
    Yours,
    /// Reserved for another process.
    Elsewhere,
    /// Decided.
    Verdict(Vec<u8>),
}

/// What the journal answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    Hello { version: u64, journal: [u8; 16] },
    Looked(Vec<Looked>),
    Recorded(Vec<bool>),
    Released,
    Failed(String),
}

impl Request {
    pub fn encode(&self) -> Vec<u8> {
        framed(|writer| match self {
            Self::Hello { version, holder } => {
                writer.array(3);
                writer.uint(1);
                writer.uint(*version);
                writer.bytes(holder);
            }
            Self::LookUp(identities) => put_identities(writer, 2, identities),
            Self::Record(records) => {
                writer.array(2);
                writer.uint(3);
                writer.array(records.len());
                for ((sender, message), verdict) in records {
                    writer.array(3);
                    writer.text(sender.as_str());
                    writer.bytes(&message.0);
                    writer.bytes(verdict);
                }
            }
            Self::Release(identities) => put_identities(writer, 4, identities),
        })
    }

    pub fn decode(body: &[u8]) -> Result<Self, CborError> {
        let mut reader = Reader::new(body);
        let length = reader.array()?;
        let request = match (reader.uint()?, length) {
            (1, 3) => Self::Hello { version: reader.uint()?, holder: reader.fixed("holder")? },
            (2, 2) => Self::LookUp(read_items(&mut reader, read_pair)?),
            (3, 2) => Self::Record(read_items(&mut reader, |reader| {
                reader.array_of(3, "record")?;
                let identity = read_identity(reader)?;
                Ok((identity, reader.bytes_to(LONGEST_VERDICT, "verdict")?.to_vec()))
            })?),
            (4, 2) => Self::Release(read_items(&mut reader, read_pair)?),
            _ => return Err(reader.fault(CborFault::Range("request"))),
        };
        reader.finish()?;
        Ok(request)
    }
}

impl Answer {
    pub fn encode(&self) -> Vec<u8> {
        framed(|writer| match self {
            Self::Hello { version, journal } => {
                writer.array(3);
                writer.uint(1);
                writer.uint(*version);
                writer.bytes(journal);
            }
            Self::Looked(looked) => {
                writer.array(2);
                writer.uint(2);
                writer.array(looked.len());
                for one in looked {
                    match one {
                        Looked::Yours => writer.bool(false),
                        Looked::Elsewhere => writer.bool(true),
                        Looked::Verdict(verdict) => writer.bytes(verdict),
                    }
                }
            }
            Self::Recorded(durable) => {
                writer.array(2);
                writer.uint(3);
                writer.array(durable.len());
                durable.iter().for_each(|durable| writer.bool(*durable));
            }
            Self::Released => {
                writer.array(1);
                writer.uint(4);
            }
            Self::Failed(why) => {
                writer.array(2);
                writer.uint(5);
                let end = (0..=LONGEST_WHY.min(why.len())).rev().find(|end| why.is_char_boundary(*end)).unwrap_or(0);
                writer.text(why.get(..end).unwrap_or_default());
            }
        })
    }

    pub fn decode(body: &[u8]) -> Result<Self, CborError> {
        let mut reader = Reader::new(body);
        let length = reader.array()?;
        let answer = match (reader.uint()?, length) {
            (1, 3) => Self::Hello { version: reader.uint()?, journal: reader.fixed("journal id")? },
            (2, 2) => Self::Looked(read_items(&mut reader, read_looked)?),
            (3, 2) => Self::Recorded(read_items(&mut reader, |reader| reader.bool())?),
            (4, 1) => Self::Released,
            (5, 2) => Self::Failed(reader.text_to(LONGEST_WHY, "why")?.to_owned()),
            _ => return Err(reader.fault(CborFault::Range("answer"))),
        };
        reader.finish()?;
        Ok(answer)
    }
}

fn framed(write: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut out = vec![0; 4];
    write(&mut Writer::new(&mut out));
    let length = u32::try_from(out.len() - 4).unwrap_or(u32::MAX).to_be_bytes();
    out.splice(..4, length);
    out
}

/// The length of the body that follows; `None` when it is beyond the bound.
pub(super) fn body_length(head: [u8; 4]) -> Option<usize> {
    usize::try_from(u32::from_be_bytes(head)).ok().filter(|length| *length <= LONGEST_FRAME)
}

fn put_identities(writer: &mut Writer<'_>, kind: u64, identities: &[Identity]) {
    writer.array(2);
    writer.uint(kind);
    writer.array(identities.len());
    for (sender, message) in identities {
        writer.array(2);
        writer.text(sender.as_str());
        writer.bytes(&message.0);
    }
}

fn read_items<T>(
    reader: &mut Reader<'_>,
    read: impl Fn(&mut Reader<'_>) -> Result<T, CborError>,
) -> Result<Vec<T>, CborError> {
    let count = reader.array()?;
    if count > MOST_ITEMS {
        return Err(reader.fault(CborFault::Range("number of items")));
    }
    (0..count).map(|_| read(reader)).collect()
}

fn read_pair(reader: &mut Reader<'_>) -> Result<Identity, CborError> {
    reader.array_of(2, "message")?;
    read_identity(reader)
}

fn read_identity(reader: &mut Reader<'_>) -> Result<Identity, CborError> {
    let sender = reader.text_to(64, "sender")?.parse().map_err(|_| reader.fault(CborFault::Range("sender")))?;
    Ok((sender, MessageId(reader.fixed("message id")?)))
}

fn read_looked(reader: &mut Reader<'_>) -> Result<Looked, CborError> {
    let mut ahead = reader.clone();
    if let Ok(elsewhere) = ahead.bool() {
        *reader = ahead;
        return Ok(if elsewhere { Looked::Elsewhere } else { Looked::Yours });
    }
    Ok(Looked::Verdict(reader.bytes_to(LONGEST_VERDICT, "verdict")?.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(n: u8) -> Identity {
        ("de/portal".parse().unwrap(), MessageId([n; 16]))
    }

    #[test]
    fn requests_and_answers_are_read_as_they_were_written() {
        let requests = [
            Request::Hello { version: 1, holder: [7; 16] },
            Request::LookUp(vec![identity(1), identity(2)]),
            Request::Record(vec![(identity(1), vec![1, 2, 3])]),
            Request::Release(vec![identity(3)]),
        ];
        for request in requests {
            assert_eq!(Request::decode(&request.encode()[4..]).unwrap(), request);
        }
        let answers = [
            Answer::Hello { version: 1, journal: [7; 16] },
            Answer::Looked(vec![Looked::Yours, Looked::Elsewhere, Looked::Verdict(vec![1])]),
            Answer::Recorded(vec![true, false]),
            Answer::Released,
            Answer::Failed("no space".to_owned()),
        ];
        for answer in answers {
            assert_eq!(Answer::decode(&answer.encode()[4..]).unwrap(), answer);
        }
    }

    #[test]
    fn what_is_too_long_or_torn_is_not_read() {
        assert_eq!(body_length(u32::MAX.to_be_bytes()), None);
        let many = Request::LookUp((0..=255).chain(0..=255).chain(0..1).map(identity).collect());
        assert!(Request::decode(&many.encode()[4..]).is_err());
        let good = Request::LookUp(vec![identity(1)]).encode();
        assert!((5..good.len()).all(|end| Request::decode(&good[4..end]).is_err()));
    }
}
