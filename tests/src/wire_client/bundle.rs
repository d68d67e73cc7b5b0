//! A BUNDLE body laid out by hand after the table of WIRE 6.

use kernpost_codecs::root::sign_root;
use kernpost_codecs::{Digest, EndpointId, Message, RootSignature, SigningKey, Tree, leaf_hash, varint};

/// A statement and its payload, as sent.
#[derive(Debug, Clone)]
pub struct Letter {
    /// The statement's bytes.
    pub statement: Vec<u8>,
    /// The payload.
    pub payload: Vec<u8>,
}

impl Letter {
    /// The message with this payload.
    pub fn new(message: Message, payload: &[u8]) -> Self {
        Self { statement: message.with_payload(payload).encode(), payload: payload.to_vec() }
    }

    /// The message as it stands, whatever the payload.
    pub fn as_is(message: &Message, payload: &[u8]) -> Self {
        Self { statement: message.encode(), payload: payload.to_vec() }
    }
}

/// A part of a tree; every field may be wrong.
#[derive(Debug, Clone)]
pub struct RawBundle {
    /// Leaves of the tree.
    pub tree_size: u64,
    /// Signatures of its root.
    pub signatures: Vec<RootSignature>,
    /// The entries that travel.
    pub entries: Vec<RawEntry>,
    /// Hashes that stand for the others.
    pub siblings: Vec<Digest>,
}

/// One entry.
#[derive(Debug, Clone)]
pub struct RawEntry {
    /// Its leaf.
    pub index: u64,
    /// Flags of WIRE 6.1.
    pub flags: u8,
    /// Routers passed.
    pub hops: u8,
    /// The endpoint chosen at ingress.
    pub recipient: Option<EndpointId>,
    /// The statement's bytes.
    pub statement: Vec<u8>,
    /// The payload.
    pub payload: Vec<u8>,
}

impl RawBundle {
    /// A whole tree, signed.
    pub fn signed(key: &SigningKey, letters: &[Letter]) -> Self {
        let leaves: Vec<Digest> = letters.iter().map(|letter| leaf_hash(&letter.statement)).collect();
        let tree = Tree::new(&leaves).unwrap();
        let entries = (0..).zip(letters).map(|(index, letter)| RawEntry {
            index,
            flags: 0,
            hops: 0,
            recipient: None,
            statement: letter.statement.clone(),
            payload: letter.payload.clone(),
        });
        Self {
            tree_size: tree.size().into(),
            signatures: vec![sign_root(key, &tree.root()).unwrap()],
            entries: entries.collect(),
            siblings: Vec::new(),
        }
    }

    /// The part with only these entries of a whole tree, with the right siblings.
    #[must_use]
    pub fn only(&self, indices: &[u16]) -> Self {
        let leaves: Vec<Digest> = self.entries.iter().map(|entry| leaf_hash(&entry.statement)).collect();
        let siblings = Tree::new(&leaves).unwrap().into_partial().multi_proof(indices).unwrap();
        let kept = self.entries.iter().filter(|entry| indices.iter().any(|index| u64::from(*index) == entry.index));
        Self { entries: kept.cloned().collect(), siblings, ..self.clone() }
    }

    /// The same as a router passes it on to `recipient`.
    #[must_use]
    pub fn passed_on(mut self, hops: u8, recipient: &EndpointId) -> Self {
        for entry in &mut self.entries {
            (entry.hops, entry.recipient) = (hops, Some(recipient.clone()));
        }
        self
    }

    /// What it takes of the receiver's credit: entries and bytes (WIRE 7.1).
    pub fn cost(&self) -> (u64, u64) {
        let bytes = self.entries.iter().map(|entry| entry.statement.len() + entry.payload.len() + 256);
        (self.entries.len() as u64, bytes.sum::<usize>() as u64)
    }

    /// The frame's body.
    pub fn body(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let number = |out: &mut Vec<u8>, value: u64| varint::encode(out, value);
        number(&mut out, self.tree_size);
        number(&mut out, self.signatures.len() as u64);
        for signature in &self.signatures {
            for bytes in [&signature.protected, &signature.signature] {
                number(&mut out, bytes.len() as u64);
                out.extend_from_slice(bytes);
            }
        }
        number(&mut out, self.entries.len() as u64);
        for entry in &self.entries {
            number(&mut out, entry.index);
            out.extend([entry.flags, entry.hops]);
            let recipient = entry.recipient.as_ref().map(|id| id.as_str().as_bytes());
            number(&mut out, recipient.map_or(0, |id| id.len() as u64 + 1));
            out.extend_from_slice(recipient.unwrap_or_default());
            number(&mut out, entry.statement.len() as u64);
            number(&mut out, entry.payload.len() as u64);
        }
        for entry in &self.entries {
            out.extend_from_slice(&entry.statement);
            out.extend_from_slice(&entry.payload);
        }
        number(&mut out, self.siblings.len() as u64);
        self.siblings.iter().for_each(|hash| out.extend_from_slice(&hash.0));
        out
    }
}
