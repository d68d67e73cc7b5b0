//! While nobody knows what time it is, nothing is over.

use kernpost_codecs::{Code, Outcome};
use kernpost_router_core::LinkId;
use kernpost_router_core::custody::spool::Kind;
use kernpost_tests::world::LEIPZIG;

use super::bench::{Bench, DAY_MS};

const CITY: LinkId = LinkId(9);

#[test]
fn nothing_expires_by_an_unsynchronised_clock_and_what_is_past_its_time_does_when_it_is_synchronised_again() {
    let mut bench = Bench::new();
    let message = bench.message(LEIPZIG, |message| message.lifetime_s = 60);
    bench.hand_over(std::slice::from_ref(&message));
    bench.clock(false);
    bench.pass_ms(300_000);
    assert_eq!((bench.custody.ledger().expired, bench.custody.ledger().in_custody), (0, 1));
    bench.clock(true);
    bench.pass_ms(1_000);
    assert_eq!((bench.custody.ledger().expired, bench.custody.ledger().in_custody), (1, 0));
}

#[test]
fn an_unsynchronised_clock_holds_up_no_delivery() {
    let mut bench = Bench::new();
    let message = bench.message(LEIPZIG, |message| message.lifetime_s = 60);
    bench.hand_over(std::slice::from_ref(&message));
    bench.pass_ms(90_000);
    let city = bench.city.clone();
    bench.attach(&city, CITY);
    assert!(bench.sent().is_empty(), "past its time, by a clock that is believed");
    bench.clock(false);
    let sent = bench.sent();
    assert_eq!(Bench::ids(&sent), [message.id]);
    bench.answer_with(&city, &sent[0], &[0], Outcome::Delivered);
    assert_eq!(bench.custody.ledger().delivered, 1);
}

#[test]
fn a_key_is_not_past_its_time_for_good_by_an_unsynchronised_clock() {
    let mut bench = Bench::new();
    bench.hand_over_one();
    let portal = bench.portal.clone();
    let until = bench.world.now.plus_ms(DAY_MS);
    let key = &mut bench.world.entry(&portal).keys[0];
    (key.sign_until, key.verify_until) = (until, until.plus_ms(31 * DAY_MS));
    let table = bench.world.table(2);
    bench.clock(false);
    bench.event(kernpost_router_core::EngineEvent::Table(table));
    bench.pass_ms(40 * DAY_MS);
    let city = bench.city.clone();
    bench.attach(&city, CITY);
    assert!(bench.sent().is_empty());
    assert_eq!((bench.custody.ledger().returned, bench.custody.ledger().in_custody), (0, 1));
    bench.clock(true);
    bench.pass_ms(1_000);
    assert_eq!((bench.custody.ledger().expired, bench.custody.ledger().in_custody), (1, 0));
}

#[test]
fn nothing_is_forgotten_by_an_unsynchronised_clock() {
    let mut bench = Bench::new();
    let message = bench.hand_over_one();
    let city = bench.city.clone();
    bench.attach(&city, CITY);
    let sent = bench.sent();
    bench.answer_with(&city, &sent[0], &[0], Outcome::Delivered);
    bench.detach(&city, CITY);
    let record = bench.kept_of(Kind::Messages)[0];
    bench.clock(false);
    bench.pass_ms(800 * DAY_MS);
    bench.settled();
    bench.ask(&message);
    assert_eq!(bench.settled(), [Ok(Outcome::Delivered)]);
    bench.clock(true);
    bench.pass_ms(1_000);
    assert!(bench.record(record).is_none());
    bench.ask(&message);
    assert_eq!(bench.settled(), [Err(Code::NOT_ATTACHED)]);
}
