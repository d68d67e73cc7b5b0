//! A client without a transport: its handles, and the other ends of their channels for a driver that is not quinn's.
//!
//! The handles behave as those of a client with links: the same bounds, the same waiting. Only [`crate::in_memory`] uses it.

use std::sync::Arc;

use kernpost_codecs::EndpointId;
use kernpost_routing_table::Table;
use tokio::sync::{Mutex, Semaphore, mpsc, watch};

pub(crate) use super::clock::Clock;
pub(crate) use super::driver::{Input, Waiting};
use super::{Client, Delivery, DeliverySink, Status};
use crate::core::{Core, Limits};

/// Inputs that may wait for the driver.
const INPUTS: usize = 4_096;

/// What a driver holds of a client.
#[derive(Debug)]
pub(crate) struct Ends {
    /// What the handles ask for.
    pub inputs: mpsc::Receiver<Input>,
    /// Weak, so that the channel closes when the client and its deliveries are gone.
    own_inputs: mpsc::WeakSender<Input>,
    deliveries: mpsc::Sender<Delivery>,
    status: watch::Sender<Status>,
    tables: watch::Sender<Option<Arc<Table>>>,
    ended: watch::Sender<bool>,
}

/// A client for these endpoints and the driver's ends of it. As many messages as the inbox holds may wait for the
/// application, so handing one over never blocks the driver.
pub(crate) fn client(endpoints: &[EndpointId], limits: &Limits) -> (Client, Ends) {
    let (inputs, input_queue) = mpsc::channel(INPUTS);
    let (deliveries, delivery_queue) = mpsc::channel(limits.inbox_messages.max(1));
    let attached = endpoints.iter().map(|id| (id.clone(), 0)).collect();
    let (status, status_reader) = watch::channel(Status { attached, ..Status::default() });
    let (tables, table_reader) = watch::channel(None);
    let (ended, ended_reader) = watch::channel(false);
    let ends = Ends { inputs: input_queue, own_inputs: inputs.downgrade(), deliveries, status, tables, ended };
    let byte_room_total = u32::try_from(limits.outbox_bytes.min(Semaphore::MAX_PERMITS)).unwrap_or(u32::MAX);
    let client = Client {
        inputs,
        deliveries: Mutex::new(delivery_queue),
        message_room: Arc::new(Semaphore::new(limits.outbox_messages)),
        byte_room: Arc::new(Semaphore::new(byte_room_total as usize)),
        message_room_total: limits.outbox_messages,
        byte_room_total,
        status: status_reader,
        tables: table_reader,
        ended: ended_reader,
        outbox: None,
        _held: watch::channel(()).0,
    };
    (client, ends)
}

impl Ends {
    /// Hands the next messages to the application while it has room for them.
    pub fn deliver(&self, core: &mut Core) {
        while core.has_delivery() {
            let Ok(permit) = self.deliveries.try_reserve() else { return };
            let Some(inputs) = self.own_inputs.upgrade() else { return };
            let Some(delivery) = core.poll_delivery() else { return };
            permit.send(Delivery::new(delivery, DeliverySink(inputs)));
        }
    }

    /// Publishes counters and attachments.
    pub fn publish(&self, core: &Core) {
        self.status.send_modify(|status| {
            status.ledger = core.ledger();
            status.refresh(core);
        });
    }

    /// Notes why an endpoint could not be attached.
    pub fn refused(&self, endpoint: &EndpointId, why: String) {
        self.status.send_modify(|status| {
            status.refused.insert(endpoint.clone(), why);
        });
    }

    /// Publishes the directory in force.
    pub fn table(&self, table: &Arc<Table>) {
        let _ = self.tables.send(Some(Arc::clone(table)));
    }

    /// The client has ended: whoever waits for something of it learns that.
    pub fn end(mut self) {
        self.inputs.close();
        let _ = self.ended.send(true);
    }
}
