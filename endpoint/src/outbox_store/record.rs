//! How is a message with its outcome written down? As a deterministic CBOR map with a version, read strictly.
//!
//! | key | record | outcome |
//! |---|---|---|
//! | 0 | version, 1 | – |
//! | 1 | statement | name of the outcome |
//! | 2 | digest of the content, for its idempotency key | code |
//! | 3 | whether it ended | problem |
//! | 4 | outcome | what a router added |
//! | 5 | contradicting outcome | attempts |
//! | 6 | idempotency key | proof file (WIRE 5.7) |
//! | 7, 8, 9 | path, length and digest of the file with the payload | issuer (7) |
//! | 10 | forget after, Unix ms | – |
//! | 11 | bytes it counts with | – |

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use bytes::Bytes;
use kernpost_codecs::archive::ProofFile;
use kernpost_codecs::cbor::{MapWriter, Reader, Writer};
use kernpost_codecs::digest::Digest;
use kernpost_codecs::statement::{LONGEST_STATEMENT, MessageRef};
use kernpost_codecs::{Code, Party, UnixMs};

use crate::core::{FinalOutcome, PayloadFile, ReceiptProof, SendOutcome};

const VERSION: u64 = 1;
/// Longest texts, keys, paths and proofs read.
const LONGEST_TEXT: usize = 4_096;
const LONGEST_OUTCOME: usize = 65_536;

/// A message as it is written.
#[derive(Debug, Clone)]
pub(super) struct Record {
    pub statement: Bytes,
    pub content: Digest,
    pub is_final: bool,
    pub outcome: Option<SendOutcome>,
    pub contradiction: Option<SendOutcome>,
    pub key: Option<Bytes>,
    pub file: Option<PayloadFile>,
    pub forget_after: Option<UnixMs>,
    /// What it counts with while it is open.
    pub bytes: u64,
}

impl Record {
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(256 + self.statement.len());
        let mut map = MapWriter::new(&mut out);
        map.key(0).uint(VERSION);
        map.key(1).bytes(&self.statement);
        map.key(2).bytes(&self.content.0);
        map.key(3).bool(self.is_final);
        if let Some(outcome) = &self.outcome {
            map.key(4).bytes(&encode_outcome(outcome));
        }
        if let Some(outcome) = &self.contradiction {
            map.key(5).bytes(&encode_outcome(outcome));
        }
        if let Some(key) = &self.key {
            map.key(6).bytes(key);
        }
        if let Some(file) = &self.file {
            map.key(7).bytes(file.path.as_os_str().as_bytes());
            map.key(8).uint(file.length);
            map.key(9).bytes(&file.digest.0);
        }
        if let Some(at) = self.forget_after {
            map.key(10).uint(at.0);
        }
        map.key(11).uint(self.bytes);
        map.finish();
        out
    }

    /// Reads a record; `None` when it is damaged or of another version.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let mut keys = reader.map().ok()?;
        let (mut version, mut statement, mut content, mut is_final) = (0, None, None, false);
        let (mut outcome, mut contradiction, mut key) = (None, None, None);
        let (mut path, mut length, mut digest, mut forget_after, mut counted) = (None, 0, None, None, 0);
        while let Some(field) = keys.next(&mut reader).ok()? {
            match field {
                0 => version = reader.uint().ok()?,
                1 => statement = Some(Bytes::copy_from_slice(reader.bytes_to(LONGEST_STATEMENT, "statement").ok()?)),
                2 => content = Some(Digest(reader.fixed("content").ok()?)),
                3 => is_final = reader.bool().ok()?,
                4 => outcome = Some(reader.bytes_to(LONGEST_OUTCOME, "outcome").ok()?.to_vec()),
                5 => contradiction = Some(reader.bytes_to(LONGEST_OUTCOME, "outcome").ok()?.to_vec()),
                6 => key = Some(Bytes::copy_from_slice(reader.bytes_to(LONGEST_TEXT, "key").ok()?)),
                7 => path = Some(PathBuf::from(OsStr::from_bytes(reader.bytes_to(LONGEST_TEXT, "path").ok()?))),
                8 => length = reader.uint().ok()?,
                9 => digest = Some(Digest(reader.fixed("digest").ok()?)),
                10 => forget_after = Some(UnixMs(reader.uint().ok()?)),
                11 => counted = reader.uint().ok()?,
                _ => reader.skip().ok()?,
            }
        }
        reader.finish().ok().filter(|()| version == VERSION)?;
        let statement = statement?;
        let read = |bytes: Option<Vec<u8>>| match bytes {
            Some(bytes) => decode_outcome(&bytes, &statement).map(Some),
            None => Some(None),
        };
        let (outcome, contradiction) = (read(outcome)?, read(contradiction)?);
        let file = match (path, digest) {
            (Some(path), Some(digest)) => Some(PayloadFile { path, length, digest }),
            _ => None,
        };
        let content = content?;
        Some(Self { statement, content, is_final, outcome, contradiction, key, file, forget_after, bytes: counted })
    }
}

fn encode_outcome(outcome: &SendOutcome) -> Vec<u8> {
    let mut out = Vec::new();
    let mut map = MapWriter::new(&mut out);
    map.key(1).text(outcome.outcome.name());
    map.key(2).uint(outcome.code.as_u64());
    let put = |writer: &mut Writer<'_>, text: &str| writer.text(text);
    if let Some(problem) = &outcome.problem {
        put(map.key(3), problem);
    }
    if let Some(text) = &outcome.text {
        put(map.key(4), text);
    }
    map.key(5).uint(outcome.attempts.into());
    if let Some(proof) = &outcome.proof {
        map.key(6).bytes(&proof.to_file().encode());
    }
    if let Some(issuer) = &outcome.issuer {
        put(map.key(7), issuer.as_str());
    }
    map.finish();
    out
}

fn decode_outcome(bytes: &[u8], statement: &Bytes) -> Option<SendOutcome> {
    let mut reader = Reader::new(bytes);
    let mut keys = reader.map().ok()?;
    let (mut outcome, mut code, mut problem, mut text, mut attempts) = (None, 0, None, None, 0);
    let (mut proof, mut issuer) = (None, None);
    while let Some(field) = keys.next(&mut reader).ok()? {
        match field {
            1 => outcome = FinalOutcome::from_name(reader.text_to(LONGEST_TEXT, "outcome").ok()?),
            2 => code = reader.uint().ok()?,
            3 => problem = Some(reader.text_to(LONGEST_TEXT, "problem").ok()?.to_owned()),
            4 => text = Some(reader.text_to(LONGEST_TEXT, "text").ok()?.to_owned()),
            5 => attempts = u32::try_from(reader.uint().ok()?).ok()?,
            6 => proof = Some(ProofFile::parse(reader.bytes_to(LONGEST_OUTCOME, "proof").ok()?).ok()?),
            7 => issuer = Some(reader.text_to(LONGEST_TEXT, "issuer").ok()?.parse::<Party>().ok()?),
            _ => reader.skip().ok()?,
        }
    }
    reader.finish().ok()?;
    let proof = match proof {
        Some(file) => Some(ReceiptProof::from_file(file).ok()?),
        None => None,
    };
    Some(SendOutcome {
        outcome: outcome?,
        id: MessageRef::parse(statement).ok()?.id,
        code: Code(code),
        problem,
        text,
        issuer,
        attempts,
        proof,
        statement: statement.clone(),
    })
}
