//! What a part costs by its number of entries: decoding (hashes included), checking the signature of its root, splitting it in
//! four, or in as many as it has entries.

#![allow(clippy::unwrap_used, missing_docs, reason = "a bench")]

use std::hint::black_box;

use bytes::{Bytes, BytesMut};
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use kernpost_codecs::frame::{FrameDecoder, LONGEST_BODY};
use kernpost_codecs::{Algorithm, BundleBuilder, HopHeader, Message, MessageId, Part, SigningKey, UnixMs};

const SIZES: [usize; 4] = [1, 16, 64, 256];
const PAYLOAD: &[u8] = &[0x5a; 512];
const NOW: UnixMs = UnixMs(1_790_000_000_000);

/// The body of a BUNDLE frame with so many messages, and the key that signed it.
fn body(entries: usize) -> (Bytes, SigningKey) {
    let key = SigningKey::generate(Algorithm::Esp256).unwrap();
    let mut builder = BundleBuilder::new();
    for at in 0..entries {
        let mut random = [0; 10];
        random[2..].copy_from_slice(&(at as u64).to_be_bytes());
        let id = MessageId::from_parts(NOW, random);
        let (service, place) = ("99050012104000".parse().unwrap(), "147130000000".parse().unwrap());
        let version = kernpost_codecs::DirectoryVersion(kernpost_codecs::Digest([7; 32]));
        let message =
            Message::new(id, "de/portal".parse().unwrap(), service, place, NOW, version).with_payload(PAYLOAD);
        builder.push(message.encode().into(), Bytes::from_static(PAYLOAD), HopHeader::default()).unwrap();
    }
    let part = builder.sign(&[&key]).unwrap();
    let mut bytes = BytesMut::new();
    let positions: Vec<usize> = (0..entries).collect();
    part.encode_subset(&positions, |_| HopHeader::default(), &mut bytes).unwrap();
    let mut decoder = FrameDecoder::new();
    decoder.push(bytes.freeze());
    (decoder.next().unwrap().unwrap().body, key)
}

fn decode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode");
    for entries in SIZES {
        let (body, _) = body(entries);
        group.throughput(Throughput::Elements(entries as u64));
        group.bench_with_input(BenchmarkId::from_parameter(entries), &body, |bencher, body| {
            bencher.iter(|| Part::decode(black_box(body.clone())).unwrap());
        });
    }
}

fn verify(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("verify");
    for entries in SIZES {
        let (body, key) = body(entries);
        group.throughput(Throughput::Elements(entries as u64));
        group.bench_function(BenchmarkId::from_parameter(entries), |bencher| {
            let decoded = || Part::decode(body.clone()).unwrap();
            let verify = |part: Part| part.signatures()[0].verify(key.public(), &black_box(&part).root()).unwrap();
            bencher.iter_batched(decoded, verify, BatchSize::SmallInput);
        });
    }
}

fn split(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("split in four");
    let hop = HopHeader { hops: 1, recipient: Some("de/authority".parse().unwrap()), ..HopHeader::default() };
    for entries in SIZES {
        let ways = entries.min(4);
        let part = Part::decode(body(entries).0).unwrap();
        group.throughput(Throughput::Elements(entries as u64));
        group.bench_function(BenchmarkId::from_parameter(entries), |bencher| {
            bencher.iter(|| {
                let mut out = BytesMut::new();
                for way in 0..ways {
                    let chosen = (way * entries / ways..(way + 1) * entries / ways).map(|position| (position, &hop));
                    part.encode_chosen(chosen, LONGEST_BODY, &mut out).unwrap();
                }
                out
            });
        });
    }
}

criterion_group!(benches, decode, verify, split);
criterion_main!(benches);
