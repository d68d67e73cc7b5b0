//! Large payloads that find no room, or a disk that fails.

use kernpost_codecs::Code;
use kernpost_codecs::part::HopHeader;
use kernpost_codecs::settlement::Label;
use kernpost_router_core::Crossing;
use kernpost_router_core::custody::{CustodyAlarm, PayloadEvent, PayloadOrder, Received};
use kernpost_tests::world::LEIPZIG;

use super::bench::Bench;

const MIB: u64 = 1 << 20;

impl Bench {
    fn announce(&mut self, length: u64) {
        let message = self.message(LEIPZIG, |message| message.payload_len = length);
        let onward = self.part(&[message], &HopHeader { detached: true, ..HopHeader::default() });
        self.cross(Crossing::Entries(onward));
    }

    /// The label under which the payload announced last is to be received; `None`: it is not.
    fn opened(&mut self) -> Option<Label> {
        std::mem::take(&mut self.orders).into_iter().find_map(|order| match order {
            PayloadOrder::Open { label, .. } => Some(label),
            _ => None,
        })
    }

    fn ended(&mut self, label: Label, received: Received) {
        let now = self.now();
        self.custody.handle_payload(now, PayloadEvent::Ended { label, received });
        self.run();
    }
}

#[test]
fn a_payload_that_finds_the_disk_full_is_not_wanted_now_and_the_next_is_welcome() {
    let mut bench = Bench::new();
    bench.announce(MIB);
    let label = bench.opened().unwrap();
    bench.ended(label, Received::Full);
    assert_eq!(bench.settled(), [Err(Code::PAYLOAD_NOT_WANTED)]);
    assert!(bench.custody.is_ready() && bench.custody.is_idle());
    bench.announce(MIB);
    assert!(bench.opened().is_some());
}

#[test]
fn a_payload_at_which_the_disk_fails_is_undecided_and_custody_stops() {
    let mut bench = Bench::new();
    bench.announce(MIB);
    let first = bench.opened().unwrap();
    bench.announce(MIB);
    let second = bench.opened().unwrap();
    bench.ended(first, Received::Failed { cause: "I/O error".to_owned() });
    assert_eq!(bench.settled(), [Err(Code::UNDECIDED_STORAGE); 2], "the other one on its way in too");
    assert_eq!(bench.alarms, [CustodyAlarm::Stopped { cause: "I/O error".to_owned() }]);
    assert!(bench.orders.contains(&PayloadOrder::Leave { label: second }));
    assert!(!bench.custody.is_ready());
    bench.announce(MIB);
    assert!(bench.opened().is_none());
    assert!(bench.settled()[0].is_err());
}

#[test]
fn there_is_room_below_both_marks_with_everything_that_is_on_its_way_in() {
    let mut bench = Bench::with(|config| (config.low_bytes, config.high_bytes) = (10 * MIB, 10 * MIB));
    bench.announce(6 * MIB);
    assert!(bench.opened().is_some());
    bench.announce(5 * MIB);
    assert!(bench.opened().is_none(), "11 of 10 MiB");
    assert_eq!(bench.settled(), [Err(Code::NOT_ATTACHED)]);
    bench.announce(4 * MIB);
    assert!(bench.opened().is_some(), "10 of 10 MiB");

    let mut bench = Bench::with(|config| config.least_free_bytes = 10 * MIB);
    bench.free_bytes = 20 * MIB;
    bench.pass_ms(1_000);
    bench.announce(10 * MIB);
    assert!(bench.opened().is_none(), "exactly the mark would be left");
    bench.announce(10 * MIB - 1);
    assert!(bench.opened().is_some());
}

#[test]
fn no_more_large_payloads_come_in_at_a_time_than_configured() {
    let mut bench = Bench::with(|config| config.large_payloads = 2);
    for _ in 0..2 {
        bench.announce(MIB);
        assert!(bench.opened().is_some());
    }
    bench.announce(MIB);
    assert!(bench.opened().is_none());
    assert_eq!(bench.settled(), [Err(Code::PAYLOAD_NOT_WANTED)]);
}
