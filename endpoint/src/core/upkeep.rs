//! Links that come and go, attachments, directories and deadlines: everything that keeps messages able to move.

use std::sync::Arc;

use bytes::Bytes;
use kernpost_codecs::digest::Digest;
use kernpost_codecs::settlement::Detail;
use kernpost_codecs::{Ars, Code, DirectoryVersion, FrameFault, ServiceKey, ZoneVersion};
use kernpost_routing_table::Table;

use super::outgoing::Ticket;
use super::session::SessionId;
use super::session::control::Resolution;
use super::session::fetch::FetchEvent;
use super::{Core, DirectoryFrom, Event, Now, Output, Verified};

/// Versions remembered as not to be had, so that they are not asked for again and again.
const MOST_UNAVAILABLE: usize = 32;
/// The ticket of a question that is only asked for the directory version in its answer; shells count from 0.
const DIRECTORY_CHECK: u64 = u64::MAX;
/// What that question is about; any service serves.
const ANY_SERVICE: u64 = 99_000_000_000_000;
/// How soon the directory is checked after a refusal that speaks for another one, ms.
const SOON_MS: u64 = 100;

impl Core {
    pub(super) fn on_up(&mut self, now: Now, id: SessionId, directory: Vec<ZoneVersion>, clock_offset_ms: i64) {
        let Some(session) = self.sessions.get(&id) else { return };
        let router = session.router.clone();
        self.outputs.push_back(Output::Event(Event::LinkUp { session: id, router, clock_offset_ms }));
        let version = DirectoryVersion::of(&directory);
        if self.directory == DirectoryFrom::Link && !directory.is_empty() {
            self.want(id, version, Some(directory));
        }
        self.check_us = self.check_us.or(Some(now.after_ms(self.limits.check_ms)));
        self.place();
    }

    pub(super) fn on_attached(&mut self, id: SessionId, endpoint: usize) {
        self.place();
        let Some((session, signer)) = self.sessions.get(&id).zip(self.signers.get(endpoint)) else { return };
        let event = Event::Attached { endpoint: signer.id().clone(), router: session.router.clone() };
        self.outputs.push_back(Output::Event(event));
    }

    pub(super) fn on_attach_refused(&mut self, id: SessionId, endpoint: usize, code: Code, text: String) {
        self.place();
        let Some((session, signer)) = self.sessions.get(&id).zip(self.signers.get(endpoint)) else { return };
        let (endpoint, router) = (signer.id().clone(), session.router.clone());
        self.outputs.push_back(Output::Event(Event::AttachRefused { endpoint, router, code, text }));
    }

    /// Closes a link because of the router's fault.
    pub(super) fn close(&mut self, now: Now, id: SessionId, fault: FrameFault) {
        self.forget(now, id);
        self.outputs.push_back(Output::Close { session: id, fault });
    }

    /// Forgets a link; what was in flight on it is undecided, what was asked on it is asked elsewhere.
    pub(super) fn forget(&mut self, now: Now, id: SessionId) {
        let Some(mut session) = self.sessions.remove(&id) else { return };
        for sent in session.outbound.drain() {
            let router = session.router_index;
            let detail = Detail::default();
            self.outbox.on_settled(now, &mut self.ledger, sent.ticket, router, Code::UNDECIDED_LINK_LOST, &detail);
        }
        self.inbox.on_label_gone(&mut self.ledger, id, None);
        for ticket in session.unanswered() {
            self.resolve_failed(ticket);
        }
        if let Some(version) = session.unfetched() {
            self.wanted.insert(version, None);
            self.fetch_wanted();
        }
        self.parked.retain(|parked| parked.session != id);
        self.place();
    }

    /// Recomputes which links take entries of which endpoint: those of the more preferred router first.
    pub(super) fn place(&mut self) {
        self.replaced = true;
        for (endpoint, places) in self.places.iter_mut().enumerate() {
            let mut ranked: Vec<(usize, SessionId)> = self
                .sessions
                .iter()
                .filter(|(_, session)| session.takes_entries_of(endpoint))
                .map(|(id, session)| {
                    let order = self.links.get(session.link).map(|link| link.routers.as_slice()).unwrap_or_default();
                    (order.iter().position(|router| *router == session.router).unwrap_or(usize::MAX), *id)
                })
                .collect();
            ranked.sort_unstable();
            *places = ranked.into_iter().map(|(_, id)| id).collect();
        }
    }

    /// A directory version is needed: fetch it over this link, unless it is held, under way or not to be had.
    pub(super) fn want(&mut self, id: SessionId, version: DirectoryVersion, zones: Option<Vec<ZoneVersion>>) {
        if self.versions.holds(&version) || self.wanted.contains_key(&version) || self.unavailable.contains(&version) {
            return;
        }
        if self.wanted.len() >= self.limits.versions {
            return;
        }
        let held = self.snapshots.clone();
        self.touched.insert(id);
        let started = self.sessions.get_mut(&id).is_some_and(|session| session.fetch(version, zones, held));
        self.wanted.insert(version, started.then_some(id));
    }

    /// Versions nobody fetches at the moment are fetched over any free link.
    fn fetch_wanted(&mut self) {
        let waiting: Vec<DirectoryVersion> = self
            .wanted
            .iter()
            .filter(|(version, by)| by.is_none() && !self.versions.holds(version))
            .map(|(version, _)| *version)
            .collect();
        for version in waiting {
            let free = self.sessions.iter_mut().find(|(_, session)| session.is_up() && !session.control.is_fetching());
            let Some((id, session)) = free else { return };
            self.touched.insert(*id);
            if session.fetch(version, None, self.snapshots.clone()) {
                self.wanted.insert(version, Some(*id));
            }
        }
    }

    pub(super) fn on_fetched(&mut self, now: Now, end: FetchEvent) {
        match end {
            FetchEvent::Complete { version, snapshots } => {
                self.outputs.push_back(Output::Verify { version, snapshots, at: now.wall });
            }
            FetchEvent::Failed { version, why } => self.not_to_be_had(version, why),
        }
        self.fetch_wanted();
    }

    /// A version cannot be had: receipts that state it are not believed.
    fn not_to_be_had(&mut self, version: DirectoryVersion, why: String) {
        self.wanted.remove(&version);
        if self.unavailable.len() >= MOST_UNAVAILABLE {
            self.unavailable.pop_front();
        }
        self.unavailable.push_back(version);
        let before = self.parked.len();
        self.parked.retain(|parked| parked.frame.directory_version != version);
        self.ledger.invalid_receipts += (before - self.parked.len()) as u64;
        self.outputs.push_back(Output::Event(Event::DirectoryFault { version, why }));
    }

    /// The shell verified and compiled what was fetched: put in force when it is newer, else kept for receipts.
    pub(super) fn on_verified(
        &mut self,
        now: Now,
        version: DirectoryVersion,
        snapshots: &[Bytes],
        result: Result<Verified, String>,
    ) {
        let (table, new) = match result {
            Ok(Verified::New(table)) => (table, true),
            Ok(Verified::Old(table)) => (table, false),
            Err(why) => return self.not_to_be_had(version, why),
        };
        self.wanted.remove(&version);
        if new && self.directory == DirectoryFrom::Link && self.versions.may_replace(&table) {
            self.snapshots = snapshots.iter().map(|bytes| (Digest::of(bytes), bytes.clone())).collect();
            return self.install(now, table);
        }
        self.versions.keep(table);
        self.resume_parked(now);
    }

    pub(super) fn install(&mut self, now: Now, table: Arc<Table>) {
        let version = table.version();
        self.wanted.remove(&version);
        let until = table.valid_until().filter(|_| self.directory == DirectoryFrom::Link);
        self.recompile_us = until.map(|until| now.after_ms(until.ms_since(now.wall)));
        self.versions.install(table);
        for session in self.sessions.values_mut() {
            session.attachments.check(now, None);
        }
        self.outputs.push_back(Output::Event(Event::Directory { version }));
        self.end_lost_custody(now);
        self.resume_parked(now);
    }

    pub(super) fn on_timeout(&mut self, now: Now) {
        self.outbox.handle_timeout(now, &mut self.ledger);
        self.gather.handle_timeout(now.mono_us);
        let mut faults = Vec::new();
        let mut late = Vec::new();
        for (id, session) in &mut self.sessions {
            match session.handle_timeout(now) {
                Ok(sent) => late.extend(sent.into_iter().map(|sent| (session.router_index, sent.ticket))),
                Err(fault) => faults.push((*id, fault)),
            }
        }
        for (router, ticket) in late {
            let detail = Detail::default();
            self.outbox.on_settled(now, &mut self.ledger, ticket, router, Code::UNDECIDED_DEADLINE, &detail);
        }
        for (id, fault) in faults {
            self.close(now, id, fault);
        }
        if self.recompile_us.is_some_and(|at| at <= now.mono_us) {
            self.recompile(now);
        }
        if self.check_us.is_some_and(|at| at <= now.mono_us) {
            self.check_directory(now);
        }
    }

    /// Nobody announces a new directory: a router is asked from time to time which one it uses.
    fn check_directory(&mut self, now: Now) {
        self.check_us = Some(now.after_ms(self.limits.check_ms));
        let Some(service) = ServiceKey::try_from(ANY_SERVICE).ok().filter(|_| self.directory == DirectoryFrom::Link)
        else {
            return;
        };
        for (id, session) in self.sessions.iter_mut().filter(|(_, session)| session.is_up()) {
            if session.resolve(DIRECTORY_CHECK, service, Ars::FEDERAL) {
                self.touched.insert(*id);
                return;
            }
        }
    }

    /// The answer to a resolve: also the news which directory the router uses.
    pub(super) fn on_resolved(&mut self, id: SessionId, ticket: u64, answer: Resolution) {
        if self.directory == DirectoryFrom::Link && answer.version.0 != Digest([0; 32]) {
            self.want(id, answer.version, None);
        }
        if ticket != DIRECTORY_CHECK {
            self.outputs.push_back(Output::Resolved { ticket, answer });
        }
    }

    /// A refusal that shows that the router knows something else than we do: it is asked soon, not at the next check.
    pub(super) fn mend(&mut self, now: Now, id: SessionId, ticket: Ticket, code: Code) {
        if matches!(code, Code::SENDER_NOT_ATTACHED | Code::KEY_EXPIRED | Code::KEY_REVOKED | Code::KEY_NOT_OWNED) {
            let soon = now.after_ms(SOON_MS);
            self.check_us = self.check_us.map(|at| at.min(soon));
        }
        if code == Code::SENDER_NOT_ATTACHED
            && let (Some(sender), Some(session)) = (self.outbox.sender(ticket), self.sessions.get_mut(&id))
        {
            session.attachments.check(now, Some(sender));
        }
    }

    /// A rule begins or ends: compile the directory in force for this instant.
    fn recompile(&mut self, now: Now) {
        self.recompile_us = None;
        let Some(table) = self.versions.current() else { return };
        let snapshots: Vec<Bytes> =
            table.zone_versions().filter_map(|zone| self.snapshots.get(&zone.digest).cloned()).collect();
        let version = table.version();
        self.wanted.insert(version, None);
        self.outputs.push_back(Output::Verify { version, snapshots, at: now.wall });
    }

    pub(super) fn resolve_failed(&mut self, ticket: u64) {
        if ticket == DIRECTORY_CHECK {
            return;
        }
        let version = self.versions.current_version();
        let answer = Resolution { code: Code::NOT_READY, endpoint: None, encryption_key: None, version };
        self.outputs.push_back(Output::Resolved { ticket, answer });
    }
}
