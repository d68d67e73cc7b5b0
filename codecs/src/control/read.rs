//! How are the bodies of control frames read? Strictly, and with lists bounded before they are allocated (WIRE 3).

use std::str::FromStr;

use bytes::Bytes;

use super::{
    ControlFrame, Hello, LONGEST_DETAIL, LONGEST_ENCRYPTION_KEY, LONGEST_SNAPSHOT_PIECE, LONGEST_SOFTWARE, MOST_LISTED,
    Role,
};
use crate::cbor::{CborError, CborFault, Keys, Reader};
use crate::code::{Code, FrameFault};
use crate::digest::Digest;
use crate::id::{DirectoryVersion, EndpointId, ZoneVersion};
use crate::jurisdiction::Ars;
use crate::service_key::ServiceKey;

type Decoded = Result<ControlFrame, FrameFault>;

/// The fewest bytes a zone version takes: an array head, a zone of one letter, a serial and a digest.
const SHORTEST_ZONE_VERSION: usize = 1 + 2 + 1 + 34;
/// The fewest bytes a detached endpoint takes: an array head, an id of three letters, an epoch.
const SHORTEST_DETACHED: usize = 1 + 4 + 1;
/// The fewest bytes an attach token takes: its head. Whether it is a token is seen later.
const SHORTEST_TOKEN: usize = 1;

/// The map of one frame, with the frame's name for errors.
struct Fields<'a> {
    frame: &'static str,
    body: &'a Bytes,
    reader: Reader<'a>,
    keys: Keys,
}

impl<'a> Fields<'a> {
    fn open(frame: &'static str, body: &'a Bytes) -> Result<Self, FrameFault> {
        let mut reader = Reader::new(body);
        let keys = reader.map().map_err(|error| fault(frame, "body", error))?;
        Ok(Self { frame, body, reader, keys })
    }

    /// The next key this version may know; `None` after the last, when the body ends with it.
    fn next(&mut self) -> Result<Option<u64>, FrameFault> {
        let key = self.keys.next(&mut self.reader).map_err(|error| fault(self.frame, "key", error))?;
        if key.is_none() {
            self.reader.finish().map_err(|error| fault(self.frame, "body", error))?;
        }
        Ok(key)
    }

    fn read<T>(
        &mut self,
        field: &'static str,
        read: impl FnOnce(&mut Reader<'a>) -> Result<T, CborError>,
    ) -> Result<Option<T>, FrameFault> {
        read(&mut self.reader).map(Some).map_err(|error| fault(self.frame, field, error))
    }

    fn skip(&mut self) -> Result<(), FrameFault> {
        self.read("unknown key", Reader::skip).map(drop)
    }

    fn uint(&mut self, field: &'static str) -> Result<Option<u64>, FrameFault> {
        self.read(field, Reader::uint)
    }

    fn digest(&mut self, field: &'static str) -> Result<Option<Digest>, FrameFault> {
        self.read(field, |reader| reader.fixed(field).map(Digest))
    }

    /// Bytes that share the body's memory.
    fn bytes(&mut self, field: &'static str, longest: usize) -> Result<Option<Bytes>, FrameFault> {
        let body = self.body;
        self.read(field, |reader| shared(reader, body, field, longest))
    }

    fn parsed<T: FromStr>(&mut self, field: &'static str) -> Result<Option<T>, FrameFault> {
        self.read(field, |reader| parsed(reader, field))
    }

    fn tokens(&mut self, field: &'static str) -> Result<Option<Vec<Bytes>>, FrameFault> {
        let body = self.body;
        self.read(field, |reader| list(reader, field, SHORTEST_TOKEN, |reader| shared(reader, body, field, usize::MAX)))
    }

    fn need<T>(&self, value: Option<T>, key: u64, field: &str) -> Result<T, FrameFault> {
        value.ok_or_else(|| FrameFault::malformed("WIRE 3", format!("{}: key {key} ({field}) is missing", self.frame)))
    }
}

#[cold]
fn fault(frame: &'static str, field: &str, error: CborError) -> FrameFault {
    FrameFault::malformed("WIRE 3", format!("{frame}: {field}: {error}"))
}

fn shared(reader: &mut Reader<'_>, body: &Bytes, field: &'static str, longest: usize) -> Result<Bytes, CborError> {
    let bytes = reader.bytes()?;
    if bytes.len() > longest {
        return Err(reader.fault(CborFault::Range(field)));
    }
    let end = reader.position();
    Ok(body.slice(end.saturating_sub(bytes.len())..end))
}

fn parsed<T: FromStr>(reader: &mut Reader<'_>, field: &'static str) -> Result<T, CborError> {
    let text = reader.text()?;
    text.parse().map_err(|_| reader.fault(CborFault::Range(field)))
}

/// An array of at most [`MOST_LISTED`] items of at least `shortest` bytes each.
fn list<'a, T>(
    reader: &mut Reader<'a>,
    field: &'static str,
    shortest: usize,
    mut item: impl FnMut(&mut Reader<'a>) -> Result<T, CborError>,
) -> Result<Vec<T>, CborError> {
    let count = reader.array()?;
    if count > MOST_LISTED {
        return Err(reader.fault(CborFault::Range(field)));
    }
    if count > reader.remaining() / shortest {
        return Err(reader.fault(CborFault::Truncated));
    }
    let mut items = Vec::with_capacity(count);
    for _ in 0..count {
        items.push(item(reader)?);
    }
    Ok(items)
}

/// A version list, sorted by zone and each zone there once.
fn zones(reader: &mut Reader<'_>) -> Result<Vec<ZoneVersion>, CborError> {
    let zones = list(reader, "zones", SHORTEST_ZONE_VERSION, |reader| {
        reader.array_of(3, "zone version")?;
        Ok(ZoneVersion {
            zone: parsed(reader, "zone")?,
            serial: reader.uint()?,
            digest: Digest(reader.fixed("digest")?),
        })
    })?;
    if zones.is_sorted_by(|a, b| a.zone < b.zone) {
        Ok(zones)
    } else {
        Err(reader.fault(CborFault::Range("order of zones")))
    }
}

fn detached(reader: &mut Reader<'_>) -> Result<Vec<(EndpointId, u64)>, CborError> {
    list(reader, "detached", SHORTEST_DETACHED, |reader| {
        reader.array_of(2, "detached")?;
        Ok((parsed(reader, "endpoint")?, reader.uint()?))
    })
}

/// A text of at most `longest` bytes that may be empty.
fn short_text(reader: &mut Reader<'_>, field: &'static str, longest: usize) -> Result<String, CborError> {
    let text = reader.text()?;
    if text.len() > longest {
        return Err(reader.fault(CborFault::Range(field)));
    }
    Ok(text.to_owned())
}

fn service_key(reader: &mut Reader<'_>) -> Result<ServiceKey, CborError> {
    let value = reader.uint()?;
    ServiceKey::try_from(value).map_err(|_| reader.fault(CborFault::Range("service key")))
}

fn jurisdiction(reader: &mut Reader<'_>) -> Result<Ars, CborError> {
    let value = reader.uint()?;
    Ars::try_from(value).map_err(|_| reader.fault(CborFault::Range("jurisdiction")))
}

pub(super) fn hello(body: &Bytes) -> Decoded {
    let mut fields = Fields::open("HELLO", body)?;
    let (mut lowest, mut highest, mut role, mut router, mut clock) = (None, None, None, None, None);
    let (mut directory, mut frame_body, mut statement, mut payload, mut software) = (None, None, None, None, None);
    while let Some(key) = fields.next()? {
        match key {
            1 => lowest = fields.uint("lowest version")?,
            2 => highest = fields.uint("highest version")?,
            3 => role = fields.read("role", |reader| reader.uint_to(1, "role"))?,
            4 => router = fields.parsed("router id")?,
            5 => clock = fields.read("clock", Reader::time)?,
            6 => directory = fields.read("directory", zones)?,
            7 => frame_body = fields.uint("largest frame body")?,
            8 => statement = fields.uint("largest statement")?,
            9 => payload = fields.uint("largest payload")?,
            10 => software = fields.read("software", |reader| short_text(reader, "software", LONGEST_SOFTWARE))?,
            _ => fields.skip()?,
        }
    }
    let role = match (fields.need(role, 3, "role")?, router) {
        (0, None) => Role::Endpoint,
        (1, Some(router)) => Role::Router(router),
        _ => {
            return Err(FrameFault::malformed("WIRE 3", "HELLO: routers state a router id, others do not"));
        }
    };
    let lowest_version = fields.need(lowest, 1, "lowest version")?;
    let highest_version = fields.need(highest, 2, "highest version")?;
    if lowest_version > highest_version {
        return Err(FrameFault::malformed("WIRE 3", "HELLO: lowest version is above highest version"));
    }
    Ok(ControlFrame::Hello(Hello {
        lowest_version,
        highest_version,
        role,
        clock: fields.need(clock, 5, "clock")?,
        directory: fields.need(directory, 6, "directory")?,
        largest_frame_body: fields.need(frame_body, 7, "largest frame body")?,
        largest_statement: fields.need(statement, 8, "largest statement")?,
        largest_payload: fields.need(payload, 9, "largest payload")?,
        software: fields.need(software, 10, "software")?,
    }))
}

pub(super) fn attach(body: &Bytes) -> Decoded {
    let mut fields = Fields::open("ATTACH", body)?;
    let (mut req, mut token) = (None, None);
    while let Some(key) = fields.next()? {
        match key {
            1 => req = fields.uint("req")?,
            2 => token = fields.bytes("token", usize::MAX)?,
            _ => fields.skip()?,
        }
    }
    Ok(ControlFrame::Attach { req: fields.need(req, 1, "req")?, token: fields.need(token, 2, "token")? })
}

pub(super) fn attached(body: &Bytes) -> Decoded {
    let mut fields = Fields::open("ATTACHED", body)?;
    let (mut req, mut code, mut detail) = (None, None, None);
    while let Some(key) = fields.next()? {
        match key {
            1 => req = fields.uint("req")?,
            2 => code = fields.uint("code")?,
            3 => detail = fields.read("detail", |reader| reader.text_to(LONGEST_DETAIL, "detail"))?,
            _ => fields.skip()?,
        }
    }
    Ok(ControlFrame::Attached {
        req: fields.need(req, 1, "req")?,
        code: Code(fields.need(code, 2, "code")?),
        detail: detail.unwrap_or_default().to_owned(),
    })
}

pub(super) fn detach(body: &Bytes) -> Decoded {
    let mut fields = Fields::open("DETACH", body)?;
    let (mut endpoint, mut epoch) = (None, None);
    while let Some(key) = fields.next()? {
        match key {
            1 => endpoint = fields.parsed("endpoint")?,
            2 => epoch = fields.uint("epoch")?,
            _ => fields.skip()?,
        }
    }
    Ok(ControlFrame::Detach { endpoint: fields.need(endpoint, 1, "endpoint")?, epoch: fields.need(epoch, 2, "epoch")? })
}

pub(super) fn presence_full(body: &Bytes) -> Decoded {
    let mut fields = Fields::open("PRESENCE-FULL", body)?;
    let (mut number, mut tokens, mut more) = (None, None, None);
    while let Some(key) = fields.next()? {
        match key {
            1 => number = fields.uint("number")?,
            2 => tokens = fields.tokens("tokens")?,
            3 => {
                more = fields.read("more follows", |reader| match reader.bool()? {
                    true => Ok(true),
                    false => Err(reader.fault(CborFault::Default("more follows"))),
                })?;
            }
            _ => fields.skip()?,
        }
    }
    Ok(ControlFrame::PresenceFull {
        number: fields.need(number, 1, "number")?,
        tokens: fields.need(tokens, 2, "tokens")?,
        more: more.unwrap_or(false),
    })
}

pub(super) fn presence_delta(body: &Bytes) -> Decoded {
    let mut fields = Fields::open("PRESENCE-DELTA", body)?;
    let (mut number, mut attached, mut gone) = (None, None, None);
    while let Some(key) = fields.next()? {
        match key {
            1 => number = fields.uint("number")?,
            2 => attached = fields.tokens("attached")?,
            3 => gone = fields.read("detached", detached)?,
            _ => fields.skip()?,
        }
    }
    Ok(ControlFrame::PresenceDelta {
        number: fields.need(number, 1, "number")?,
        attached: fields.need(attached, 2, "attached")?,
        detached: fields.need(gone, 3, "detached")?,
    })
}

pub(super) fn resolve(body: &Bytes) -> Decoded {
    let mut fields = Fields::open("RESOLVE", body)?;
    let (mut req, mut service, mut place) = (None, None, None);
    while let Some(key) = fields.next()? {
        match key {
            1 => req = fields.uint("req")?,
            2 => service = fields.read("service key", service_key)?,
            3 => place = fields.read("jurisdiction", jurisdiction)?,
            _ => fields.skip()?,
        }
    }
    Ok(ControlFrame::Resolve {
        req: fields.need(req, 1, "req")?,
        service: fields.need(service, 2, "service key")?,
        jurisdiction: fields.need(place, 3, "jurisdiction")?,
    })
}

pub(super) fn resolved(body: &Bytes) -> Decoded {
    let mut fields = Fields::open("RESOLVED", body)?;
    let (mut req, mut code, mut endpoint, mut encryption_key, mut version) = (None, None, None, None, None);
    while let Some(key) = fields.next()? {
        match key {
            1 => req = fields.uint("req")?,
            2 => code = fields.uint("code")?,
            3 => endpoint = fields.parsed::<EndpointId>("endpoint")?,
            4 => encryption_key = fields.bytes("encryption key", LONGEST_ENCRYPTION_KEY)?,
            5 => version = fields.digest("directory version")?,
            _ => fields.skip()?,
        }
    }
    let code = fields.need(code, 2, "code")?;
    if (code == 0) != endpoint.is_some() {
        return Err(FrameFault::malformed("WIRE 3", "RESOLVED: an endpoint is given exactly when the code is 0"));
    }
    Ok(ControlFrame::Resolved {
        req: fields.need(req, 1, "req")?,
        code: Code(code),
        endpoint,
        encryption_key,
        directory_version: DirectoryVersion(fields.need(version, 5, "directory version")?),
    })
}

pub(super) fn drain(body: &Bytes) -> Decoded {
    let mut fields = Fields::open("DRAIN", body)?;
    let mut by = None;
    while let Some(key) = fields.next()? {
        match key {
            1 => by = fields.read("time", Reader::time)?,
            _ => fields.skip()?,
        }
    }
    Ok(ControlFrame::Drain { by: fields.need(by, 1, "time")? })
}

pub(super) fn ping(body: &Bytes) -> Decoded {
    let mut fields = Fields::open("PING", body)?;
    let mut nonce = None;
    while let Some(key) = fields.next()? {
        match key {
            1 => nonce = fields.uint("nonce")?,
            _ => fields.skip()?,
        }
    }
    Ok(ControlFrame::Ping { nonce: fields.need(nonce, 1, "nonce")? })
}

pub(super) fn pong(body: &Bytes) -> Decoded {
    let mut fields = Fields::open("PONG", body)?;
    let (mut nonce, mut clock) = (None, None);
    while let Some(key) = fields.next()? {
        match key {
            1 => nonce = fields.uint("nonce")?,
            2 => clock = fields.read("clock", Reader::time)?,
            _ => fields.skip()?,
        }
    }
    Ok(ControlFrame::Pong { nonce: fields.need(nonce, 1, "nonce")?, clock: fields.need(clock, 2, "clock")? })
}

pub(super) fn get_version(body: &Bytes) -> Decoded {
    let mut fields = Fields::open("GET-VERSION", body)?;
    let (mut req, mut version) = (None, None);
    while let Some(key) = fields.next()? {
        match key {
            1 => req = fields.uint("req")?,
            2 => version = fields.digest("directory version")?,
            _ => fields.skip()?,
        }
    }
    Ok(ControlFrame::GetVersion {
        req: fields.need(req, 1, "req")?,
        version: DirectoryVersion(fields.need(version, 2, "directory version")?),
    })
}

pub(super) fn version(body: &Bytes) -> Decoded {
    let mut fields = Fields::open("VERSION", body)?;
    let (mut req, mut versions) = (None, None);
    while let Some(key) = fields.next()? {
        match key {
            1 => req = fields.uint("req")?,
            2 => versions = fields.read("zones", zones)?,
            _ => fields.skip()?,
        }
    }
    Ok(ControlFrame::Version { req: fields.need(req, 1, "req")?, zones: versions })
}

pub(super) fn get_snapshot(body: &Bytes) -> Decoded {
    let mut fields = Fields::open("GET-SNAPSHOT", body)?;
    let (mut req, mut digest, mut offset) = (None, None, None);
    while let Some(key) = fields.next()? {
        match key {
            1 => req = fields.uint("req")?,
            2 => digest = fields.digest("digest")?,
            3 => offset = fields.uint("offset")?,
            _ => fields.skip()?,
        }
    }
    Ok(ControlFrame::GetSnapshot {
        req: fields.need(req, 1, "req")?,
        digest: fields.need(digest, 2, "digest")?,
        offset: fields.need(offset, 3, "offset")?,
    })
}

pub(super) fn snapshot(body: &Bytes) -> Decoded {
    let mut fields = Fields::open("SNAPSHOT", body)?;
    let (mut req, mut total, mut offset, mut piece) = (None, None, None, None);
    while let Some(key) = fields.next()? {
        match key {
            1 => req = fields.uint("req")?,
            2 => total = fields.uint("total length")?,
            3 => offset = fields.uint("offset")?,
            4 => piece = fields.bytes("bytes", LONGEST_SNAPSHOT_PIECE)?,
            _ => fields.skip()?,
        }
    }
    Ok(ControlFrame::Snapshot {
        req: fields.need(req, 1, "req")?,
        total: fields.need(total, 2, "total length")?,
        offset: fields.need(offset, 3, "offset")?,
        bytes: fields.need(piece, 4, "bytes")?,
    })
}
