//! Where do the fuzz targets begin? Writes their committed corpora from the shipped test vectors and a small directory.
//!
//! Run again when the wire or snapshot format changes: `cargo xtask fuzz-seeds`. The first byte of an input chooses what
//! the rest is taken for, as `tests/fuzz/src` says.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use kernpost_codecs::Digest;
use kernpost_codecs::frame::{encode_frame, frame_type};
use kernpost_routing_table::snapshot;
use serde_json::Value;

use crate::plan;
use crate::workspace;
use kernpost_loadgen::lists::Lists;
use kernpost_loadgen::network::directory;
use kernpost_loadgen::network::now;

/// Seeds stay small: libFuzzer grows them by itself. The largest are parts with post-quantum signatures.
const LARGEST: usize = 5_120;
/// What the decoder takes an input for, by its first byte.
const STREAM: u8 = 0;
const STATEMENT: u8 = 1;
const PART: u8 = 2;
const CONTROL: u8 = 3;
const SETTLEMENT: u8 = 4;
const TOKEN: u8 = 5;
const TEXT: u8 = 6;
const ARCHIVE: u8 = 7;
/// What the directory loader takes an input for.
const SIGNED: u8 = 0;
const PAYLOAD: u8 = 1;
const SOURCE: u8 = 2;
/// Identifiers as text, good and bad.
const TEXTS: [&str; 8] = [
    "99050012104000",
    "99050",
    "147130000000",
    "14",
    "de.sn/leipzig",
    "de/router/a",
    "spki:6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "0199c82c-c000-7000-8000-000000000000",
];

/// Writes both corpora.
pub fn command() -> Result<()> {
    let corpus = workspace::root().join("tests/fuzz/corpus");
    let decoder = Corpus::open(corpus.join("decoder"))?;
    for file in ["statements", "bundles", "settlements", "receipts", "attach-tokens", "keys", "proof-files", "control"]
    {
        vectors(&decoder, file)?;
    }
    for text in TEXTS {
        decoder.add(&[&[TEXT], text.as_bytes()])?;
    }
    directories(&Corpus::open(corpus.join("directory"))?)
}

/// A folder of inputs, each named by its content.
struct Corpus(PathBuf);

impl Corpus {
    fn open(folder: PathBuf) -> Result<Self> {
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(Self(folder))
    }

    fn add(&self, pieces: &[&[u8]]) -> Result<()> {
        let input = pieces.concat();
        if input.len() > LARGEST {
            return Ok(());
        }
        let name: String = Digest::of(&input).to_string().chars().take(16).collect();
        let path = self.0.join(name);
        fs::write(&path, input).with_context(|| format!("cannot write {}", path.display()))
    }
}

fn vectors(corpus: &Corpus, file: &str) -> Result<()> {
    let path = workspace::root().join(format!("codecs/vectors/{file}.json"));
    let Ok(text) = fs::read_to_string(&path) else { return Ok(()) };
    let cases: Vec<Value> = serde_json::from_str(&text).with_context(|| format!("cannot read {}", path.display()))?;
    cases.iter().try_for_each(|case| vector(corpus, file, case))
}

fn vector(corpus: &Corpus, file: &str, case: &Value) -> Result<()> {
    let bytes = |field: &str| case.get(field).and_then(Value::as_str).and_then(|text| hex::decode(text).ok());
    let kind = case.get("type").and_then(Value::as_u64);
    match file {
        "statements" => bytes("bytes").map_or(Ok(()), |statement| corpus.add(&[&[STATEMENT], &statement])),
        "attach-tokens" => bytes("token").map_or(Ok(()), |token| corpus.add(&[&[TOKEN], &token])),
        "keys" => bytes("cose_key").map_or(Ok(()), |key| corpus.add(&[&[TOKEN], &key])),
        "proof-files" => bytes("file").map_or(Ok(()), |proof| corpus.add(&[&[ARCHIVE], &proof])),
        "bundles" => bytes("body").map_or(Ok(()), |body| {
            corpus.add(&[&[PART], &body])?;
            stream(corpus, frame_type::BUNDLE, &body)
        }),
        "receipts" => bytes("body").map_or(Ok(()), |body| frame(corpus, SETTLEMENT, frame_type::RECEIPTS, &body)),
        "control" => match (kind, bytes("body")) {
            (Some(kind), Some(body)) => frame(corpus, CONTROL, kind, &body),
            _ => Ok(()),
        },
        _ => match (kind, bytes("body")) {
            (Some(kind), Some(body)) => frame(corpus, SETTLEMENT, kind, &body),
            _ => Ok(()),
        },
    }
}

fn frame(corpus: &Corpus, form: u8, kind: u64, body: &[u8]) -> Result<()> {
    let Ok(kind_byte) = u8::try_from(kind) else { return Ok(()) };
    corpus.add(&[&[form, kind_byte], body])?;
    stream(corpus, kind, body)
}

/// The same body as a frame that arrives in pieces of seven bytes.
fn stream(corpus: &Corpus, kind: u64, body: &[u8]) -> Result<()> {
    let mut framed = bytes::BytesMut::new();
    encode_frame(kind, body, &mut framed);
    corpus.add(&[&[STREAM, 7], &framed])
}

/// The root zone of the demo, cut to a few entries, in its three forms.
fn directories(corpus: &Corpus) -> Result<()> {
    let mut plan = plan::draw(&Lists::shipped()?)?;
    plan.zones.truncate(1);
    for zone in &mut plan.zones {
        zone.endpoints.truncate(2);
        let kept: Vec<_> = zone.endpoints.iter().map(|endpoint| endpoint.id.clone()).collect();
        zone.routes.retain(|route| kept.contains(&route.endpoint));
        zone.routes.truncate(4);
    }
    let folder = tempfile::tempdir()?;
    let files = directory::write(&plan, folder.path(), now())?;
    let signed = fs::read(files.zones.join("de.zone"))?;
    corpus.add(&[&[SIGNED], &signed])?;
    let opened = snapshot::SignedSnapshot::open(signed.into())?;
    corpus.add(&[&[PAYLOAD], &snapshot::encode_payload(opened.snapshot())])?;
    corpus.add(&[&[SOURCE], &fs::read(files.sources.join("de.toml"))?])
}
