//! Beginnings of payload streams: kind, head, first bytes (WIRE 9.3).

use bytes::BytesMut;
use kernpost_codecs::class::Class;
use kernpost_codecs::payload::PayloadHead;
use kernpost_codecs::settlement::Label;
use serde_json::{Value, json};

use super::{hex, label};

pub fn make() -> Value {
    let good = |name: &str, class, sequence, index, offset, payload: &str| {
        let head = PayloadHead { label: Label { class, sequence, index }, offset };
        let mut stream = BytesMut::new();
        head.encode(&mut stream);
        let stream = hex(&stream) + payload;
        json!({ "name": name, "clause": "WIRE 9.3", "stream": stream, "head": describe(&head), "payload": payload })
    };
    let refused = |name: &str, clause: &str, stream: &str| {
        let stream = stream.replace(' ', "");
        json!({ "name": name, "clause": clause, "stream": stream, "error": "frame-malformed" })
    };
    json!([
        good("from-the-beginning", Class::Interactive, 0, 0, 0, "255044462d"),
        good("resumed", Class::Bulk, 70_000, 255, (1 << 31) - 1, "00"),
        good("head-alone", Class::Urgent, 1 << 40, 64, 786_432, ""),
        refused("class-3", "WIRE 1.8", "04 03 00 00 00"),
        refused("index-256", "WIRE 9.3", "04 00 00 4100 00"),
        refused("sequence-not-shortest", "WIRE 1.1", "04 00 4001 00 00"),
    ])
}

pub fn describe(head: &PayloadHead) -> Value {
    json!({ "label": label(&head.label), "offset": head.offset })
}
