//! A portal at the first router and an authority at the second: signed messages one way, receipts the other.

use std::collections::HashMap;

use bytes::{Bytes, BytesMut};
use kernpost_codecs::frame::frame_type;
use kernpost_codecs::{
    Allowance, BundleBuilder, Class, HopHeader, Label, LaneKind, Message, MessageId, MessageRef, Outcome, Part,
    ReceiptsBuilder, SettlementFrame, SigningKey, Subject,
};
use kernpost_router::clock::wall;
use kernpost_router::run::Router;
use quinn::{Endpoint, SendStream};

use super::network::{Network, address, until};
use super::peer::{Lane, Peer, take_another_address};

const CLASS: Class = Class::Interactive;
const PAYLOAD: &[u8] = &[b'x'; 512];

/// What became of the messages.
pub struct Sent {
    pub delivered: usize,
}

/// Sends `count` messages in bundles of `bundle`, as fast as credit allows, and waits for all receipts.
pub async fn send(network: &Network, routers: &[Router; 2], count: usize, bundle: usize) -> Sent {
    send_moving(network, routers, count, bundle, 0).await
}

/// As [`send`]; sender and recipient change their address `moves` times on the way.
pub async fn send_moving(network: &Network, routers: &[Router; 2], count: usize, bundle: usize, moves: usize) -> Sent {
    let mut amt = Peer::greet(network, "amt", address(&routers[1])).await;
    amt.attach("kern/amt", "amt", "r2", &network.amt).await;
    let mut portal = Peer::greet(network, "portal", address(&routers[0])).await;
    portal.attach("kern/portal", "portal", "r1", &network.portal).await;
    until("the first router knows where the authority is", routers[0].observed(), |observed| {
        observed.control.load().attachments.iter().any(|held| held.endpoint == "kern/amt")
    })
    .await;
    let key = SigningKey::from_pkcs8_der(&network.amt.to_pkcs8_der().unwrap()).unwrap();
    let movers = [portal.endpoint.clone(), amt.endpoint.clone()];
    let receiving = tokio::spawn(receive(amt, key));
    let frames = bundles(network, &portal, count, bundle);
    let delivered = push(&portal, frames, &movers, count / (moves + 1)).await;
    portal.connection.close(0u32.into(), b"");
    receiving.abort();
    let _ = receiving.await;
    for router in routers {
        until("the links are gone", router.observed(), |observed| {
            observed.control.load().links.iter().all(|link| link.router)
        })
        .await;
    }
    Sent { delivered }
}

/// Frames with their cost in credit, signed beforehand.
fn bundles(network: &Network, portal: &Peer, count: usize, bundle: usize) -> Vec<(BytesMut, u64, u64)> {
    let mut frames = Vec::new();
    let mut made = 0_u64;
    while frames.len() * bundle < count {
        let mut builder = BundleBuilder::new();
        for _ in 0..bundle.min(count - frames.len() * bundle) {
            made += 1;
            let mut id = [0; 16];
            id[..8].copy_from_slice(&wall().0.to_be_bytes()[2..].iter().copied().chain([0x70, 0]).collect::<Vec<_>>());
            id[8..].copy_from_slice(&(made | 1 << 63).to_be_bytes());
            let message = Message::new(
                MessageId(id),
                "kern/portal".parse().unwrap(),
                "99050012104000".parse().unwrap(),
                "147130000000".parse().unwrap(),
                wall(),
                portal.version(),
            )
            .with_payload(PAYLOAD);
            let pushed = builder.push(message.encode().into(), Bytes::from_static(PAYLOAD), HopHeader::default());
            pushed.unwrap();
        }
        let part = builder.sign(&[&network.portal]).unwrap();
        frames.push(encode(&part));
    }
    frames
}

fn encode(part: &Part) -> (BytesMut, u64, u64) {
    let positions: Vec<usize> = (0..part.entries().len()).collect();
    let mut bytes = BytesMut::new();
    let written = part.encode_subset(&positions, |_| HopHeader::default(), &mut bytes).unwrap();
    assert_eq!(written, positions.len());
    let cost = part.entries().iter().map(kernpost_codecs::Entry::credit).sum();
    (bytes, positions.len() as u64, cost)
}

/// Sends within credit, counts receipts; panics at the first unsigned settlement. All `movers` take another address each
/// time another `stretch` of messages is delivered.
async fn push(portal: &Peer, frames: Vec<(BytesMut, u64, u64)>, movers: &[Endpoint], stretch: usize) -> usize {
    let total: u64 = frames.iter().map(|(_, entries, _)| entries).sum();
    let (_, mut settlements) = portal.accept().await;
    let mut bundles = portal.open(LaneKind::Bundle(CLASS)).await;
    let mut own = portal.open(LaneKind::Settlement).await;
    grant(&mut own, 1 << 20, 1 << 30).await;
    let mut allowance = Allowance::new();
    let mut waiting = frames.into_iter().peekable();
    let mut delivered = 0;
    let mut next_move = stretch as u64;
    // What is in flight towards one recipient stays below a downstream link's share of the credit (WIRE 7.3).
    let mut in_flight = 0_u64;
    while delivered < total {
        while let Some((_, entries, bytes)) = waiting.peek() {
            let fits = in_flight + entries <= 900 || in_flight == 0;
            if !fits || !allowance.try_spend(*entries, *bytes) {
                break;
            }
            let (frame, entries, _) = waiting.next().unwrap();
            in_flight += entries;
            bundles.write_chunk(frame.freeze()).await.unwrap();
        }
        if delivered >= next_move {
            next_move += stretch as u64;
            movers.iter().for_each(take_another_address);
        }
        let frame = settlements.frame().await;
        match SettlementFrame::decode(frame.kind, frame.body).unwrap() {
            Some(SettlementFrame::Credit { class, entries, bytes }) if class == CLASS => {
                allowance.on_credit(entries, bytes);
            }
            Some(SettlementFrame::Receipts(frame)) => {
                assert!(frame.entries.iter().all(|entry| entry.outcome == Outcome::Delivered));
                delivered += frame.entries.len() as u64;
                in_flight -= frame.entries.len() as u64;
            }
            Some(SettlementFrame::Settle(settle)) => panic!("settled {settle:?}"),
            _ => {}
        }
    }
    usize::try_from(delivered).unwrap()
}

/// Answers every entry with a signed receipt.
async fn receive(amt: Peer, key: SigningKey) {
    let mut own = amt.open(LaneKind::Settlement).await;
    let (mut entries, mut bytes) = (4_096, 8 << 20);
    grant(&mut own, entries, bytes).await;
    let version = amt.version();
    let mut sequences: HashMap<LaneKind, u64> = HashMap::new();
    let (lane, mut frames) = bundle_lane(&amt).await;
    loop {
        let frame = frames.frame().await;
        assert_eq!(frame.kind, frame_type::BUNDLE);
        let sequence = sequences.entry(lane).or_default();
        let part = Part::decode(frame.body).unwrap();
        let mut receipts = ReceiptsBuilder::new();
        for entry in part.entries() {
            let message = MessageRef::parse(&entry.statement).unwrap();
            let addressee = message.sender.parse().unwrap();
            let subject = Subject { addressee: &addressee, message: message.id, leaf: entry.leaf };
            let label = Label { class: CLASS, sequence: *sequence, index: entry.index };
            assert!(receipts.push(subject, Outcome::Delivered, 0, None, label));
            entries += 1;
            bytes += entry.credit();
        }
        *sequence += 1;
        let issuer = "kern/amt".parse().unwrap();
        let frame = receipts.sign(issuer, version, wall(), &[&key]).unwrap();
        let mut out = BytesMut::new();
        frame.encode(&mut out);
        SettlementFrame::Credit { class: CLASS, entries, bytes }.encode(&mut out);
        own.write_chunk(out.freeze()).await.unwrap();
    }
}

async fn bundle_lane(peer: &Peer) -> (LaneKind, Lane) {
    loop {
        let (kind, lane) = peer.accept().await;
        if kind == LaneKind::Bundle(CLASS) {
            return (kind, lane);
        }
        // The router's settlements for an authority that sends nothing: credit only.
        std::mem::forget(lane);
    }
}

async fn grant(own: &mut SendStream, entries: u64, bytes: u64) {
    let mut out = BytesMut::new();
    SettlementFrame::Credit { class: CLASS, entries, bytes }.encode(&mut out);
    own.write_all(&out).await.unwrap();
}
