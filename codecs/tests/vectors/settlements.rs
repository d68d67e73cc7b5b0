//! CREDIT, SETTLE and WANT bodies (WIRE 7, 8, 9.1).

use kernpost_codecs::class::Class;
use kernpost_codecs::code::Code;
use kernpost_codecs::settlement::{Detail, Label, Settle, SettlementFrame};
use serde_json::{Value, json};

use super::{body_of, hex};

pub fn make() -> Value {
    let mut cases = Vec::new();
    let mut add = |name: &str, clause: &str, kind: u64, frame: &SettlementFrame| {
        let body = hex(body_of(|out| frame.encode(out)));
        let mut case = describe(frame);
        case["name"] = json!(name);
        case["clause"] = json!(clause);
        case["type"] = json!(kind);
        case["body"] = json!(body);
        cases.push(case);
    };
    let label = |sequence, index| Label { class: Class::Interactive, sequence, index };
    add("credit", "WIRE 7.1", 0x30, &SettlementFrame::Credit { class: Class::Bulk, entries: 4_096, bytes: 1 << 31 });
    add("credit-zero", "WIRE 7.1", 0x30, &SettlementFrame::Credit { class: Class::Urgent, entries: 0, bytes: 0 });
    add("want", "WIRE 9.1", 0x33, &SettlementFrame::Want { label: label(70_000, 255), offset: 1 << 30 });
    let settle = |code, detail, labels| SettlementFrame::Settle(Settle::new(code, detail, labels));
    add("noted", "WIRE 8.4", 0x31, &settle(Code::NOTED, Detail::default(), vec![label(0, 0)]));
    let many = (0..40).filter(|at| at % 10 != 7).map(|at| label(9, at)).chain([label(11, 3)]).collect();
    add("undecided-many-ranges", "WIRE 8", 0x31, &settle(Code::UNDECIDED_DEADLINE, Detail::default(), many));
    let busy = Detail {
        endpoint: Some("de.by/landshut".parse().unwrap()),
        router: Some("de.by/router/muc1".parse().unwrap()),
        presence: Some(77),
        retry_after_ms: Some(250),
        text: Some("ausgelastet".to_owned()),
    };
    add("busy-with-detail", "WIRE 8.3", 0x31, &settle(Code::BUSY, busy, vec![label(3, 0), label(3, 1)]));
    add("code-unknown", "WIRE 8.4", 0x31, &settle(Code(999), Detail::default(), vec![label(1 << 40, 8)]));
    cases.push(json!({
        "name": "detail-key-unknown-is-ignored", "clause": "WIRE 1.2", "type": 0x31, "body": "4079".to_owned() + "04a1061861" + "01" + "01000001",
        "settle": { "code": 121, "detail": detail(&Detail::default()), "ranges": [range(1, 0, 0, 1)] },
    }));
    cases.extend(refused());
    Value::Array(cases)
}

/// What a frame says, under the name of its type.
pub fn describe(frame: &SettlementFrame) -> Value {
    match frame {
        SettlementFrame::Credit { class, entries, bytes } => {
            json!({ "credit": { "class": class.as_u64(), "entries": entries, "bytes": bytes } })
        }
        SettlementFrame::Want { label, offset } => json!({ "want": { "label": self::label(label), "offset": offset } }),
        SettlementFrame::Settle(settle) => {
            let ranges = settle.ranges.iter();
            let ranges = ranges.map(|r| range(r.class.as_u64(), r.sequence, r.first, r.count)).collect::<Vec<_>>();
            json!({ "settle": { "code": settle.code.0, "detail": detail(&settle.detail), "ranges": ranges } })
        }
        SettlementFrame::Receipts(_) => json!({}),
    }
}

pub fn label(label: &Label) -> Value {
    json!({ "class": label.class.as_u64(), "sequence": label.sequence, "index": label.index })
}

fn range(class: u64, sequence: u64, first: u16, count: u16) -> Value {
    json!({ "class": class, "sequence": sequence, "first": first, "count": count })
}

fn detail(detail: &Detail) -> Value {
    json!({
        "endpoint": detail.endpoint.as_ref().map(ToString::to_string),
        "router": detail.router.as_ref().map(ToString::to_string),
        "presence": detail.presence,
        "retry_after_ms": detail.retry_after_ms,
        "text": detail.text,
    })
}

fn refused() -> Vec<Value> {
    // A SETTLE body: code 4079 (121), detail length, detail, range count, then class, sequence, first index, count.
    [
        ("credit-class-3", "WIRE 1.8", 0x30, "03 00 00"),
        ("credit-cut", "WIRE 7", 0x30, "00 00"),
        ("credit-not-shortest", "WIRE 1.1", 0x30, "00 4000 00"),
        ("credit-trailing", "WIRE 7", 0x30, "00 00 00 00"),
        ("settle-no-range", "WIRE 8", 0x31, "4079 00 00"),
        ("settle-257-ranges-stated", "WIRE 8", 0x31, "4079 00 4101 01 00 00 01"),
        ("settle-count-0", "WIRE 8", 0x31, "4079 00 01 01 00 00 00"),
        ("settle-range-beyond-255", "WIRE 8", 0x31, "4079 00 01 01 00 40ff 02"),
        ("settle-detail-above-512", "WIRE 8", 0x31, "4079 4201"),
        ("settle-detail-not-a-map", "WIRE 8.3", 0x31, "4079 01 80 01 01 00 00 01"),
        ("settle-detail-critical", "WIRE 1.2", 0x31, "4079 03 a12000 01 01 00 00 01"),
        ("settle-detail-key-order", "WIRE 1.2", 0x31, "4079 05 a204010301 01 01 00 00 01"),
        ("settle-detail-router-id", "WIRE 1.6", 0x31, "4079 04 a1026161 01 01 00 00 01"),
        ("want-index-256", "WIRE 8", 0x33, "00 00 4100 00"),
        ("want-cut", "WIRE 8", 0x33, "00 00 00"),
    ]
    .into_iter()
    .map(|(name, clause, kind, body)| {
        let body = body.replace(' ', "");
        json!({ "name": name, "clause": clause, "type": kind, "body": body, "error": "frame-malformed" })
    })
    .collect()
}
