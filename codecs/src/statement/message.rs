//! What does a message's statement say? (WIRE 4.2)
//!
//! [`MessageRef`] reads the statement in place and checks every field's form; [`Message`] is what a sender fills in.

use bytes::Bytes;

use super::{Assurance, Fields, LONGEST_STATEMENT, StatementError, StatementKind, required};
use crate::cbor::{CborError, CborFault, MapWriter, Reader};
use crate::class::Class;
use crate::digest::Digest;
use crate::id::{DirectoryVersion, EndpointId, MessageId};
use crate::jurisdiction::Ars;
use crate::service_key::ServiceKey;
use crate::time::UnixMs;

/// The longest lifetime and the default, in seconds: 30 days.
pub const LONGEST_LIFETIME_S: u32 = 2_592_000;
/// The longest payload, in bytes: 2 GiB.
pub const LONGEST_PAYLOAD: u64 = 2 << 30;
/// The longest case id, in bytes.
pub const LONGEST_CASE: usize = 32;
/// The longest mailbox handle, in bytes.
pub const LONGEST_MAILBOX: usize = 64;
/// The longest content type given as text, in bytes.
pub const LONGEST_CONTENT_TYPE: usize = 64;
/// The default content type, application/octet-stream, as a CoAP content-format.
pub const CONTENT_OCTET_STREAM: u16 = 42;

/// The type of a payload, in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ContentTypeRef<'a> {
    /// A CoAP content-format (RFC 7252 §12.3).
    Format(u16),
    /// A media type of 1 to 64 bytes.
    Text(&'a str),
}

/// The type of a payload.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ContentType {
    /// A CoAP content-format (RFC 7252 §12.3).
    Format(u16),
    /// A media type of 1 to 64 bytes.
    Text(String),
}

impl Default for ContentType {
    fn default() -> Self {
        Self::Format(CONTENT_OCTET_STREAM)
    }
}

impl ContentType {
    /// The same in place.
    #[must_use]
    pub fn as_ref(&self) -> ContentTypeRef<'_> {
        match self {
            Self::Format(format) => ContentTypeRef::Format(*format),
            Self::Text(text) => ContentTypeRef::Text(text),
        }
    }
}

impl From<ContentTypeRef<'_>> for ContentType {
    fn from(content_type: ContentTypeRef<'_>) -> Self {
        match content_type {
            ContentTypeRef::Format(format) => Self::Format(format),
            ContentTypeRef::Text(text) => Self::Text(text.to_owned()),
        }
    }
}

/// A message statement read in place. Every field has the form WIRE 4.2 asks for; nothing is verified beyond form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct MessageRef<'a> {
    /// Key 1: the id, unique for its sender.
    pub id: MessageId,
    /// Key 2: the endpoint that signs; a well-formed endpoint id.
    pub sender: &'a str,
    /// Key 3: what is asked for.
    pub service: ServiceKey,
    /// Key 4: where.
    pub jurisdiction: Ars,
    /// Key 5: the explicit recipient, a well-formed endpoint id; the route key then only informs.
    pub recipient: Option<&'a str>,
    /// Key 6: when it was made.
    pub created: UnixMs,
    /// Key 7: seconds from created to expiry, 1 to 2,592,000.
    pub lifetime_s: u32,
    /// Key 8: priority class.
    pub class: Class,
    /// Key 9: SHA-256 of the payload as carried.
    pub payload_digest: Digest,
    /// Key 10: payload length in bytes, at most 2 GiB.
    pub payload_len: u64,
    /// Key 11: type of the payload.
    pub content_type: ContentTypeRef<'a>,
    /// Key 12: case id, 1 to 32 opaque bytes. Personal: never log it.
    pub case: Option<&'a [u8]>,
    /// Key 13: the message this one answers.
    pub in_reply_to: Option<MessageId>,
    /// Key 14: asserted level of assurance.
    pub assurance: Option<Assurance>,
    /// Key 15: whether a router may take custody.
    pub custody_allowed: bool,
    /// Key 16: the directory version the sender held.
    pub directory_version: DirectoryVersion,
    /// Key 17: mailbox handle, 1 to 64 opaque bytes, repeated in replies. Personal: never log it.
    pub mailbox: Option<&'a [u8]>,
    /// Key 18: the encryption key the payload is encrypted for.
    pub encryption_key: Option<Digest>,
}

impl<'a> MessageRef<'a> {
    /// Reads a statement of at most 1,024 bytes.
    ///
    /// # Errors
    /// Not deterministic, a field missing, of the wrong type or out of range, an unknown critical key, too long.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, StatementError> {
        let (mut fields, mut keys) = Fields::open(bytes, LONGEST_STATEMENT, StatementKind::Message)?;
        let (mut id, mut sender, mut service, mut jurisdiction) = (None, None, None, None);
        let (mut created, mut payload_digest, mut directory_version) = (None, None, None);
        let (mut recipient, mut case, mut in_reply_to, mut assurance) = (None, None, None, None);
        let (mut mailbox, mut encryption_key) = (None, None);
        let (mut lifetime_s, mut class, mut payload_len) = (LONGEST_LIFETIME_S, Class::default(), 0);
        let mut content_type = ContentTypeRef::Format(CONTENT_OCTET_STREAM);
        let mut custody_allowed = true;

        while let Some(key) = fields.next(&mut keys)? {
            match key {
                1 => id = Some(MessageId(fields.read("message id", |reader| reader.fixed("message id"))?)),
                2 => sender = Some(fields.read_id("sender", EndpointId::check)?),
                3 => {
                    let value = fields.read("service key", Reader::uint)?;
                    service = Some(ServiceKey::try_from(value).map_err(|_| fields.range("service key"))?);
                }
                4 => {
                    let value = fields.read("jurisdiction", Reader::uint)?;
                    jurisdiction = Some(Ars::try_from(value).map_err(|_| fields.range("jurisdiction"))?);
                }
                5 => recipient = Some(fields.read_id("recipient", EndpointId::check)?),
                6 => created = Some(fields.read("created", Reader::time)?),
                7 => lifetime_s = fields.read_unless(&LONGEST_LIFETIME_S, "lifetime", read_lifetime)?,
                8 => class = fields.read_unless(&Class::default(), "priority class", read_class)?,
                9 => {
                    payload_digest =
                        Some(Digest(fields.read("payload digest", |reader| reader.fixed("payload digest"))?))
                }
                10 => payload_len = fields.read_unless(&0, "payload length", read_payload_len)?,
                11 => {
                    let default = ContentTypeRef::Format(CONTENT_OCTET_STREAM);
                    content_type = fields.read_unless(&default, "content type", read_content_type)?;
                }
                12 => case = Some(fields.read("case id", |reader| reader.bytes_to(LONGEST_CASE, "case id"))?),
                13 => in_reply_to = Some(MessageId(fields.read("in-reply-to", |reader| reader.fixed("in-reply-to"))?)),
                14 => {
                    let value = fields.read("assurance", Reader::uint)?;
                    assurance = Some(Assurance::from_u64(value).ok_or_else(|| fields.range("assurance"))?);
                }
                15 => custody_allowed = fields.read_unless(&true, "custody allowed", Reader::bool)?,
                16 => {
                    let digest = fields.read("directory version", |reader| reader.fixed("directory version"))?;
                    directory_version = Some(DirectoryVersion(Digest(digest)));
                }
                17 => mailbox = Some(fields.read("mailbox", |reader| reader.bytes_to(LONGEST_MAILBOX, "mailbox"))?),
                18 => {
                    encryption_key =
                        Some(Digest(fields.read("encryption key", |reader| reader.fixed("encryption key"))?))
                }
                _ => fields.read("unknown key", Reader::skip)?,
            }
        }
        fields.finish()?;
        Ok(Self {
            id: required(id, 1, "message id")?,
            sender: required(sender, 2, "sender")?,
            service: required(service, 3, "service key")?,
            jurisdiction: required(jurisdiction, 4, "jurisdiction")?,
            recipient,
            created: required(created, 6, "created")?,
            lifetime_s,
            class,
            payload_digest: required(payload_digest, 9, "payload digest")?,
            payload_len,
            content_type,
            case,
            in_reply_to,
            assurance,
            custody_allowed,
            directory_version: required(directory_version, 16, "directory version")?,
            mailbox,
            encryption_key,
        })
    }

    /// When the message expires: created + lifetime.
    #[must_use]
    pub fn expires(&self) -> UnixMs {
        self.created.plus_s(u64::from(self.lifetime_s))
    }

    /// The same with memory of its own.
    #[must_use]
    pub fn to_owned(&self) -> Message {
        Message {
            id: self.id,
            sender: EndpointId::from_checked(self.sender),
            service: self.service,
            jurisdiction: self.jurisdiction,
            recipient: self.recipient.map(EndpointId::from_checked),
            created: self.created,
            lifetime_s: self.lifetime_s,
            class: self.class,
            payload_digest: self.payload_digest,
            payload_len: self.payload_len,
            content_type: self.content_type.into(),
            case: self.case.map(Bytes::copy_from_slice),
            in_reply_to: self.in_reply_to,
            assurance: self.assurance,
            custody_allowed: self.custody_allowed,
            directory_version: self.directory_version,
            mailbox: self.mailbox.map(Bytes::copy_from_slice),
            encryption_key: self.encryption_key,
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "bounded by LONGEST_LIFETIME_S")]
fn read_lifetime(reader: &mut Reader<'_>) -> Result<u32, CborError> {
    let seconds = reader.uint_to(u64::from(LONGEST_LIFETIME_S), "lifetime")? as u32;
    if seconds == 0 { Err(reader.fault(CborFault::Range("lifetime"))) } else { Ok(seconds) }
}

fn read_class(reader: &mut Reader<'_>) -> Result<Class, CborError> {
    let number = reader.uint()?;
    Class::try_from(number).map_err(|_| reader.fault(CborFault::Range("priority class")))
}

fn read_payload_len(reader: &mut Reader<'_>) -> Result<u64, CborError> {
    reader.uint_to(LONGEST_PAYLOAD, "payload length")
}

#[expect(clippy::cast_possible_truncation, reason = "bounded by u16::MAX")]
fn read_content_type<'a>(reader: &mut Reader<'a>) -> Result<ContentTypeRef<'a>, CborError> {
    if reader.is_text() {
        return reader.text_to(LONGEST_CONTENT_TYPE, "content type").map(ContentTypeRef::Text);
    }
    reader.uint_to(u64::from(u16::MAX), "content type").map(|format| ContentTypeRef::Format(format as u16))
}

/// A message statement to be signed. Fields as in [`MessageRef`], where their ranges are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Key 1.
    pub id: MessageId,
    /// Key 2.
    pub sender: EndpointId,
    /// Key 3.
    pub service: ServiceKey,
    /// Key 4.
    pub jurisdiction: Ars,
    /// Key 5.
    pub recipient: Option<EndpointId>,
    /// Key 6.
    pub created: UnixMs,
    /// Key 7, in seconds.
    pub lifetime_s: u32,
    /// Key 8.
    pub class: Class,
    /// Key 9.
    pub payload_digest: Digest,
    /// Key 10, in bytes.
    pub payload_len: u64,
    /// Key 11.
    pub content_type: ContentType,
    /// Key 12.
    pub case: Option<Bytes>,
    /// Key 13.
    pub in_reply_to: Option<MessageId>,
    /// Key 14.
    pub assurance: Option<Assurance>,
    /// Key 15.
    pub custody_allowed: bool,
    /// Key 16.
    pub directory_version: DirectoryVersion,
    /// Key 17.
    pub mailbox: Option<Bytes>,
    /// Key 18.
    pub encryption_key: Option<Digest>,
}

impl Message {
    /// A message with every optional field absent or at its default, and an empty payload.
    #[must_use]
    pub fn new(
        id: MessageId,
        sender: EndpointId,
        service: ServiceKey,
        jurisdiction: Ars,
        created: UnixMs,
        directory_version: DirectoryVersion,
    ) -> Self {
        Self {
            id,
            sender,
            service,
            jurisdiction,
            recipient: None,
            created,
            lifetime_s: LONGEST_LIFETIME_S,
            class: Class::default(),
            payload_digest: Digest::of(&[]),
            payload_len: 0,
            content_type: ContentType::default(),
            case: None,
            in_reply_to: None,
            assurance: None,
            custody_allowed: true,
            directory_version,
            mailbox: None,
            encryption_key: None,
        }
    }

    /// The same message for this payload, as carried.
    #[must_use]
    pub fn with_payload(mut self, payload: &[u8]) -> Self {
        self.payload_digest = Digest::of(payload);
        self.payload_len = payload.len() as u64;
        self
    }

    /// The statement's bytes. Ranges are the caller's concern: see [`try_encode`](Self::try_encode).
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(256);
        let mut map = MapWriter::new(&mut out);
        map.key(0).uint(StatementKind::Message as u64);
        map.key(1).bytes(&self.id.0);
        map.key(2).text(self.sender.as_str());
        map.key(3).uint(self.service.as_u64());
        map.key(4).uint(self.jurisdiction.as_u64());
        if let Some(recipient) = &self.recipient {
            map.key(5).text(recipient.as_str());
        }
        map.key(6).uint(self.created.0);
        if self.lifetime_s != LONGEST_LIFETIME_S {
            map.key(7).uint(u64::from(self.lifetime_s));
        }
        if self.class != Class::default() {
            map.key(8).uint(self.class.as_u64());
        }
        map.key(9).bytes(&self.payload_digest.0);
        if self.payload_len != 0 {
            map.key(10).uint(self.payload_len);
        }
        match self.content_type.as_ref() {
            ContentTypeRef::Format(CONTENT_OCTET_STREAM) => {}
            ContentTypeRef::Format(format) => map.key(11).uint(u64::from(format)),
            ContentTypeRef::Text(text) => map.key(11).text(text),
        }
        if let Some(case) = &self.case {
            map.key(12).bytes(case);
        }
        if let Some(earlier) = &self.in_reply_to {
            map.key(13).bytes(&earlier.0);
        }
        if let Some(assurance) = self.assurance {
            map.key(14).uint(assurance.as_u64());
        }
        if !self.custody_allowed {
            map.key(15).bool(false);
        }
        map.key(16).bytes(&self.directory_version.0.0);
        if let Some(mailbox) = &self.mailbox {
            map.key(17).bytes(mailbox);
        }
        if let Some(key) = &self.encryption_key {
            map.key(18).bytes(&key.0);
        }
        map.finish();
        out
    }

    /// The statement's bytes, checked to be what a receiver accepts.
    ///
    /// # Errors
    /// A field out of range, such as a lifetime of 0 or an empty case id.
    pub fn try_encode(&self) -> Result<Vec<u8>, StatementError> {
        let bytes = self.encode();
        MessageRef::parse(&bytes)?;
        Ok(bytes)
    }
}
