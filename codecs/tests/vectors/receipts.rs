//! RECEIPTS bodies with the statements they stand for (WIRE 8.2).

use kernpost_codecs::class::Class;
use kernpost_codecs::code::Outcome;
use kernpost_codecs::id::Party;
use kernpost_codecs::receipts::{ReceiptsBuilder, ReceiptsFrame, Subject};
use kernpost_codecs::root::RootSignature;
use kernpost_codecs::settlement::Label;
use kernpost_codecs::tree::{EMPTY_LEAF, leaf_hash};
use serde_json::{Value, json};

use super::{
    CREATED, Keys, body_of, directory_version, hex, message, message_id, portal, settlements, stored_case, unhex,
};

pub fn make(keys: &Keys, stored: &[Value]) -> Value {
    let authority: Party = "de.by/landshut".parse().unwrap();
    let router: Party = "de.by/router/muc1".parse().unwrap();
    let lone = signed(keys, "authority", authority.clone(), &[(1, Outcome::Delivered, 0, None)]);
    let four = [
        (1, Outcome::Delivered, 0, None),
        (2, Outcome::Rejected, 1_004, Some("{\"title\":\"Anlage fehlt\"}")),
        (3, Outcome::Delivered, 0, None),
        (4, Outcome::Rejected, 134, None),
    ];
    let frame = signed(keys, "authority", authority, &four);
    let custody = signed(keys, "router", router, &[(5, Outcome::Custody, 0, None), (6, Outcome::Custody, 0, None)]);
    let mut cases = vec![
        good("lone", &lone, &[1]),
        good("four", &frame, &[1, 2, 3, 4]),
        good("custody-of-a-router", &custody, &[5, 6]),
        good("split-of-four", &split(&frame, &[1, 2, 3, 4], &[1, 3]), &[2, 4]),
    ];
    let hybrid = ["portal-esp256", "portal-ml-dsa-65"];
    let two = [(7, Outcome::Delivered, 0, None), (8, Outcome::Delivered, 0, None)];
    let made = signed_with(keys, &hybrid, portal().into(), &two);
    let kept = stored_case(stored, "hybrid")
        .and_then(|case| ReceiptsFrame::decode(unhex(&case["body"]).into()).ok())
        .filter(|kept| kept.entries == made.entries && holds(keys, &hybrid, kept, &[7, 8]));
    cases.push(good("hybrid", &kept.unwrap_or(made), &[7, 8]));
    let mut refuse = |name: &str, clause: &str, frame: &ReceiptsFrame, numbers: &[u8], error: &str| {
        let mut case = bare(name, clause, frame, numbers);
        case["error"] = json!(error);
        cases.push(case);
    };
    refuse("subject-of-another-message", "WIRE 8.2", &frame, &[1, 2, 4, 3], "bad-signature");
    refuse(
        "sibling-missing",
        "WIRE 5.5",
        &split(&frame, &[1, 2, 3, 4], &[1, 3]).without_sibling(),
        &[2, 4],
        "bad-proof",
    );
    let mut superfluous = frame.clone();
    superfluous.siblings.push(leaf_hash(b"superfluous"));
    refuse("sibling-superfluous", "WIRE 5.5", &superfluous, &[1, 2, 3, 4], "bad-proof");
    let mut explicit = lone.clone();
    explicit.siblings.push(EMPTY_LEAF);
    refuse("implied-leaf-sent", "WIRE 5.2", &explicit, &[1], "bad-proof");
    let mut outcome = frame.clone();
    outcome.entries[0].outcome = Outcome::Rejected;
    refuse("outcome-changed", "WIRE 8.2", &outcome, &[1, 2, 3, 4], "bad-signature");
    let mut time = frame.clone();
    time.time = time.time.plus_ms(1);
    refuse("time-changed", "WIRE 8.2", &time, &[1, 2, 3, 4], "bad-signature");
    let mut order = frame.clone();
    order.entries.swap(0, 1);
    refuse("indices-fall", "WIRE 5.5", &order, &[2, 1, 3, 4], "frame-malformed");
    let body = body_of(|out| frame.encode(out));
    let mut case = json!({ "name": "cut", "clause": "WIRE 8", "body": hex(&body[..body.len() - 1]), "subjects": [] });
    case["error"] = json!("frame-malformed");
    cases.push(case);
    Value::Array(cases)
}

trait WithoutSibling {
    fn without_sibling(self) -> Self;
}

impl WithoutSibling for ReceiptsFrame {
    fn without_sibling(mut self) -> Self {
        self.siblings.pop();
        self
    }
}

type Told<'a> = (u8, Outcome, u64, Option<&'a str>);

fn signed(keys: &Keys, key: &str, issuer: Party, told: &[Told<'_>]) -> ReceiptsFrame {
    signed_with(keys, &[key], issuer, told)
}

fn signed_with(keys: &Keys, names: &[&str], issuer: Party, told: &[Told<'_>]) -> ReceiptsFrame {
    let mut builder = ReceiptsBuilder::new();
    for (number, outcome, code, problem) in told {
        let addressee = portal();
        let subject = subject(&addressee, *number);
        assert!(builder.push(subject, *outcome, *code, problem.map(str::to_owned), label(*number)));
    }
    let signers: Vec<_> = names.iter().map(|name| keys.get(name)).collect();
    builder.sign(issuer, directory_version(), CREATED.plus_ms(250), &signers).unwrap()
}

/// Whether the frame is signed by these keys.
fn holds(keys: &Keys, names: &[&str], frame: &ReceiptsFrame, numbers: &[u8]) -> bool {
    let addressee = portal();
    let subjects: Vec<Subject<'_>> = numbers.iter().map(|number| subject(&addressee, *number)).collect();
    let Ok(rebuilt) = frame.rebuild(&subjects) else { return false };
    let signed =
        |(signature, name): (&RootSignature, &&str)| signature.verify(keys.get(name).public(), &rebuilt.root()).is_ok();
    frame.signatures.len() == names.len() && frame.signatures.iter().zip(names).all(signed)
}

fn subject(addressee: &kernpost_codecs::id::EndpointId, number: u8) -> Subject<'_> {
    Subject { addressee, message: message_id(number), leaf: leaf_hash(&message(number).encode()) }
}

fn label(number: u8) -> Label {
    Label { class: Class::Interactive, sequence: 12, index: number.into() }
}

/// The frame that a router sends on with the receipts at `positions`, under labels of its own.
fn split(frame: &ReceiptsFrame, numbers: &[u8], positions: &[usize]) -> ReceiptsFrame {
    let addressee = portal();
    let subjects: Vec<Subject<'_>> = numbers.iter().map(|number| subject(&addressee, *number)).collect();
    let rebuilt = frame.rebuild(&subjects).unwrap();
    let labels: Vec<Label> = positions
        .iter()
        .zip(0..)
        .map(|(_, index)| Label { class: Class::Interactive, sequence: 4_711, index })
        .collect();
    let body = body_of(|out| assert_eq!(rebuilt.encode_subset(frame, positions, &labels, out), Ok(positions.len())));
    ReceiptsFrame::decode(body).unwrap()
}

/// Body and what the receiver knows of the labels.
fn bare(name: &str, clause: &str, frame: &ReceiptsFrame, numbers: &[u8]) -> Value {
    let subject = |number: &u8| {
        json!({
            "addressee": portal().to_string(),
            "message": message_id(*number).to_string(),
            "leaf": leaf_hash(&message(*number).encode()).to_string(),
        })
    };
    json!({
        "name": name, "clause": clause,
        "body": hex(body_of(|out| frame.encode(out))),
        "subjects": numbers.iter().map(subject).collect::<Vec<_>>(),
    })
}

fn good(name: &str, frame: &ReceiptsFrame, numbers: &[u8]) -> Value {
    let addressee = portal();
    let subjects: Vec<Subject<'_>> = numbers.iter().map(|number| subject(&addressee, *number)).collect();
    let rebuilt = frame.rebuild(&subjects).unwrap();
    let mut case = bare(name, "WIRE 8.2", frame, numbers);
    let more = json!({
        "issuer": frame.issuer.to_string(),
        "directory_version": frame.directory_version.0.to_string(),
        "time": frame.time.0,
        "tree_size": frame.tree_size,
        "kids": frame.signatures.iter().map(|s| s.kid().unwrap().to_string()).collect::<Vec<_>>(),
        "root": rebuilt.root().to_string(),
        "statements": rebuilt.statements.iter().map(hex).collect::<Vec<_>>(),
        "labels": frame.entries.iter().map(|entry| settlements::label(&entry.label)).collect::<Vec<_>>(),
    });
    for (field, value) in more.as_object().unwrap() {
        case[field] = value.clone();
    }
    case
}
