//! What does a receipt's statement say? (WIRE 4.3)

use super::{Fields, LONGEST_RECEIPT, StatementError, StatementKind, required};
use crate::cbor::{MapWriter, Reader};
use crate::code::Outcome;
use crate::digest::Digest;
use crate::id::{DirectoryVersion, EndpointId, MessageId, Party};
use crate::time::UnixMs;
use crate::varint;

/// The longest problem, in bytes.
pub const LONGEST_PROBLEM: usize = 1_024;

/// Signed evidence of an outcome: delivered and rejected by the recipient, the others by a router.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// Key 1: the message.
    pub message: MessageId,
    /// Key 2: who signs.
    pub issuer: Party,
    /// Key 3: the original sender.
    pub addressee: EndpointId,
    /// Key 4: leaf hash of the message's statement.
    pub subject: Digest,
    /// Key 5: what became of it.
    pub outcome: Outcome,
    /// Key 6: why, 0 when there is nothing to say; below 2^62. Codes from 1,000 on belong to applications.
    pub code: u64,
    /// Key 7: the problem in words, 1 to 1,024 bytes; RFC 9457 JSON recommended. Personal: never log it.
    pub problem: Option<String>,
    /// Key 8: the directory version in which the issuer was responsible.
    pub directory_version: DirectoryVersion,
    /// Key 9: when it was issued.
    pub time: UnixMs,
}

impl Receipt {
    /// Reads a receipt statement of at most 2,048 bytes.
    ///
    /// # Errors
    /// Not deterministic, a field missing, of the wrong type or out of range, an unknown critical key, too long.
    pub fn parse(bytes: &[u8]) -> Result<Self, StatementError> {
        let (mut fields, mut keys) = Fields::open(bytes, LONGEST_RECEIPT, StatementKind::Receipt)?;
        let (mut message, mut issuer, mut addressee, mut subject) = (None, None, None, None);
        let (mut outcome, mut problem, mut directory_version, mut time) = (None, None, None, None);
        let mut code = 0;
        while let Some(key) = fields.next(&mut keys)? {
            match key {
                1 => message = Some(MessageId(fields.read("message id", |reader| reader.fixed("message id"))?)),
                2 => issuer = Some(fields.read_parsed::<Party>("issuer")?),
                3 => addressee = Some(fields.read_parsed::<EndpointId>("addressee")?),
                4 => subject = Some(Digest(fields.read("subject", |reader| reader.fixed("subject"))?)),
                5 => {
                    let number = fields.read("outcome", Reader::uint)?;
                    outcome = Some(Outcome::try_from(number).map_err(|_| fields.range("outcome"))?);
                }
                6 => code = fields.read_unless(&0, "code", |reader| reader.uint_to(varint::MAX, "code"))?,
                7 => {
                    problem =
                        Some(fields.read("problem", |reader| reader.text_to(LONGEST_PROBLEM, "problem"))?.to_owned())
                }
                8 => {
                    let digest = fields.read("directory version", |reader| reader.fixed("directory version"))?;
                    directory_version = Some(DirectoryVersion(Digest(digest)));
                }
                9 => time = Some(fields.read("time", Reader::time)?),
                _ => fields.read("unknown key", Reader::skip)?,
            }
        }
        fields.finish()?;
        Ok(Self {
            message: required(message, 1, "message id")?,
            issuer: required(issuer, 2, "issuer")?,
            addressee: required(addressee, 3, "addressee")?,
            subject: required(subject, 4, "subject")?,
            outcome: required(outcome, 5, "outcome")?,
            code,
            problem,
            directory_version: required(directory_version, 8, "directory version")?,
            time: required(time, 9, "time")?,
        })
    }

    /// The statement's bytes. Ranges are the caller's concern.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(256);
        let borrowed = ReceiptRef {
            message: self.message,
            issuer: self.issuer.as_str(),
            addressee: self.addressee.as_str(),
            subject: self.subject,
            outcome: self.outcome,
            code: self.code,
            problem: self.problem.as_deref(),
            directory_version: self.directory_version,
            time: self.time,
        };
        borrowed.encode_into(&mut out);
        out
    }
}

/// The fields of a [`Receipt`], borrowed: for writing many statements without copying what they share.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReceiptRef<'a> {
    pub message: MessageId,
    pub issuer: &'a str,
    pub addressee: &'a str,
    pub subject: Digest,
    pub outcome: Outcome,
    pub code: u64,
    pub problem: Option<&'a str>,
    pub directory_version: DirectoryVersion,
    pub time: UnixMs,
}

impl ReceiptRef<'_> {
    /// Appends the statement's bytes.
    pub(crate) fn encode_into(&self, out: &mut Vec<u8>) {
        let mut map = MapWriter::new(out);
        map.key(0).uint(StatementKind::Receipt as u64);
        map.key(1).bytes(&self.message.0);
        map.key(2).text(self.issuer);
        map.key(3).text(self.addressee);
        map.key(4).bytes(&self.subject.0);
        map.key(5).uint(self.outcome.as_u64());
        if self.code != 0 {
            map.key(6).uint(self.code);
        }
        if let Some(problem) = self.problem {
            map.key(7).text(problem);
        }
        map.key(8).bytes(&self.directory_version.0.0);
        map.key(9).uint(self.time.0);
        map.finish();
    }
}
