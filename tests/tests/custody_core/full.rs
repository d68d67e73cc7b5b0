//! What was said of a record while there was no room for it.

use kernpost_codecs::Outcome;
use kernpost_router_core::LinkId;
use kernpost_router_core::custody::spool::{EntryState, Kind};

use super::bench::Bench;

#[test]
fn a_move_that_found_no_room_does_not_bring_back_what_has_ended_meanwhile() {
    let mut bench = Bench::new();
    let message = bench.hand_over_one();
    assert_eq!(bench.settled(), [Ok(Outcome::Custody)]);
    let record = bench.kept_of(Kind::Messages)[0];

    // Somebody else is responsible now; that it waits for them cannot be written.
    bench.disk.fill_at(Some(0));
    let (city, land) = (bench.city.clone(), bench.land.clone());
    bench.lead_routes_to(&land);
    bench.disk.fill_at(None);

    // Those it waited for come, and those it is for.
    bench.attach(&land, LinkId(10));
    bench.attach(&city, LinkId(9));
    let sent = bench.sent();
    assert_eq!(Bench::ids(&sent), [message.id]);
    bench.answer_with(&land, &sent[0], &[0], Outcome::Delivered);
    bench.pass_ms(60_000);
    let (head, _) = bench.record(record).unwrap();
    assert!(matches!(head.entries[0].state, EntryState::Final { outcome: Outcome::Delivered, .. }), "{head:?}");
    assert!(
        bench.sent().iter().all(|onward| onward.moves[0].recipient == bench.portal),
        "only the late receipt is sent"
    );
    assert!(bench.custody.ledger().balanced());
}

#[test]
fn a_move_that_found_no_room_is_made_when_there_is_some() {
    let mut bench = Bench::new();
    let message = bench.hand_over_one();
    let land = bench.land.clone();
    bench.disk.fill_at(Some(0));
    bench.lead_routes_to(&land);
    bench.pass_ms(60_000);
    bench.disk.fill_at(None);
    bench.pass_ms(60_000);
    bench.attach(&land, LinkId(10));
    assert_eq!(Bench::ids(&bench.sent()), [message.id]);
}

#[test]
fn a_move_that_found_no_room_is_given_up_when_the_route_comes_back() {
    let mut bench = Bench::new();
    let message = bench.hand_over_one();
    let (city, land) = (bench.city.clone(), bench.land.clone());
    bench.disk.fill_at(Some(0));
    bench.lead_routes_to(&land);
    bench.lead_routes_to(&city);
    bench.disk.fill_at(None);
    bench.pass_ms(60_000);
    bench.attach(&city, LinkId(9));
    assert_eq!(Bench::ids(&bench.sent()), [message.id]);
}
