//! What happened, in words: the last events of a run, kept as they came and only put into words when something broke.

use std::collections::VecDeque;

use bytes::Bytes;
use kernpost_codecs::part::Part;
use kernpost_codecs::settlement::SettlementFrame;
use kernpost_codecs::{FrameDecoder, LaneKind, MessageRef, Receipt};

use super::network::{Event, Stream};

/// Events of a run that say something; timers and what became writable are left out. Bounded by `MOST`.
#[derive(Default)]
pub struct Trace {
    events: VecDeque<(u64, Event)>,
}

impl Trace {
    pub fn push(&mut self, at_us: u64, event: &Event) {
        if matches!(event, Event::Wake { .. } | Event::Writable { .. } | Event::Spooled { .. } | Event::Idle { .. }) {
            return;
        }
        if self.events.len() == MOST {
            self.events.pop_front();
        }
        self.events.push_back((at_us, event.clone()));
    }

    pub fn in_words(&self) -> Vec<String> {
        self.events.iter().filter_map(|(at_us, event)| Some(format!("{at_us:>10} {}", describe(event)?))).collect()
    }
}

/// Events kept.
const MOST: usize = 20_000;

/// `None`: control frames and credit.
fn describe(event: &Event) -> Option<String> {
    match event {
        Event::Arrive { stream: Stream::Control, .. } => None,
        Event::Arrive { connection, to, stream: Stream::Lane(lane), bytes } => {
            let what = frames(*lane, bytes.clone());
            (!what.is_empty()).then(|| format!("to {to:?} by {connection:?}: {}", what.join("; ")))
        }
        other => Some(format!("{other:?}")),
    }
}

fn frames(lane: LaneKind, bytes: Bytes) -> Vec<String> {
    let mut decoder = FrameDecoder::new();
    decoder.push(bytes);
    let mut what = Vec::new();
    while let Ok(Some(frame)) = decoder.next() {
        match lane {
            LaneKind::Bundle(_) => what.extend(Part::decode(frame.body).ok().map(|part| entries(&part))),
            _ => match SettlementFrame::decode(frame.kind, frame.body) {
                Ok(Some(SettlementFrame::Settle(settle))) => {
                    what.push(format!("{} {:?} {:?}", settle.code, settle.ranges, settle.detail));
                }
                Ok(Some(SettlementFrame::Receipts(receipts))) => {
                    let each = receipts.entries.iter().map(|receipt| (receipt.outcome, receipt.label));
                    what.push(format!("receipts of {}: {:?}", receipts.issuer, each.collect::<Vec<_>>()));
                }
                _ => {}
            },
        }
    }
    what
}

fn entries(part: &Part) -> String {
    let entry = |entry: &kernpost_codecs::Entry| {
        let what = match (MessageRef::parse(&entry.statement), Receipt::parse(&entry.statement)) {
            (Ok(message), _) if entry.hop.ask => format!("ask {}", message.id),
            (Ok(message), _) if entry.hop.redelivered => format!("message {} again", message.id),
            (Ok(message), _) => format!("message {}", message.id),
            (_, Ok(receipt)) => format!("receipt {:?} of {}", receipt.outcome, receipt.message),
            _ => "something".to_owned(),
        };
        format!("{} {what}", entry.index)
    };
    part.entries().iter().map(entry).collect::<Vec<_>>().join(", ")
}
