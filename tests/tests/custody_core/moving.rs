//! Where does a message wait when another table comes?

use kernpost_codecs::Code;
use kernpost_router_core::LinkId;

use super::bench::Bench;

const CITY: LinkId = LinkId(9);
const LAND: LinkId = LinkId(10);

#[test]
fn what_was_under_way_when_its_route_moved_waits_for_the_new_recipient_afterwards() {
    let mut bench = Bench::new();
    let message = bench.hand_over_one();
    let (city, land) = (bench.city.clone(), bench.land.clone());
    bench.attach(&city, CITY);
    let sent = bench.sent();
    assert_eq!(Bench::ids(&sent), [message.id]);
    bench.lead_routes_to(&land);
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
