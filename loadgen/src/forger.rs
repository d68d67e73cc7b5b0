//! The forger process: a client whose bundles all carry a broken signature. Every message of it has to be refused.
//!
//! It runs the library's protocol core over a connection of its own and flips a byte in every root signature on its way
//! out: the library itself cannot be made to sign wrongly.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::{Bytes, BytesMut};
use kernpost_codecs::frame::{FrameDecoder, LaneKind, frame_type};
use kernpost_codecs::part::Part;
use kernpost_codecs::{Frame, LinkIdentity, varint};
use kernpost_endpoint::client::{self, DirectoryConfig, LinkConfig, client_config};
use kernpost_endpoint::config::{Purpose, load};
use kernpost_endpoint::core::{
    Core, CoreConfig, DirectoryFrom, EndpointSetup, Event, Limits, LinkSetup, Now, Output, SessionId, Stream,
};
use kernpost_endpoint::{FinalOutcome, Outgoing};
use kernpost_routing_table::{SerialFloor, Table, source as directory_source};
use quinn::{Connection, RecvStream, SendStream};
use tokio::sync::mpsc;

use crate::clock::mono_us;
use crate::measured::BadSignatures;
use crate::schedule::{Plan, Shape, Times};
use crate::source::{READY_WITHIN, commands, drawing::Drawing, read_job};
use crate::talk::{self, Answer, Command, ForgerJob, Start};

/// The only link there is.
const SESSION: SessionId = SessionId(1);
/// Frames that wait for the core; readers wait when there are more.
const FRAMES: usize = 256;
/// Messages per second that a share of 1 means when the others have no rate.
const CLOSED_RATE: f64 = 1_000.0;
/// How often the core is looked at when nothing comes.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// Runs a forger until its standard input ends.
///
/// # Errors
/// Nobody listens any more. Everything else is told as [`Answer::Failed`].
pub fn process(job: &Path) -> Result<()> {
    let mut out = std::io::stdout().lock();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    if let Err(error) = runtime.block_on(serve(job, &mut out)) {
        talk::say(&mut out, &Answer::Failed(format!("forger: {error:#}")))?;
    }
    Ok(())
}

async fn serve(job: &Path, out: &mut impl std::io::Write) -> Result<()> {
    let job: ForgerJob = read_job(job)?;
    let commands = commands();
    let mut forger = Forger::connect(&job).await?;
    forger.wait_attached().await?;
    talk::say(out, &Answer::Ready)?;
    let mut counts = BadSignatures::default();
    loop {
        // Pings and credit keep being answered while nothing is to be sent.
        let command = match commands.try_recv() {
            Ok(command) => command,
            Err(std::sync::mpsc::TryRecvError::Empty) => {
                forger.turn(&mut counts).await?;
                continue;
            }
            Err(std::sync::mpsc::TryRecvError::Disconnected) => return Ok(()),
        };
        match command {
            Command::Start(start) => {
                counts = BadSignatures::default();
                forger.forge(&start, &job, &mut counts).await?;
            }
            Command::Report => talk::say(out, &Answer::Forged(counts))?,
            Command::Stop => {}
        }
    }
}

struct Forger {
    core: Core,
    streams: Streams,
    frames: mpsc::Receiver<(Stream, Frame)>,
    drawing: Drawing,
    attached: bool,
    began_us: u64,
    _endpoint: quinn::Endpoint,
}

struct Streams {
    connection: Connection,
    control: SendStream,
    lanes: [Option<SendStream>; 4],
}

impl Forger {
    async fn connect(job: &ForgerJob) -> Result<Self> {
        let config = load(&job.source.config, &Purpose::default())?;
        let link = config.links.first().context("the forger's configuration has a link")?;
        let router = link.routers.first().context("the forger's link has a router")?;
        let DirectoryConfig::Folder { path, .. } = &config.directory else {
            bail!("the forger needs a folder of zones")
        };
        let wall = client::now();
        let verified = directory_source::load_dir(path)?.verify(&SerialFloor::new(), wall)?;
        let table = Arc::new(Table::compile(&verified, wall, 1)?);
        let endpoint = quinn::Endpoint::client("[::]:0".parse()?)?;
        let address = tokio::net::lookup_host(&router.address).await?.next().context("the router has an address")?;
        let connection =
            endpoint.connect_with(client_config(link, &Limits::default())?, address, "kernpost.invalid")?.await?;
        let (control, answers) = connection.open_bi().await?;
        let (sender, frames) = mpsc::channel(FRAMES);
        tokio::spawn(read(answers, FrameDecoder::new(), Stream::Control, sender.clone()));
        tokio::spawn(accept(connection.clone(), sender));
        let senders: Vec<_> = config.endpoints.iter().map(|endpoint| endpoint.id.clone()).collect();
        let setup = LinkSetup {
            identities: identity(link, &job.identity)?,
            endpoints: (0..senders.len()).collect(),
            routers: vec![router.id.clone()],
            largest_bundle: link.line.largest_bundle_bytes(),
        };
        let mut core = Core::new(CoreConfig {
            endpoints: config.endpoints.into_iter().map(|one| EndpointSetup { id: one.id, keys: one.keys }).collect(),
            links: vec![setup],
            journal: rand::random(),
            directory: DirectoryFrom::Shell,
            limits: Limits { credit_entries: 0, credit_bytes: 0, ..Limits::default() },
            seed: rand::random(),
            software: concat!("kernpost-loadgen-forger/", env!("CARGO_PKG_VERSION")).to_owned(),
        });
        let streams = Streams { connection, control, lanes: [const { None }; 4] };
        let drawing = Drawing::new(&job.source, senders)?;
        let began_us = mono_us();
        let now = Now { mono_us: 0, wall };
        core.handle_table(now, table);
        core.handle_link_up(now, SESSION, 0, 0);
        Ok(Self { core, streams, frames, drawing, attached: false, began_us, _endpoint: endpoint })
    }

    async fn wait_attached(&mut self) -> Result<()> {
        let until = std::time::Instant::now() + READY_WITHIN;
        while !self.attached {
            anyhow::ensure!(std::time::Instant::now() < until, "the forger was not attached in time");
            self.turn(&mut BadSignatures::default()).await?;
        }
        Ok(())
    }

    fn now(&self) -> Now {
        Now { mono_us: mono_us().saturating_sub(self.began_us), wall: client::now() }
    }

    async fn forge(&mut self, start: &Start, job: &ForgerJob, counts: &mut BadSignatures) -> Result<()> {
        let mut times = Times::new(scaled(&start.plan, job.share)).peekable();
        let end_us = start.plan.length_us.saturating_add(2_000_000);
        loop {
            let now_us = mono_us().saturating_sub(start.at_us);
            while times.next_if(|due| *due <= now_us).is_some() {
                let drawn = self.drawing.draw()?;
                let id = kernpost_codecs::MessageId::from_parts(client::now(), rand::random());
                let mut outgoing = Outgoing::new(id, drawn.sender, drawn.service, drawn.jurisdiction, drawn.payload);
                outgoing.class = drawn.class;
                outgoing.timeout_ms = job.source.timeout_ms;
                // A full outbox means that refusals are late: then fewer are sent.
                if self.core.handle_send(self.now(), &outgoing).is_ok() {
                    counts.sent += 1;
                }
            }
            self.turn(counts).await?;
            let settled = counts.refused + counts.accepted == counts.sent;
            if times.peek().is_none() && settled && now_us > start.plan.length_us || now_us > end_us {
                return Ok(());
            }
        }
    }

    /// Takes what came, then carries out what the core wants.
    async fn turn(&mut self, counts: &mut BadSignatures) -> Result<()> {
        if let Ok(frame) = tokio::time::timeout(LOOK_EVERY, self.frames.recv()).await {
            let (stream, frame) = frame.context("the router closed the forger's link")?;
            self.core.handle_frame(self.now(), SESSION, stream, frame.kind, frame.body);
            while let Ok((stream, frame)) = self.frames.try_recv() {
                self.core.handle_frame(self.now(), SESSION, stream, frame.kind, frame.body);
            }
        }
        let now = self.now();
        if self.core.poll_deadline().is_some_and(|at| at <= now.mono_us) {
            self.core.handle_timeout(now);
        }
        while let Some(output) = self.core.poll_output(self.now()) {
            match output {
                Output::Frame { stream, bytes, .. } => {
                    self.streams.write(stream, bytes).await?;
                    self.core.handle_writable(SESSION, stream);
                }
                Output::Finished { outcome, .. } => match outcome.outcome {
                    FinalOutcome::Refused => counts.refused += 1,
                    _ => counts.accepted += 1,
                },
                Output::Close { fault, .. } => bail!("the router broke the protocol: {fault}"),
                Output::Event(Event::Attached { .. }) => self.attached = true,
                Output::Event(Event::AttachRefused { code, text, .. }) => bail!("attach refused: {code} {text}"),
                _ => {}
            }
        }
        Ok(())
    }
}

impl Streams {
    async fn write(&mut self, stream: Stream, bytes: Bytes) -> Result<()> {
        let (slot, kind) = match stream {
            Stream::Control => {
                self.control.write_chunk(bytes).await?;
                return Ok(());
            }
            Stream::Bundle(class) => (class.index(), LaneKind::Bundle(class)),
            Stream::Settlement => (3, LaneKind::Settlement),
        };
        let bytes = if slot < 3 { spoiled(&bytes) } else { bytes };
        let lane = self.lanes.get_mut(slot).context("four lanes")?;
        if lane.is_none() {
            let mut opened = self.connection.open_uni().await?;
            let mut head = BytesMut::new();
            varint::encode(&mut head, kind.as_u64());
            opened.write_chunk(head.freeze()).await?;
            *lane = Some(opened);
        }
        if let Some(lane) = lane {
            lane.write_chunk(bytes).await?;
        }
        Ok(())
    }
}

/// The same frames, each root signature with one byte flipped.
fn spoiled(frames: &Bytes) -> Bytes {
    let mut spoiled = BytesMut::from(frames.as_ref());
    let mut decoder = FrameDecoder::new();
    decoder.push(frames.clone());
    while let Ok(Some(frame)) = decoder.next() {
        if frame.kind != frame_type::BUNDLE {
            continue;
        }
        let Ok(part) = Part::decode(frame.body) else { continue };
        for signature in part.signatures() {
            let wanted: &[u8] = signature.signature.as_ref();
            let found = frames.windows(wanted.len().max(1)).position(|window| window == wanted);
            if let Some(byte) = found.and_then(|at| spoiled.get_mut(at + wanted.len() / 2)) {
                *byte ^= 0x40;
            }
        }
    }
    spoiled.freeze()
}

fn scaled(plan: &Plan, share: f64) -> Plan {
    let shape = match plan.shape {
        Shape::Steady(rate) => Shape::Steady(rate * share),
        Shape::Ramp { from, to } => Shape::Ramp { from: from * share, to: to * share },
        Shape::Closed => Shape::Steady(CLOSED_RATE * share),
    };
    Plan { shape, ..plan.clone() }
}

fn identity(link: &LinkConfig, known: &str) -> Result<Vec<LinkIdentity>> {
    Ok(match &link.identity {
        Some(identity) => vec![identity.clone()],
        None => vec![known.parse()?],
    })
}

async fn accept(connection: Connection, frames: mpsc::Sender<(Stream, Frame)>) {
    while let Ok(mut stream) = connection.accept_uni().await {
        let mut decoder = FrameDecoder::new();
        let kind = loop {
            if let Ok(Some(kind)) = decoder.next_varint() {
                break LaneKind::from_u64(kind).ok().flatten();
            }
            match stream.read_chunk(64 << 10, true).await {
                Ok(Some(chunk)) => decoder.push(chunk.bytes),
                Ok(None) | Err(_) => break None,
            }
        };
        let lane = match kind {
            Some(LaneKind::Bundle(class)) => Stream::Bundle(class),
            Some(LaneKind::Settlement) => Stream::Settlement,
            Some(LaneKind::LargePayload) | None => continue,
        };
        tokio::spawn(read(stream, decoder, lane, frames.clone()));
    }
}

async fn read(mut stream: RecvStream, mut decoder: FrameDecoder, lane: Stream, frames: mpsc::Sender<(Stream, Frame)>) {
    loop {
        while let Ok(Some(frame)) = decoder.next() {
            if frames.send((lane, frame)).await.is_err() {
                return;
            }
        }
        match stream.read_chunk(64 << 10, true).await {
            Ok(Some(chunk)) => decoder.push(chunk.bytes),
            Ok(None) | Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

    use super::*;

    #[test]
    fn a_share_of_every_shape_is_taken() {
        let plan = |shape| Plan { shape, burst: None, length_us: 1 };
        assert_eq!(scaled(&plan(Shape::Steady(100.0)), 0.1).shape, Shape::Steady(10.0));
        assert_eq!(scaled(&plan(Shape::Ramp { from: 10.0, to: 20.0 }), 0.5).shape, Shape::Ramp { from: 5.0, to: 10.0 });
        assert_eq!(scaled(&plan(Shape::Closed), 0.5).shape, Shape::Steady(500.0));
    }
}
