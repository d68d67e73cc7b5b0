//! Whatever routers answer and whenever links or processes fail: every message ends once, and the books balance.

use std::collections::BTreeMap;

use bytes::Bytes;
use kernpost_codecs::{Code, MessageId, Outcome};

use super::script::{Script, Seen};
use crate::core::*;

/// splitmix64: a seed repeats a run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % sides
    }

    fn draw(&mut self, from: &mut Vec<Seen>) -> Option<Seen> {
        let length = u64::try_from(from.len()).ok().filter(|length| *length > 0)?;
        Some(from.swap_remove(usize::try_from(self.roll(length)).unwrap()))
    }
}

fn step(script: &mut Script, dice: &mut Dice, open: &mut Vec<Seen>, known: &mut Vec<Seen>, up: &mut [bool; 2]) {
    match dice.roll(20) {
        0..=3 => script.pass(dice.roll(3_000)),
        4 => script.pass(60_000 * dice.roll(20)),
        5..=12 => {
            let Some(seen) = dice.draw(open) else { return };
            if !up[seen.router] {
                return;
            }
            match dice.roll(8) {
                0 => script.receipt(&seen, Outcome::Delivered),
                1 | 2 => script.receipt(&seen, Outcome::Custody),
                3 => script.receipt(&seen, Outcome::Damaged),
                4 => script.settle(&seen, Code::UNKNOWN_MESSAGE),
                5 => script.settle(&seen, Code::BUSY),
                6 => script.settle(&seen, Code::NOT_ATTACHED),
                _ => script.settle(&seen, Code::UNDECIDED_STORAGE),
            }
            known.push(seen);
        }
        13..=15 => {
            let Some(seen) = dice.draw(known) else { return };
            let outcome = [Outcome::Delivered, Outcome::Damaged, Outcome::Expired, Outcome::Rejected];
            if let Some(router) = up.iter().position(|up| *up) {
                let outcome = outcome[usize::try_from(dice.roll(4)).unwrap()];
                assert_eq!(script.late(&seen.statement, outcome, router), Some(Code::NOTED));
            }
        }
        16 | 17 => {
            let router = usize::try_from(dice.roll(2)).unwrap();
            if up[router] {
                script.disconnect(router);
            } else {
                script.connect(router);
            }
            up[router] = !up[router];
        }
        18 => {
            let Some(seen) = dice.draw(known) else { return };
            let _ = script.core.handle_ask(script.now, seen.statement.clone(), 5_000);
            script.run();
            known.push(seen);
        }
        _ if script.stored() => {
            script.restart();
            *up = [true, true];
            open.clear();
        }
        _ => {}
    }
}

/// Runs one storm; gives the finals of each message.
fn storm(seed: u64, stored: bool) {
    let (mut script, mut dice) = (Script::new(stored), Dice(seed));
    let (mut open, mut known, mut up) = (Vec::new(), Vec::new(), [true, true]);
    let mut sent = Vec::new();
    for n in 1..=12_u8 {
        for _ in 0..dice.roll(12) {
            open.extend(script.seen.drain(..));
            step(&mut script, &mut dice, &mut open, &mut known, &mut up);
            assert!(script.core.ledger().balances(), "seed {seed}: {:?}", script.core.ledger());
        }
        let case = (dice.roll(3) > 0).then(|| Bytes::from_static(if n % 2 == 0 { b"even" } else { b"odd" }));
        sent.push(script.send_this(&Outgoing { case, ..script.outgoing(n) }));
    }
    for router in [0, 1] {
        if !up[router] {
            script.connect(router);
        }
    }
    // Now everything goes well.
    for _ in 0..400 {
        while let Some(seen) = script.seen.pop_front() {
            script.receipt(&seen, Outcome::Delivered);
        }
        script.pass(30_000);
    }
    let ledger = script.core.ledger();
    assert!(ledger.balances() && ledger.open == 0 && ledger.in_custody == 0, "seed {seed}: {ledger:?}");
    assert_eq!((script.core.held_cases(), script.core.is_idle()), (0, true), "seed {seed}");
    let mut ends: BTreeMap<MessageId, Vec<FinalOutcome>> = BTreeMap::new();
    for end in &script.ended {
        // Answers to questions are ends of their own.
        if end.outcome != FinalOutcome::Custody && end.outcome != FinalOutcome::Undecided {
            ends.entry(end.id).or_default().push(end.outcome);
        }
    }
    if stored {
        assert_eq!(script.disk.len(), sent.len());
        let all_end = script.disk.values().all(|kept| matches!(kept.outcome, Some((Place::Final, _))));
        assert!(all_end, "seed {seed}: the durable outbox holds something open");
        assert_eq!(ends.len(), sent.len(), "seed {seed}: some message never ended");
    }
}

#[test]
fn whatever_happens_every_message_ends_and_the_books_balance() {
    for seed in 0..20 {
        for stored in [false, true] {
            storm(seed, stored);
        }
    }
}
