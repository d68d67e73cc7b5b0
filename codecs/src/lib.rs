//! What do the bytes of Kernpost mean?
//!
//! Identifiers, statements, bundles, frames and proofs of the wire protocol, as `codecs/WIRE.md` fixes them; clauses are
//! quoted as `WIRE 4.3`. No IO, no clock, no runtime; no randomness but in making keys and ECDSA signatures. Time and
//! random ids are arguments.
//!
//! Decoding is strict (one encoding for every value), in place where it can be, never panics and never allocates more
//! than a declared, checked length. Encoding trusts its caller.
//!
//! From the inside out: [`varint`] and [`cbor`] are the two ways to write a number; [`id`], [`service_key`],
//! [`jurisdiction`], [`time`], [`class`], [`code`] and [`digest`] are the words; [`statement`] is what gets signed,
//! [`tree`], [`key`] and [`root`] how; [`frame`] and [`control`], [`part`], [`receipts`] and [`settlement`] are what
//! travels, [`credit`] says how much of it may; [`attach`] is an endpoint's word for a link, [`archive`] proof for others.

pub mod archive;
pub mod attach;
mod body;
pub mod cbor;
pub mod class;
pub mod code;
pub mod control;
pub mod credit;
pub mod digest;
mod digits;
pub mod frame;
pub mod id;
pub mod jurisdiction;
pub mod key;
pub mod part;
pub mod payload;
pub mod receipts;
pub mod root;
pub mod service_key;
pub mod settlement;
pub mod statement;
pub mod time;
pub mod tree;
pub mod varint;

pub use archive::{ArchiveError, ArchiveFacts, CoseReceipt, ProofFile, Proven};
pub use attach::{AttachToken, TokenError};
pub use class::Class;
pub use code::{CloseCode, Code, Fault, FrameFault, Outcome, Retry};
pub use control::{ControlFrame, Hello, Role};
pub use credit::{Allowance, Granted};
pub use digest::Digest;
pub use digits::DigitsError;
pub use frame::{Frame, FrameDecoder, LaneKind};
pub use id::{
    DirectoryVersion, EndpointId, IdError, IdFault, LinkIdentity, MessageId, Party, RouterId, ZoneId, ZoneVersion,
};
pub use jurisdiction::{Ags, Ars, JurisdictionError, JurisdictionLevel, JurisdictionPrefix};
pub use key::{Algorithm, KeyError, KeyId, PublicKey, SigningKey};
pub use part::{BundleBuilder, Entry, HopHeader, Part, PartError};
pub use payload::{PayloadHead, PayloadHeadReader};
pub use receipts::{RebuiltReceipts, ReceiptEntry, ReceiptsBuilder, ReceiptsFrame, Subject};
pub use root::{RootFault, RootSignature, SignError};
pub use service_key::{ServiceKey, ServiceKeyError, ServiceLevel, ServicePrefix};
pub use settlement::{Detail, Label, Range, Settle, SettlementFrame};
pub use statement::{
    Assurance, Attachment, ContentType, ContentTypeRef, Message, MessageRef, Receipt, StatementError, StatementKind,
};
pub use time::{SKEW_MS, UnixMs};
pub use tree::{PartialTree, ProofFault, Tree, leaf_hash};
