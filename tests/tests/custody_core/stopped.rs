//! What custody says when its disk has failed.

use kernpost_codecs::{Code, Outcome};
use kernpost_router_core::LinkId;
use kernpost_router_core::custody::CustodyAlarm;
use kernpost_spool::memory_store::CommitFault;
use kernpost_tests::world::LEIPZIG;

use super::bench::Bench;

#[test]
fn an_ask_about_what_may_be_held_is_undecided_and_never_passed_on() {
    let mut bench = Bench::new();
    let (held, lost) = (bench.message(LEIPZIG, |_| {}), bench.message(LEIPZIG, |_| {}));
    bench.hand_over(std::slice::from_ref(&held));
    assert_eq!(bench.settled(), [Ok(Outcome::Custody)]);
    bench.disk.fail_next_commit(CommitFault::Lost);
    bench.hand_over(&[lost]);
    assert_eq!(bench.settled(), [Err(Code::UNDECIDED_STORAGE)]);
    assert!(matches!(bench.alarms[..], [CustodyAlarm::Stopped { .. }]), "{:?}", bench.alarms);

    // Whoever could take it now would say truthfully that it does not know it.
    let city = bench.city.clone();
    bench.attach(&city, LinkId(9));
    bench.ask(&held);
    assert!(bench.sent().is_empty());
    assert_eq!(bench.settled(), [Err(Code::UNDECIDED_STORAGE)]);
    bench.restart();
    bench.ask(&held);
    assert_eq!(bench.settled(), [Ok(Outcome::Custody)]);
}
