//! Several processes, one journal: nobody hands on what another one has in hand or decided.

use kernpost_codecs::digest::Digest;
use kernpost_codecs::{MessageId, Outcome};

use super::*;
use crate::core::{Earlier, Lookup};
use crate::journal::shared::client::SharedJournal;
use crate::journal::{Journal, LookedUp};

struct Place {
    folder: tempfile::TempDir,
    server: Option<(oneshot::Sender<()>, std::thread::JoinHandle<()>)>,
}

impl Place {
    fn new() -> Self {
        let mut place = Self { folder: tempfile::tempdir().unwrap(), server: None };
        place.start();
        place
    }

    fn start(&mut self) {
        let (folder, socket) = (self.folder.path().join("journal"), self.socket());
        let (stop, stopped) = oneshot::channel();
        let (up, is_up) = mpsc::channel();
        let serve = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let end = Instant::now() + Duration::from_secs(10);
                // The folder is free once the writer of an earlier server has ended.
                let server = loop {
                    match JournalServer::bind(&folder, &socket, [9; 16], || UnixMs(0)) {
                        Ok(server) => break server,
                        Err(error) => assert!(Instant::now() < end, "{error}"),
                    }
                    std::thread::yield_now();
                };
                up.send(()).unwrap();
                tokio::select! {
                    () = server.run() => {}
                    _ = stopped => {}
                }
            });
        };
        let thread = std::thread::spawn(serve);
        is_up.recv().unwrap();
        self.server = Some((stop, thread));
    }

    fn stop(&mut self) {
        let Some((stop, thread)) = self.server.take() else { return };
        drop(stop);
        thread.join().unwrap();
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("journal.sock")
    }

    fn process(&self, n: u8) -> Journal {
        Journal::Shared(SharedJournal::connect(&self.socket(), [n; 16]).unwrap())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.stop();
    }
}

fn lookup(n: u8) -> Lookup {
    Lookup { id: DeliveryId(0), sender: "de/portal".parse().unwrap(), message: MessageId([n; 16]), reply_to: None }
}

fn look(journal: &Journal, n: u8) -> LookedUp {
    journal.look_up(&[lookup(n)]).unwrap().pop().unwrap()
}

fn verdict(n: u8) -> JournalRecord {
    JournalRecord {
        id: DeliveryId(0),
        sender: "de/portal".parse().unwrap(),
        message: MessageId([n; 16]),
        verdict: Earlier { leaf: Digest([n; 32]), outcome: Outcome::Delivered, code: 0, problem: None },
        forget_after: UnixMs(1_000),
        statement: bytes::Bytes::new(),
        payload: bytes::Bytes::new(),
        payload_file: None,
    }
}

#[test]
fn what_one_process_has_in_hand_no_other_gets_until_it_is_decided() {
    let place = Place::new();
    let (first, second) = (place.process(1), place.process(2));
    assert_eq!(first.id(), [9; 16]);
    assert_eq!(look(&first, 1), LookedUp::Unknown);
    assert_eq!(look(&second, 1), LookedUp::Elsewhere);
    assert_eq!(look(&first, 1), LookedUp::Unknown, "its own reservation");
    assert_eq!(first.record(&[verdict(1)]).unwrap(), [true]);
    assert_eq!(look(&second, 1), LookedUp::Known(verdict(1).verdict));
}

#[test]
fn what_is_released_another_process_may_have() {
    let place = Place::new();
    let (first, second) = (place.process(1), place.process(2));
    look(&first, 1);
    second.release(&[("de/portal".parse().unwrap(), MessageId([1; 16]))]).unwrap();
    assert_eq!(look(&second, 1), LookedUp::Elsewhere, "only its holder releases it");
    first.release(&[("de/portal".parse().unwrap(), MessageId([1; 16]))]).unwrap();
    assert_eq!(look(&second, 1), LookedUp::Unknown);
    assert_eq!(first.record(&[verdict(1)]).unwrap(), [false], "it is the other's now");
}

#[test]
fn when_a_process_ends_what_it_had_in_hand_is_free_and_what_it_decided_stands() {
    let place = Place::new();
    let (first, second) = (place.process(1), place.process(2));
    look(&first, 1);
    look(&first, 2);
    first.record(&[verdict(2)]).unwrap();
    drop(first);
    // The server sees the end of the connections when it reads it: at the latest after a few questions.
    let end = Instant::now() + Duration::from_secs(10);
    while look(&second, 1) == LookedUp::Elsewhere {
        assert!(Instant::now() < end, "the reservation never lapsed");
        std::thread::yield_now();
    }
    assert_eq!(look(&second, 2), LookedUp::Known(verdict(2).verdict));
}

#[test]
fn a_decision_about_what_another_process_decided_is_not_taken() {
    let place = Place::new();
    let (first, second) = (place.process(1), place.process(2));
    assert_eq!(first.record(&[verdict(1)]).unwrap(), [true]);
    assert_eq!(second.record(&[verdict(1), verdict(2)]).unwrap(), [false, true]);
}

#[test]
fn more_than_a_frame_holds_is_asked_in_several() {
    let place = Place::new();
    let first = place.process(1);
    let many: Vec<Lookup> = (0..1_500_u64)
        .map(|n| {
            let mut one = lookup(0);
            one.message.0[..8].copy_from_slice(&n.to_be_bytes());
            one
        })
        .collect();
    assert!(first.look_up(&many).unwrap().iter().all(|looked| *looked == LookedUp::Unknown));
}

#[test]
fn after_a_restart_of_the_server_verdicts_stand_and_processes_go_on() {
    let mut place = Place::new();
    let first = place.process(1);
    look(&first, 2);
    first.record(&[verdict(1)]).unwrap();
    place.stop();
    place.start();
    let error = first.look_up(&[lookup(1)]).unwrap_err();
    assert!(!error.is_lasting(), "{error}");
    assert_eq!(look(&first, 1), LookedUp::Known(verdict(1).verdict));
    place.stop();
}

#[test]
fn one_server_per_socket() {
    let place = Place::new();
    let other = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _inside = runtime.enter();
    let second = JournalServer::bind(other.path(), &place.socket(), [1; 16], || UnixMs(0));
    assert!(matches!(second, Err(JournalError::Shared { .. })));
}
