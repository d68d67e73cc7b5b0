#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::operators::Account;
use crate::operators::audit::{ActName, AuditEntry};
use crate::operators::pages::{HeldLine, HistoryLine, QuarantinedLine, StatementPage};

fn shown<A>(show: fn(&A, &mut dyn Write) -> Result<()>, page: &A) -> String {
    let mut out = Vec::new();
    show(page, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn held(state: &str) -> HeldLine {
    HeldLine {
        message: "de/portal:019a0000-0000-7000-8000-000000000001".parse().unwrap(),
        waits_for: vec!["de/office".to_owned(), "de/branch".to_owned()],
        class: "bulk".to_owned(),
        taken: "2026-01-01T00:00:00Z".to_owned(),
        expires: "2026-01-31T00:00:00Z".to_owned(),
        bytes: 512,
        state: state.to_owned(),
        record: 7,
    }
}

#[test]
fn a_list_names_what_it_cannot_read_first_and_how_to_go_on() {
    let page = ListPage { lines: vec![held("waiting")], unreadable: vec![3], next: Some(7) };
    let text = shown(list, &page);
    assert!(text.starts_with("! the index of record 3 cannot be read"), "{text}");
    assert!(text.contains("de/portal:019a0000-0000-7000-8000-000000000001"), "{text}");
    assert!(text.contains("de/office de/branch") && text.contains("waiting"), "{text}");
    assert!(text.ends_with("1 shown, 512 bytes\nthere may be more: --after 7\n"), "{text}");
    assert_eq!(shown(list, &ListPage::default()), "nothing\n");
}

#[test]
fn a_message_is_shown_with_history_and_without_payload() {
    let statement = StatementPage {
        service: "99050012104000".to_owned(),
        jurisdiction: "147130000000".to_owned(),
        recipient: None,
        created: "2026-01-01T00:00:00Z".to_owned(),
        lifetime_s: 60,
        payload_length: 9,
        payload_sha256: "00".to_owned(),
        payload_held: false,
        content_type: "text/\u{1b}[2J".to_owned(),
        case_hex: Some("ab".to_owned()),
        mailbox_hex: None,
        in_reply_to: None,
        assurance: None,
        directory_version: "11".to_owned(),
        leaf: "22".to_owned(),
    };
    let line = HistoryLine { at: "now".to_owned(), what: "custody".to_owned(), by: "this router".to_owned() };
    let page = MessagePage { held: held("delivered"), statement: Some(statement), proof: None, history: vec![line] };
    let text = shown(message, &page);
    assert!(text.lines().next().unwrap().ends_with("  delivered"), "{text}");
    assert!(text.contains("9 bytes, erased with the final outcome") && text.contains("case          ab"), "{text}");
    assert!(!text.contains('\u{1b}') && text.contains("now  custody (this router)"), "{text}");
    let damaged = MessagePage { statement: None, ..page };
    assert!(shown(message, &damaged).contains("! its statement cannot be read"));
}

fn proposal() -> Proposal {
    Proposal {
        number: 4,
        by: Account { uid: 7, user: "anna".to_owned() },
        messages: vec![held("waiting").message],
        reason: "by order\n of a court".to_owned(),
        at: 0,
    }
}

#[test]
fn a_proposal_says_that_nothing_happened_and_who_has_to_go_on() {
    let text = shown(proposed, &proposal());
    assert!(
        text.starts_with("proposal 4 by anna (uid 7): give up 1 messages, because: by order\\n of a court\n"),
        "{text}"
    );
    assert!(text.contains("nothing has happened yet") && text.contains("--confirm 4"), "{text}");
}

#[test]
fn a_discard_names_both_and_what_was_left_alone() {
    let left = LeftAlone { message: held("").message, why: "it has its final outcome".to_owned() };
    let page = DiscardPage {
        proposal: proposal(),
        confirmed_by: Account { uid: 8, user: "ben".to_owned() },
        discarding: Vec::new(),
        left_alone: vec![left],
    };
    let text = shown(discarding, &page);
    assert!(text.contains("by anna (uid 7)") && text.contains("confirmed by ben (uid 8): 0 are given up"), "{text}");
    assert!(text.contains("left alone: de/portal:019a0000-0000-7000-8000-000000000001: it has its"), "{text}");
}

#[test]
fn the_log_marks_what_does_not_follow() {
    let by = Account { uid: 7, user: "anna".to_owned() };
    let entry = AuditEntry::new(kernpost_codecs::UnixMs(0), &by, ActName::Rotate, Vec::new());
    let line = AuditLine { number: 3, act: Some(entry), chained: false };
    let text = shown(act, &line);
    assert_eq!(text, "3  1970-01-01T00:00:00Z  anna (uid 7)  rotate  ! does not follow the entry before\n");
    assert!(shown(act, &AuditLine { act: None, chained: true, ..line }).contains("cannot be read"));
    let page = AuditPage { entries: Vec::new(), count: 9, last_hash: "ff".to_owned() };
    let mut out = Vec::new();
    verified(2, &page, &mut out).unwrap();
    assert!(String::from_utf8(out).unwrap().starts_with("2 of 9 entries"));
}

#[test]
fn quarantine_names_the_messages_it_can() {
    let line = QuarantinedLine { record: 9, reason: None, messages: vec![held("").message] };
    let text = shown(quarantined, &QuarantinePage { records: vec![line], next: None });
    assert!(text.starts_with("record 9: the reason cannot be read either\n  de/portal:"), "{text}");
}
