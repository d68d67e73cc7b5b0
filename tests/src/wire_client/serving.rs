//! A recipient that answers everything with a receipt *delivered*, in the background.

use kernpost_codecs::{MessageId, Outcome};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::{Link, Signer, within};

/// A link that serves its endpoint until this is dropped; dropping closes the link.
#[derive(Debug)]
pub struct Serving {
    received: mpsc::UnboundedReceiver<MessageId>,
    connection: quinn::Connection,
    task: JoinHandle<()>,
}

impl Link {
    /// From now on answers every entry *delivered*.
    pub fn serve(mut self, signer: Signer) -> Serving {
        let (to, received) = mpsc::unbounded_channel();
        let connection = self.connection.clone();
        let task = tokio::spawn(async move {
            while let Some(arrival) = self.next_arrival().await {
                self.receipts(&signer, &arrival, Outcome::Delivered).await;
                for id in arrival.ids() {
                    // The test may have heard enough.
                    let _ = to.send(id);
                }
            }
        });
        Serving { received, connection, task }
    }
}

impl Serving {
    /// The next message delivered here.
    pub async fn received(&mut self) -> MessageId {
        within("a message to be served", self.received.recv()).await.expect("the link serves")
    }

    /// Everything delivered here so far and not asked for yet.
    pub fn so_far(&mut self) -> Vec<MessageId> {
        std::iter::from_fn(|| self.received.try_recv().ok()).collect()
    }

    /// The connection it serves on.
    pub fn connection(&self) -> &quinn::Connection {
        &self.connection
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.connection.close(0_u32.into(), b"served enough");
        self.task.abort();
    }
}
