//! What leaves first when somebody comes?

use kernpost_codecs::Class;
use kernpost_router_core::LinkId;
use kernpost_tests::world::LEIPZIG;

use super::bench::Bench;

const CITY: LinkId = LinkId(9);

#[test]
fn urgent_messages_leave_before_bulk_ones_that_were_taken_earlier() {
    let mut bench = Bench::new();
    let bulk = bench.message(LEIPZIG, |message| message.class = Class::Bulk);
    let urgent = bench.message(LEIPZIG, |message| message.class = Class::Urgent);
    bench.hand_over(std::slice::from_ref(&bulk));
    bench.hand_over(std::slice::from_ref(&urgent));
    let city = bench.city.clone();
    bench.attach(&city, CITY);
    assert_eq!(Bench::ids(&bench.sent()), [urgent.id, bulk.id]);
}

#[test]
fn of_two_queues_for_one_endpoint_the_one_with_the_older_message_goes_first() {
    // Names of queues sort by their endpoints: [city], then [city, land].
    for several_first in [true, false] {
        let mut bench = Bench::new();
        let (city, land) = (bench.city.clone(), bench.land.clone());
        bench.world.zone.routes[0].endpoints = [city.clone(), land].into();
        bench.table = bench.world.table(2);
        bench.restart();
        let to_several = bench.message(LEIPZIG, |_| {});
        let to_one = bench.message(LEIPZIG, |message| message.recipient = Some(city.clone()));
        let (older, newer) = if several_first { (to_several, to_one) } else { (to_one, to_several) };
        bench.hand_over(std::slice::from_ref(&older));
        bench.hand_over(std::slice::from_ref(&newer));
        assert_eq!(bench.custody.stats().queues, 2);
        bench.attach(&city, CITY);
        assert_eq!(Bench::ids(&bench.sent()), [older.id, newer.id], "several_first: {several_first}");
    }
}
