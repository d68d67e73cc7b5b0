//! The index of a record is damaged: who is still told what?

use kernpost_codecs::{Code, Outcome};
use kernpost_router_core::LinkId;
use kernpost_router_core::custody::CustodyAlarm;
use kernpost_router_core::custody::spool::{EntryState, Kind};
use kernpost_tests::world::LEIPZIG;

use super::bench::{Bench, DAY_MS};

const CITY: LinkId = LinkId(9);
const PORTAL: LinkId = LinkId(10);

impl Bench {
    fn damaged_only(&self) {
        // After two years the router's key is past its time, too.
        let told: Vec<_> = self.alarms.iter().filter(|alarm| **alarm != CustodyAlarm::NoKey).collect();
        assert!(matches!(told.as_slice(), [CustodyAlarm::Damaged { .. }]), "{:?}", self.alarms);
    }
}

#[test]
fn a_record_of_which_one_message_had_ended_is_restored_and_the_other_is_delivered() {
    let mut bench = Bench::new();
    let (first, second) = (bench.message(LEIPZIG, |_| {}), bench.message(LEIPZIG, |_| {}));
    bench.hand_over(&[first.clone(), second.clone()]);
    let city = bench.city.clone();
    bench.attach(&city, CITY);
    let sent = bench.sent();
    assert_eq!(Bench::ids(&sent), [first.id, second.id]);
    bench.detach(&city, CITY);
    bench.settle(&sent[0], &[1], Code::UNDECIDED_LINK_LOST);
    bench.answer_with(&city, &sent[0], &[0], Outcome::Delivered);
    let record = bench.kept_of(Kind::Messages)[0];
    let (_, part) = bench.record(record).unwrap();
    assert!(part.entries()[0].payload.is_empty() && !part.entries()[1].payload.is_empty());

    bench.restart();
    bench.damage_head(record);
    bench.attach(&city, CITY);
    bench.damaged_only();
    let again = bench.sent();
    assert_eq!(Bench::ids(&again), [second.id]);
    assert!(again[0].moves[0].hop.redelivered);
    let (head, _) = bench.record(record).unwrap();
    assert!(matches!(head.entries[0].state, EntryState::Sent(_)));
    bench.answer_with(&city, &again[0], &[0], Outcome::Delivered);
    let portal = bench.portal.clone();
    bench.attach(&portal, PORTAL);
    let late: Vec<_> = bench.sent();
    assert_eq!(late.iter().map(|onward| onward.moves.len()).sum::<usize>(), 2, "both receipts reach the sender");
    assert_eq!(bench.custody.ledger().in_custody, 0);
}

#[test]
fn a_record_whose_messages_have_all_ended_raises_no_alarm_that_nobody_can_be_told_and_asks_go_to_the_recipient() {
    let mut bench = Bench::new();
    let message = bench.hand_over_one();
    let city = bench.city.clone();
    bench.attach(&city, CITY);
    let sent = bench.sent();
    bench.answer_with(&city, &sent[0], &[0], Outcome::Delivered);
    let record = bench.kept_of(Kind::Messages)[0];
    bench.damage_head(record);
    bench.pass_ms(731 * DAY_MS);
    bench.damaged_only();
    assert!(bench.sent().is_empty(), "it has ended: it is not delivered again");
    bench.settled();
    bench.ask(&message);
    let asked = bench.sent();
    assert_eq!(Bench::ids(&asked), [message.id]);
    assert!(asked[0].moves[0].hop.ask && asked[0].moves[0].recipient == city);
    assert!(bench.settled().is_empty(), "the recipient answers");
}

#[test]
fn a_record_of_receipts_is_restored_and_they_are_sent_again() {
    let mut bench = Bench::new();
    let message = bench.hand_over_one();
    let (city, portal) = (bench.city.clone(), bench.portal.clone());
    bench.attach(&city, CITY);
    let sent = bench.sent();
    bench.answer_with(&city, &sent[0], &[0], Outcome::Delivered);
    let receipt = bench.kept_of(Kind::Receipts)[0];
    bench.restart();
    bench.damage_head(receipt);
    bench.attach(&portal, PORTAL);
    bench.damaged_only();
    let late = bench.sent();
    assert_eq!(Bench::ids(&late), [message.id]);
    assert!(late[0].moves[0].late && late[0].moves[0].recipient == portal);
    bench.settle(&late[0], &[0], Code::NOTED);
    assert_eq!(bench.custody.stats().noted, 1);
    assert_eq!(bench.custody.ledger().unreadable, 0);
}

#[test]
fn a_restored_record_with_nobody_responsible_any_more_goes_back_to_its_sender() {
    let mut bench = Bench::new();
    bench.hand_over_one();
    let record = bench.kept_of(Kind::Messages)[0];
    bench.world.zone.routes.clear();
    bench.table = bench.world.table(2);
    bench.damage_head(record);
    bench.restart();
    bench.damaged_only();
    let portal = bench.portal.clone();
    bench.attach(&portal, PORTAL);
    assert_eq!(bench.custody.ledger().returned, 1);
}
