//! Where does a message wait when another table comes?

use std::sync::Arc;

use kernpost_codecs::Code;
use kernpost_router_core::{EngineEvent, LinkId};
use kernpost_tests::world::LEIPZIG;

use super::bench::Bench;

const CITY: LinkId = LinkId(9);
const LAND: LinkId = LinkId(10);

/// From now on `land` is responsible for everything.
fn move_to_land(bench: &mut Bench) {
    let land = bench.land.clone();
    bench.world.zone.routes.iter_mut().for_each(|route| route.endpoints = vec![land.clone()]);
    bench.table = bench.world.table(2);
    let table = Arc::clone(&bench.table);
    bench.event(EngineEvent::Table(table));
}

#[test]
fn what_was_under_way_when_its_route_moved_waits_for_the_new_recipient_afterwards() {
    let mut bench = Bench::new();
    let message = bench.message(LEIPZIG, |_| {});
    bench.hand_over(std::slice::from_ref(&message));
    let (city, land) = (bench.city.clone(), bench.land.clone());
    bench.attach(&city, CITY);
    let sent = bench.sent();
    assert_eq!(Bench::ids(&sent), [message.id]);
    move_to_land(&mut bench);
    bench.settle(&sent[0], &[0], Code::UNDECIDED_LINK_LOST);
    bench.detach(&city, CITY);
    bench.pass_ms(60_000);
    assert!(bench.sent().is_empty(), "nobody is there");
    bench.attach(&land, LAND);
    bench.pass_ms(60_000);
    let sent = bench.sent();
    assert_eq!(Bench::ids(&sent), [message.id]);
    assert_eq!((&sent[0].moves[0].recipient, sent[0].moves[0].hop.redelivered), (&land, true));
}
