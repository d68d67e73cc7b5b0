//! One link to one router, from hello to drain: what may be sent on it, and what arrived (WIRE §3, §6 to §8).
//!
//! ```text
//!  link up --> Greeting --HELLO--> Up --DRAIN--> Draining --> (link down)
//! ```
//!
//! Owns the control stream, credit both ways, the labels both ways and the settlements still to be written. It decides
//! nothing about messages: it reports [`SessionEvent`]s, and [`super::Core`] acts on them. Bounds: 48 open requests, one
//! snapshot of at most 64 MiB being fetched, labels by credit.

pub(crate) mod attachments;
pub(crate) mod control;
pub(crate) mod fetch;
pub(crate) mod inbound;
pub(crate) mod outbound;
pub(crate) mod settlements;

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use kernpost_codecs::credit::Allowance;
use kernpost_codecs::frame::frame_type::{self, Home};
use kernpost_codecs::part::{Part, PartError};
use kernpost_codecs::receipts::ReceiptsFrame;
use kernpost_codecs::settlement::{Detail, Label, SettlementFrame};
use kernpost_codecs::{Class, CloseCode, Code, FrameFault, LinkIdentity, RouterId};
use kernpost_routing_table::Table;

use super::inbox::DueReceipt;
use super::limits::Limits;
use super::now::Now;
use super::outgoing::Ticket;
use attachments::Attachments;
use control::Control;
use fetch::FetchEvent;
use inbound::Inbound;
use outbound::{Outbound, Sent, Standing};
use settlements::Settlements;

/// A link of this process; given by the shell for every connection anew, never reused while the process lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(pub u64);

/// A stream of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stream {
    /// The bidirectional control stream.
    Control,
    /// A bundle lane.
    Bundle(Class),
    /// The settlement lane.
    Settlement,
}

/// What a link reports.
#[derive(Debug)]
pub(crate) enum SessionEvent {
    /// Hello is done. The router holds this directory.
    Up {
        directory: Vec<kernpost_codecs::ZoneVersion>,
        clock_offset_ms: i64,
    },
    Attached {
        endpoint: usize,
    },
    AttachRefused {
        endpoint: usize,
        code: Code,
        text: String,
    },
    Settled {
        ticket: Ticket,
        code: Code,
        detail: Detail,
    },
    Late {
        settlements: u64,
    },
    Receipts(Box<ReceiptsFrame>),
    /// The payload of a detached entry is wanted from here on, or was taken in up to here.
    Wanted {
        label: Label,
        offset: u64,
        first: bool,
    },
    /// A part whose entries are all within credit.
    Part {
        class: Class,
        sequence: u64,
        part: Box<Part>,
    },
    Resolved {
        ticket: u64,
        answer: control::Resolution,
    },
    Fetched(FetchEvent),
    Draining,
}

/// Lane frames kept until hello. Nobody has credit before it, so these can only be CREDIT frames.
const MOST_EARLY: usize = 16;

/// How far the link is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Greeting { until_us: u64 },
    Up,
    Draining,
}

/// What a session is made of.
pub(crate) struct SessionSetup<'a> {
    pub link: usize,
    pub router_index: usize,
    pub router: RouterId,
    pub endpoints: &'a [usize],
    pub identities: Vec<LinkIdentity>,
    pub table: Option<&'a Table>,
}

/// One link.
#[derive(Debug)]
pub(crate) struct Session {
    pub link: usize,
    pub router_index: usize,
    pub router: RouterId,
    phase: Phase,
    pub control: Control,
    pub attachments: Attachments,
    allowance: [Allowance; 3],
    pub outbound: Outbound,
    pub inbound: Inbound,
    pub settlements: Settlements,
    writable: [bool; 4],
    /// Largest payload the router accepts.
    pub largest_payload: u64,
    /// Control frames to be written.
    pub control_out: BytesMut,
    events: VecDeque<SessionEvent>,
    /// Lane frames that arrived before hello, at most [`MOST_EARLY`].
    early: VecDeque<(Stream, u64, Bytes)>,
}

impl Session {
    pub fn new(now: Now, setup: SessionSetup<'_>, limits: &Limits) -> Self {
        Self {
            link: setup.link,
            router_index: setup.router_index,
            router: setup.router,
            phase: Phase::Greeting { until_us: now.after_ms(limits.hello_timeout_ms) },
            control: Control::default(),
            attachments: Attachments::new(setup.endpoints, setup.identities, setup.table),
            allowance: std::array::from_fn(|_| Allowance::default()),
            outbound: Outbound::default(),
            inbound: Inbound::new(limits.credit_entries, limits.credit_bytes),
            settlements: Settlements::default(),
            writable: [true; 4],
            largest_payload: 0,
            control_out: BytesMut::new(),
            events: VecDeque::new(),
            early: VecDeque::new(),
        }
    }

    /// Whether hello is done.
    pub fn is_up(&self) -> bool {
        !matches!(self.phase, Phase::Greeting { .. })
    }

    /// Whether new entries of this endpoint may go out here.
    pub fn takes_entries_of(&self, endpoint: usize) -> bool {
        self.phase == Phase::Up && self.attachments.usable(endpoint)
    }

    pub fn poll_event(&mut self) -> Option<SessionEvent> {
        self.events.pop_front()
    }

    // ---- inputs

    /// A whole frame arrived.
    pub fn handle_frame(
        &mut self,
        now: Now,
        stream: Stream,
        kind: u64,
        body: Bytes,
        limits: &Limits,
    ) -> Result<(), FrameFault> {
        let home = match stream {
            Stream::Control => Home::Control,
            Stream::Bundle(_) => Home::Bundle,
            Stream::Settlement => Home::Settlement,
        };
        let known = frame_type::check(kind, home)?;
        let is_hello = stream == Stream::Control && kind == frame_type::HELLO;
        if !self.is_up() && !is_hello {
            return self.keep_early(stream, kind, body);
        }
        if !known {
            return Ok(());
        }
        self.dispatch(now, stream, kind, body, limits)?;
        while let Some((stream, kind, body)) = self.early.pop_front().filter(|_| self.is_up()) {
            self.dispatch(now, stream, kind, body, limits)?;
        }
        Ok(())
    }

    /// Streams arrive independently: the router's credit may overtake its hello. Control frames cannot.
    fn keep_early(&mut self, stream: Stream, kind: u64, body: Bytes) -> Result<(), FrameFault> {
        if stream == Stream::Control || self.early.len() >= MOST_EARLY {
            return Err(FrameFault::unexpected("WIRE 3.1", format!("frame type {kind:#04x} before hello")));
        }
        self.early.push_back((stream, kind, body));
        Ok(())
    }

    fn dispatch(
        &mut self,
        now: Now,
        stream: Stream,
        kind: u64,
        body: Bytes,
        limits: &Limits,
    ) -> Result<(), FrameFault> {
        match stream {
            Stream::Control => self.handle_control(now, kind, &body, limits),
            Stream::Bundle(class) => self.handle_bundle(now, class, body, limits),
            Stream::Settlement => self.handle_settlement(now, kind, body, limits),
        }
    }

    /// What was written to this stream has left; more may follow.
    pub fn handle_writable(&mut self, stream: Stream) {
        if let Some(writable) = writable_index(stream).and_then(|index| self.writable.get_mut(index)) {
            *writable = true;
        }
    }

    /// Labels past their deadline are returned; a router that never says hello is a fault.
    pub fn handle_timeout(&mut self, now: Now) -> Result<Vec<Sent>, FrameFault> {
        if let Phase::Greeting { until_us } = self.phase
            && until_us <= now.mono_us
        {
            return Err(FrameFault::new(CloseCode::HelloTimeout, "WIRE 2.5", "no hello from the router"));
        }
        self.inbound.handle_timeout(now.mono_us);
        for label in self.inbound.take_overdue() {
            self.settlements.refuse(label, Code::UNDECIDED_DEADLINE, Detail::default());
        }
        Ok(self.outbound.handle_timeout(now.mono_us))
    }

    /// The next instant at which [`Self::handle_timeout`] or an attachment has something to do.
    pub fn poll_deadline(&self) -> Option<u64> {
        if let Phase::Greeting { until_us } = self.phase {
            return Some(until_us);
        }
        let attach = self.attachments.poll_deadline().filter(|_| self.control.room() > 0);
        [attach, self.outbound.poll_deadline(), self.inbound.poll_deadline()].into_iter().flatten().min()
    }

    // ---- lanes

    pub fn is_writable(&self, stream: Stream) -> bool {
        writable_index(stream).and_then(|index| self.writable.get(index).copied()).unwrap_or(true)
    }

    /// Something was handed to the shell for this stream; nothing more until it says writable.
    pub fn on_written(&mut self, stream: Stream) {
        if let Some(writable) = writable_index(stream).and_then(|index| self.writable.get_mut(index)) {
            *writable = false;
        }
    }

    /// Entries and bytes that may still be sent in this class.
    pub fn allowance(&self, class: Class) -> (u64, u64) {
        self.allowance.get(class.index()).map_or((0, 0), Allowance::available)
    }

    /// Spends credit for what goes out; false when it is not there.
    pub fn try_spend(&mut self, class: Class, entries: u64, bytes: u64) -> bool {
        self.allowance.get_mut(class.index()).is_some_and(|allowance| allowance.try_spend(entries, bytes))
    }

    /// Refuses a received label.
    pub fn refuse(&mut self, label: Label, code: Code, detail: Detail) {
        if self.inbound.settle(&label) {
            self.settlements.refuse(label, code, detail);
        }
    }

    /// A receipt is due for a received label; false when the label passed its deadline.
    pub fn receipt(&mut self, receipt: DueReceipt) -> bool {
        let open = self.inbound.settle(&receipt.label);
        if open {
            self.settlements.receipt(receipt);
        }
        open
    }

    fn handle_bundle(&mut self, now: Now, class: Class, body: Bytes, limits: &Limits) -> Result<(), FrameFault> {
        let sequence = self.inbound.on_frame(class);
        let deadline_us = now.after_ms(limits.received_deadline_ms);
        match Part::decode(body) {
            Ok(part) => {
                for entry in part.entries() {
                    let label = Label { class, sequence, index: entry.index };
                    self.inbound.on_entry(label, entry.credit(), deadline_us, entry.hop.detached)?;
                }
                self.events.push_back(SessionEvent::Part { class, sequence, part: Box::new(part) });
                Ok(())
            }
            Err(PartError::Proof { entries, .. }) => {
                for (index, credit) in entries {
                    let label = Label { class, sequence, index };
                    self.inbound.on_entry(label, credit, deadline_us, false)?;
                    self.refuse(label, Code::BAD_PROOF, Detail::default());
                }
                Ok(())
            }
            Err(PartError::Frame(fault)) => Err(fault),
            Err(_) => Err(FrameFault::malformed("WIRE 6", "a part that does not parse")),
        }
    }

    fn handle_settlement(&mut self, now: Now, kind: u64, body: Bytes, limits: &Limits) -> Result<(), FrameFault> {
        match SettlementFrame::decode(kind, body)? {
            Some(SettlementFrame::Credit { class, entries, bytes }) => {
                if let Some(allowance) = self.allowance.get_mut(class.index()) {
                    allowance.on_credit(entries, bytes);
                }
            }
            Some(SettlementFrame::Settle(settle)) => {
                for label in settle.labels() {
                    self.check_known(&label)?;
                    match self.outbound.settle(&label) {
                        Some(sent) => self.events.push_back(SessionEvent::Settled {
                            ticket: sent.ticket,
                            code: settle.code,
                            detail: settle.detail.clone(),
                        }),
                        None => self.events.push_back(SessionEvent::Late { settlements: 1 }),
                    }
                }
            }
            Some(SettlementFrame::Receipts(receipts)) => {
                for entry in &receipts.entries {
                    self.check_known(&entry.label)?;
                }
                self.events.push_back(SessionEvent::Receipts(Box::new(receipts)));
            }
            Some(SettlementFrame::Want { label, offset }) => {
                self.check_known(&label)?;
                match self.outbound.on_want(&label, offset, now.after_ms(limits.label_deadline_ms))? {
                    Some(first) => self.events.push_back(SessionEvent::Wanted { label, offset, first }),
                    None => self.events.push_back(SessionEvent::Late { settlements: 1 }),
                }
            }
            None => {}
        }
        Ok(())
    }

    fn check_known(&self, label: &Label) -> Result<(), FrameFault> {
        if self.outbound.standing(label) == Standing::Unknown {
            let text = format!("label ({}, {}, {}) was never used", label.class, label.sequence, label.index);
            return Err(FrameFault::new(CloseCode::LabelUnknown, "WIRE 8.1", text));
        }
        Ok(())
    }
}

fn writable_index(stream: Stream) -> Option<usize> {
    match stream {
        Stream::Control => None,
        Stream::Bundle(class) => Some(class.index()),
        Stream::Settlement => Some(3),
    }
}
