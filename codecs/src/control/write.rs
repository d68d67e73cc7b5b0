//! How are the bodies of control frames written? Each as one deterministic map (WIRE 3).

use bytes::Bytes;

use super::{ControlFrame, Hello, Role};
use crate::cbor::{MapWriter, Writer};
use crate::id::ZoneVersion;

/// The body of a frame.
pub(super) fn body(frame: &ControlFrame) -> Vec<u8> {
    let mut out = Vec::with_capacity(128);
    let mut map = MapWriter::new(&mut out);
    match frame {
        ControlFrame::Hello(frame) => hello(frame, &mut map),
        ControlFrame::Attach { req, token } => {
            map.key(1).uint(*req);
            map.key(2).bytes(token);
        }
        ControlFrame::Attached { req, code, detail } => {
            map.key(1).uint(*req);
            map.key(2).uint(code.0);
            if !detail.is_empty() {
                map.key(3).text(detail);
            }
        }
        ControlFrame::Detach { endpoint, epoch } => {
            map.key(1).text(endpoint.as_str());
            map.key(2).uint(*epoch);
        }
        ControlFrame::PresenceFull { number, tokens, more } => {
            map.key(1).uint(*number);
            list(map.key(2), tokens);
            if *more {
                map.key(3).bool(true);
            }
        }
        ControlFrame::PresenceDelta { number, attached, detached } => {
            map.key(1).uint(*number);
            list(map.key(2), attached);
            let out = map.key(3);
            out.array(detached.len());
            for (endpoint, epoch) in detached {
                out.array(2);
                out.text(endpoint.as_str());
                out.uint(*epoch);
            }
        }
        ControlFrame::Resolve { req, service, jurisdiction } => {
            map.key(1).uint(*req);
            map.key(2).uint(service.as_u64());
            map.key(3).uint(jurisdiction.as_u64());
        }
        ControlFrame::Resolved { req, code, endpoint, encryption_key, directory_version } => {
            map.key(1).uint(*req);
            map.key(2).uint(code.0);
            if let Some(endpoint) = endpoint {
                map.key(3).text(endpoint.as_str());
            }
            if let Some(key) = encryption_key {
                map.key(4).bytes(key);
            }
            map.key(5).bytes(&directory_version.0.0);
        }
        ControlFrame::Drain { by } => map.key(1).uint(by.0),
        ControlFrame::Ping { nonce } => map.key(1).uint(*nonce),
        ControlFrame::Pong { nonce, clock } => {
            map.key(1).uint(*nonce);
            map.key(2).uint(clock.0);
        }
        ControlFrame::GetVersion { req, version } => {
            map.key(1).uint(*req);
            map.key(2).bytes(&version.0.0);
        }
        ControlFrame::Version { req, zones: versions } => {
            map.key(1).uint(*req);
            if let Some(versions) = versions {
                zones(map.key(2), versions);
            }
        }
        ControlFrame::GetSnapshot { req, digest, offset } => {
            map.key(1).uint(*req);
            map.key(2).bytes(&digest.0);
            map.key(3).uint(*offset);
        }
        ControlFrame::Snapshot { req, total, offset, bytes } => {
            map.key(1).uint(*req);
            map.key(2).uint(*total);
            map.key(3).uint(*offset);
            map.key(4).bytes(bytes);
        }
    }
    map.finish();
    out
}

fn hello(hello: &Hello, map: &mut MapWriter<'_>) {
    map.key(1).uint(hello.lowest_version);
    map.key(2).uint(hello.highest_version);
    match &hello.role {
        Role::Endpoint => map.key(3).uint(0),
        Role::Router(id) => {
            map.key(3).uint(1);
            map.key(4).text(id.as_str());
        }
    }
    map.key(5).uint(hello.clock.0);
    zones(map.key(6), &hello.directory);
    map.key(7).uint(hello.largest_frame_body);
    map.key(8).uint(hello.largest_statement);
    map.key(9).uint(hello.largest_payload);
    map.key(10).text(&hello.software);
}

fn list(out: &mut Writer<'_>, items: &[Bytes]) {
    out.array(items.len());
    for item in items {
        out.bytes(item);
    }
}

/// A version list, sorted by zone whatever order it is in.
fn zones(out: &mut Writer<'_>, zones: &[ZoneVersion]) {
    let mut sorted: Vec<&ZoneVersion> = zones.iter().collect();
    sorted.sort_by(|a, b| a.zone.cmp(&b.zone));
    out.array(sorted.len());
    for zone in sorted {
        zone.write(out);
    }
}
