//! What arrives on a link: frames cut from streams, sorted by lane, while the test does something else.

use bytes::Bytes;
use kernpost_codecs::frame::frame_type;
use kernpost_codecs::{
    Class, ControlFrame, Frame, FrameDecoder, Label, LaneKind, MessageId, MessageRef, Part, PayloadHead,
    PayloadHeadReader, SettlementFrame,
};
use quinn::{Connection, ReadError, RecvStream};
use tokio::sync::{mpsc, watch};

/// A stream read frame by frame.
#[derive(Debug)]
pub struct FrameStream {
    stream: RecvStream,
    decoder: FrameDecoder,
}

impl FrameStream {
    /// From its first byte.
    pub fn new(stream: RecvStream) -> Self {
        Self { stream, decoder: FrameDecoder::new() }
    }

    /// The varint at the beginning of a lane.
    pub async fn kind(&mut self) -> Option<u64> {
        loop {
            if let Some(kind) = self.decoder.next_varint().unwrap() {
                return Some(kind);
            }
            self.read().await?;
        }
    }

    /// The next frame; `None` when the stream has ended.
    pub async fn frame(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.decoder.next().unwrap() {
                return Some(frame);
            }
            self.read().await?;
        }
    }

    /// The head of a payload stream, after its kind.
    pub async fn payload_head(&mut self) -> Option<PayloadHead> {
        let mut reader = PayloadHeadReader::default();
        loop {
            if let Some(head) = reader.next(&mut self.decoder).unwrap() {
                return Some(head);
            }
            self.read().await?;
        }
    }

    /// The next bytes of a payload; `None` at its end, `Err` when it was reset or the link is gone.
    pub async fn payload_bytes(&mut self) -> Result<Option<Bytes>, ReadError> {
        match self.decoder.take_chunk() {
            Some(chunk) => Ok(Some(chunk)),
            None => Ok(self.stream.read_chunk(1 << 16, true).await?.map(|chunk| chunk.bytes)),
        }
    }

    async fn read(&mut self) -> Option<()> {
        let chunk = self.stream.read_chunk(1 << 16, true).await.ok()??;
        self.decoder.push(chunk.bytes);
        Some(())
    }
}

/// A BUNDLE frame that arrived.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// Its lane.
    pub class: Class,
    /// Its sequence in the lane.
    pub sequence: u64,
    /// The frame's body.
    pub body: Bytes,
    /// What it holds.
    pub part: Part,
}

impl Arrival {
    /// The labels of its entries.
    pub fn labels(&self) -> Vec<Label> {
        let label = |index| Label { class: self.class, sequence: self.sequence, index };
        self.part.entries().iter().map(|entry| label(entry.index)).collect()
    }

    /// The messages it holds.
    pub fn messages(&self) -> Vec<MessageRef<'_>> {
        self.part.entries().iter().map(|entry| MessageRef::parse(&entry.statement).unwrap()).collect()
    }

    /// Their ids.
    pub fn ids(&self) -> Vec<MessageId> {
        self.messages().iter().map(|message| message.id).collect()
    }
}

/// Cumulative limits by class: entries, bytes.
pub(super) type Limits = [(u64, u64); 3];

/// Ends of everything that arrives on a link.
#[derive(Debug)]
pub(super) struct Inbox {
    pub control: mpsc::UnboundedReceiver<ControlFrame>,
    pub arrivals: mpsc::UnboundedReceiver<Arrival>,
    pub settlements: mpsc::UnboundedReceiver<SettlementFrame>,
    pub payloads: mpsc::UnboundedReceiver<FrameStream>,
    pub limits: watch::Receiver<Limits>,
}

/// The other ends.
#[derive(Debug, Clone)]
struct Sorting {
    arrivals: mpsc::UnboundedSender<Arrival>,
    settlements: mpsc::UnboundedSender<SettlementFrame>,
    payloads: mpsc::UnboundedSender<FrameStream>,
    limits: watch::Sender<Limits>,
}

/// Reads everything on `connection` until it ends.
pub(super) fn start(connection: &Connection, control: RecvStream) -> Inbox {
    let (to_control, of_control) = mpsc::unbounded_channel();
    let (arrivals, of_arrivals) = mpsc::unbounded_channel();
    let (settlements, of_settlements) = mpsc::unbounded_channel();
    let (payloads, of_payloads) = mpsc::unbounded_channel();
    let (limits, of_limits) = watch::channel(Limits::default());
    tokio::spawn(read_control(FrameStream::new(control), to_control));
    tokio::spawn(accept(connection.clone(), Sorting { arrivals, settlements, payloads, limits }));
    Inbox {
        control: of_control,
        arrivals: of_arrivals,
        settlements: of_settlements,
        payloads: of_payloads,
        limits: of_limits,
    }
}

async fn read_control(mut stream: FrameStream, frames: mpsc::UnboundedSender<ControlFrame>) {
    while let Some(frame) = stream.frame().await {
        let frame =
            ControlFrame::decode(frame.kind, &frame.body).unwrap().expect("a router sends what version 1 knows");
        if !matches!(frame, ControlFrame::Ping { .. }) && frames.send(frame).is_err() {
            return;
        }
    }
}

async fn accept(connection: Connection, sorting: Sorting) {
    while let Ok(stream) = connection.accept_uni().await {
        tokio::spawn(read_lane(FrameStream::new(stream), sorting.clone()));
    }
}

async fn read_lane(mut stream: FrameStream, sorting: Sorting) {
    let Some(kind) = stream.kind().await else { return };
    let lane = LaneKind::from_u64(kind).unwrap().expect("a router opens the lanes of version 1");
    if lane == LaneKind::LargePayload {
        let _ = sorting.payloads.send(stream);
        return;
    }
    let mut sequence = 0;
    while let Some(Frame { kind, body }) = stream.frame().await {
        // Whoever dropped the link no longer wants to know.
        let _ = match lane {
            LaneKind::Bundle(class) => {
                assert_eq!(kind, frame_type::BUNDLE);
                let part = Part::decode(body.clone()).expect("a router passes on parts that are proven");
                sequence += 1;
                sorting.arrivals.send(Arrival { class, sequence: sequence - 1, body, part }).is_ok()
            }
            LaneKind::Settlement => match SettlementFrame::decode(kind, body).unwrap().unwrap() {
                SettlementFrame::Credit { class, entries, bytes } => {
                    sorting.limits.send_modify(|limits| limits[class.index()] = (entries, bytes));
                    true
                }
                other => sorting.settlements.send(other).is_ok(),
            },
            LaneKind::LargePayload => unreachable!("handed on before"),
        };
    }
}
