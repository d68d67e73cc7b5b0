//! How does what custody published become samples?

use kernpost_router_core::custody::CustodyLedger;

use super::collect::{Page, seconds};
use super::families as f;
use crate::custody::CustodySnapshot;

pub(super) fn custody(page: &mut Page, snapshot: &CustodySnapshot) {
    let CustodySnapshot { ledger, stats, totals, .. } = snapshot;
    for (outcome, count) in custody_outcomes(ledger) {
        page.count(&f::CUSTODY_LEDGER, &[outcome], count);
    }
    page.count(&f::CUSTODY_HELD, &[], ledger.in_custody);
    page.flag(&f::CUSTODY_BALANCED, &[], ledger.balanced());
    page.count(&f::CUSTODY_BYTES, &[], totals.bytes);
    if let Some(oldest) = totals.oldest {
        page.add(&f::CUSTODY_OLDEST, &[], seconds(oldest));
    }
    page.count(&f::CUSTODY_RECEIPTS, &[], totals.receipts);
    page.count(&f::CUSTODY_DISK, &[], totals.disk_bytes);
    page.count(&f::CUSTODY_FREE, &[], totals.free_bytes);
    page.add(&f::CUSTODY_PRESSURE, &[], f64::from(stats.pressure) / 100.0);
    page.count(&f::CUSTODY_QUEUES, &[], stats.queues);
    page.count(&f::CUSTODY_FLYING, &[], stats.flying);
    page.count(&f::CUSTODY_LARGE, &["received"], stats.payloads_arriving);
    page.count(&f::CUSTODY_LARGE, &["sent"], stats.payloads_sending);
    page.count(&f::CUSTODY_LARGE_TAKEN, &[], stats.payloads_taken);
    page.count(&f::CUSTODY_MEMORY, &[], stats.loaded_bytes);
    for (result, count) in [("repeat", stats.repeats), ("refused", stats.refused), ("not_kept", stats.not_kept)] {
        page.count(&f::CUSTODY_HANDED, &[result], count);
    }
    let attempts = [("all", stats.attempts), ("busy", stats.attempts_busy), ("undecided", stats.attempts_undecided)];
    for (result, count) in attempts {
        page.count(&f::CUSTODY_ATTEMPTS, &[result], count);
    }
    for (result, count) in [("noted", stats.noted), ("not_noted", stats.not_noted)] {
        page.count(&f::CUSTODY_LATE, &[result], count);
    }
    page.count(&f::CUSTODY_ASKS, &[], stats.asks_answered);
    page.count(&f::CUSTODY_CHECKS, &["signature"], stats.signature_checks);
    page.count(&f::CUSTODY_CHECKS, &["digest"], stats.digest_checks);
    page.count(&f::CUSTODY_DAMAGED, &[], stats.damaged);
}

/// The books of custody by the names used in metrics and status.
pub(crate) fn custody_outcomes(ledger: &CustodyLedger) -> [(&'static str, u64); 9] {
    [
        ("taken", ledger.taken),
        ("recovered", ledger.recovered),
        ("delivered", ledger.delivered),
        ("rejected", ledger.rejected),
        ("expired", ledger.expired),
        ("damaged", ledger.damaged),
        ("returned", ledger.returned),
        ("discarded", ledger.discarded),
        ("unreadable", ledger.unreadable),
    ]
}
