//! What do the tasks that move large payloads ask of their worker? The engine decides; `link/payload.rs` moves the bytes.

use std::rc::Rc;

use kernpost_codecs::{FrameFault, Label, PayloadHead};
use kernpost_router_core::large::{PayloadStep, PayloadWay};
use kernpost_router_core::{LinkId, WorkerId};

use super::Worker;
use crate::link::PayloadPipe;

impl Worker {
    /// Where do the bytes of a stream go that the peer opened?
    ///
    /// # Errors
    /// Nobody wanted it.
    pub fn open_payload(&self, link: LinkId, head: PayloadHead) -> Result<PayloadWay, FrameFault> {
        self.engine.borrow_mut().open_payload(link, head)
    }

    /// So many bytes came: may they, and what next?
    ///
    /// # Errors
    /// More than may come.
    pub fn take_payload(&self, link: LinkId, label: Label, bytes: u64) -> Result<PayloadStep, FrameFault> {
        let now = self.shared.clock.now();
        self.engine.borrow_mut().take_payload(now, link, label, bytes)
    }

    /// So many bytes are about to leave; false when their label has settled.
    pub fn on_payload_sent(&self, link: LinkId, label: Label, bytes: u64) -> bool {
        self.engine.borrow_mut().on_payload_sent(link, label, bytes)
    }

    /// The stream that brought a payload has ended.
    pub fn end_payload(&self, link: LinkId, label: Label) {
        self.engine.borrow_mut().handle_payload_lost(link, label);
    }

    /// Hands a payload to the worker of the link it leaves on, without waiting; false when that one is gone or has too
    /// many to begin.
    pub fn hand_over_payload(self: &Rc<Self>, to: WorkerId, pipe: PayloadPipe) -> bool {
        if to == self.id {
            self.begin_payload(pipe);
            return true;
        }
        self.workers.get(usize::from(to.0)).is_some_and(|senders| senders.payloads.try_send(pipe).is_ok())
    }

    /// Begins to send a payload on a link of this worker. A link that is gone lets go of the pipe, which ends both sides.
    pub(super) fn begin_payload(self: &Rc<Self>, pipe: PayloadPipe) {
        let link = self.links.borrow().get(&pipe.link).cloned();
        if let Some(link) = link {
            link.send_payload(Rc::clone(self), pipe);
        }
    }

    pub(super) fn end_stream(&self, link: LinkId, label: Label, incoming: bool) {
        if let Some(link) = self.links.borrow().get(&link) {
            link.end_payload(incoming, label);
        }
    }
}
