//! What `cargo xtask counts` runs under callgrind: lookups, and turns of an engine.
//!
//! `counts lookup`, `counts turn` or `counts receipts`; the last line says how many lookups or entries were counted. Only
//! what happens within [`counted`] is collected, so set-up and warm-up cost nothing. The engine's rig is that of its
//! tests: public interface only.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    dead_code,
    reason = "a bench stops at the first fault, and uses a part of the tests' rig"
)]

use std::hint::black_box;

use bytes::{Bytes, BytesMut};
use kernpost_codecs::part::{BundleBuilder, HopHeader, Part};
use kernpost_codecs::receipts::{ReceiptsBuilder, Subject};
use kernpost_codecs::settlement::Label;
use kernpost_codecs::{Class, EndpointId, FrameDecoder, LaneKind, Message, MessageRef, Outcome, Party};
use kernpost_router_core::{EngineOutput, LinkId};
use kernpost_routing_table::Table;
use kernpost_routing_table::generate::{BEGIN, Shape};

use kernpost_tests::rig::Rig;
use kernpost_tests::world::World;

/// Routes of the table that is looked up in: more would take callgrind minutes.
const ROUTES: usize = 50_000;
/// Lookups of each kind.
const LOOKUPS: usize = 16_384;
/// Entries of a part.
const ENTRIES: usize = 64;
/// Parts that are counted, after one that is not.
const PARTS: usize = 16;

fn main() {
    let counted = match std::env::args().nth(1).as_deref() {
        Some("lookup") => lookup(),
        Some("lookup-many") => lookup_many(),
        Some("turn") => turns(true),
        Some("receipts") => turns(false),
        _ => panic!("usage: counts lookup|lookup-many|turn|receipts"),
    };
    println!("{counted}");
}

/// Callgrind collects while this is on the stack.
#[inline(never)]
fn counted<T>(work: impl FnOnce() -> T) -> T {
    // Keeps the call: a tail call would leave the stack before the work is done.
    black_box(work())
}

fn table() -> (Table, Vec<(kernpost_codecs::ServiceKey, kernpost_codecs::Ars)>) {
    let shape = Shape { routes: ROUTES, endpoints: 100, ..Shape::MILLION };
    let generated = shape.generate().unwrap();
    let keys = generated.known_keys(42, LOOKUPS);
    (Table::compile(&generated.directory().unwrap(), BEGIN, 1).unwrap(), keys)
}

fn lookup() -> usize {
    let (table, keys) = table();
    counted(|| {
        for (service, place) in &keys {
            black_box(table.lookup(*service, *place));
        }
    });
    keys.len()
}

fn lookup_many() -> usize {
    let (table, keys) = table();
    let mut found = Vec::with_capacity(256);
    counted(|| {
        for part in keys.chunks(256) {
            table.lookup_many(part, &mut found);
            black_box(&mut found);
        }
    });
    keys.len()
}

/// One sender, four recipients on links of their own.
struct Cast {
    rig: Rig,
    sender: (LinkId, EndpointId),
    recipients: Vec<(LinkId, EndpointId)>,
}

fn cast() -> Cast {
    let mut world = World::new(BEGIN);
    world.router("r1");
    let sender = world.endpoint("portal", "portal");
    world.grant(&sender, "99", "*", None);
    let recipients: Vec<EndpointId> =
        (1..=4).map(|n| world.endpoint(&format!("city{n}"), &format!("city{n}"))).collect();
    for (number, recipient) in (1..).zip(&recipients) {
        world.route(&format!("r{number}"), "99001", &format!("0{number}"), &[recipient]);
    }
    let mut rig = Rig::new(world, |_| {});
    let links: Vec<(LinkId, EndpointId)> =
        recipients.iter().map(|id| (rig.endpoints_link(id.name(), &[id]), id.clone())).collect();
    let sender = (rig.endpoints_link("portal", &[&sender]), sender);
    for (link, _) in &links {
        rig.grant(*link, 10_000);
    }
    Cast { rig, sender, recipients: links }
}

/// Counts the entries' way through the engine, or that of their receipts.
fn turns(entries: bool) -> usize {
    let mut cast = cast();
    let mut sequences = vec![0u64; cast.recipients.len()];
    for part in 0..=PARTS {
        cast.rig.now_ms += 1;
        let bundle = bundle(&mut cast);
        let link = cast.sender.0;
        let written = arrive(&mut cast.rig, link, LaneKind::Bundle(Class::Interactive), bundle, entries && part > 0);
        for output in written {
            let EngineOutput::Frame { link, lane: LaneKind::Bundle(_), bytes } = output else { continue };
            let place = cast.recipients.iter().position(|(to, _)| *to == link).unwrap();
            for (_, body) in frames(bytes) {
                let receipts = receipts(&cast, place, &Part::decode(body).unwrap(), sequences[place]);
                sequences[place] += 1;
                let settled = arrive(&mut cast.rig, link, LaneKind::Settlement, receipts, !entries && part > 0);
                assert!(!settled.is_empty(), "receipts go on to the sender");
            }
        }
    }
    assert!(cast.rig.engine.ledger().balanced());
    assert!(sequences.iter().all(|sent| *sent > PARTS as u64), "every recipient got a part of each: {sequences:?}");
    PARTS * ENTRIES
}

fn bundle(cast: &mut Cast) -> Bytes {
    let sender = cast.sender.1.clone();
    let route = |entry: usize| ["010010000000", "020000000000", "030010000000", "040010000000"][entry % 4];
    let messages: Vec<Message> =
        (0..ENTRIES).map(|entry| cast.rig.message(&sender, ("99001001000000", route(entry)), |_| {})).collect();
    let mut builder = BundleBuilder::new();
    for message in &messages {
        builder.push(message.encode().into(), Bytes::from_static(b"application"), HopHeader::default()).unwrap();
    }
    let part = builder.sign(&[&cast.rig.world.keys[&sender]]).unwrap();
    let positions: Vec<usize> = (0..ENTRIES).collect();
    let mut bytes = BytesMut::new();
    part.encode_subset(&positions, |at| part.entries()[at].hop.clone(), &mut bytes).unwrap();
    bytes.freeze()
}

fn receipts(cast: &Cast, recipient: usize, part: &Part, sequence: u64) -> Bytes {
    let issuer = &cast.recipients[recipient].1;
    let mut builder = ReceiptsBuilder::new();
    for entry in part.entries() {
        let message = MessageRef::parse(&entry.statement).unwrap().to_owned();
        let subject = Subject { addressee: &message.sender, message: message.id, leaf: entry.leaf };
        let label = Label { class: message.class, sequence, index: entry.index };
        assert!(builder.push(subject, Outcome::Delivered, 0, None, label));
    }
    let (rig, key) = (&cast.rig, &cast.rig.world.keys[issuer]);
    let frame = builder.sign(Party::Endpoint(issuer.clone()), rig.table.version(), rig.now().wall, &[key]).unwrap();
    let mut bytes = BytesMut::new();
    frame.encode(&mut bytes);
    bytes.freeze()
}

fn frames(bytes: Bytes) -> Vec<(u64, Bytes)> {
    let mut decoder = FrameDecoder::new();
    decoder.push(bytes);
    std::iter::from_fn(|| decoder.next().unwrap()).map(|frame| (frame.kind, frame.body)).collect()
}

/// Lets frames arrive and takes what the engine wants written, counted or not.
fn arrive(rig: &mut Rig, link: LinkId, lane: LaneKind, bytes: Bytes, count: bool) -> Vec<EngineOutput> {
    let (now, frames) = (rig.now(), frames(bytes));
    let mut written = Vec::with_capacity(256);
    let engine = &mut rig.engine;
    let turn = || {
        for (kind, body) in frames {
            engine.handle_frame(now, link, lane, kind, body);
        }
        while let Some(output) = engine.poll_output() {
            written.push(output);
        }
    };
    if count {
        counted(turn)
    } else {
        turn()
    }
    written
}
