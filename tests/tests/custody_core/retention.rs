//! What stays of a message that has ended, and for how long?

use kernpost_codecs::{Code, Outcome};
use kernpost_router_core::LinkId;
use kernpost_router_core::custody::spool::Kind;

use super::bench::{Bench, DAY_MS, PAYLOAD};

const CITY: LinkId = LinkId(9);

#[test]
fn the_payload_goes_with_the_end_and_the_answer_stays_for_730_days() {
    let mut bench = Bench::new();
    let message = bench.hand_over_one();
    assert_eq!(bench.settled(), [Ok(Outcome::Custody)]);
    let record = bench.kept_of(Kind::Messages)[0];
    assert_eq!(bench.record(record).unwrap().1.entries()[0].payload, PAYLOAD);
    let city = bench.city.clone();
    bench.attach(&city, CITY);
    let sent = bench.sent();
    bench.answer_with(&city, &sent[0], &[0], Outcome::Delivered);
    bench.detach(&city, CITY);
    let (_, part) = bench.record(record).unwrap();
    assert!(part.entries()[0].payload.is_empty());
    assert_eq!(part.entries()[0].statement, message.encode());

    bench.pass_ms(729 * DAY_MS);
    bench.ask(&message);
    assert_eq!(bench.settled(), [Ok(Outcome::Delivered)]);
    bench.pass_ms(2 * DAY_MS);
    assert!(bench.record(record).is_none());
    bench.ask(&message);
    // Unknown here: it would be asked of the recipient, which is not there.
    assert_eq!(bench.settled(), [Err(Code::NOT_ATTACHED)]);
}
