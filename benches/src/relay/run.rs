//! Starts the processes of a relay run and reads what they say.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::parts::{self, Count};
use super::{Role, setup};

/// What is relayed, and for how long.
#[derive(Debug, Clone, clap::Args)]
pub struct RunOptions {
    /// Bytes of a frame: payload + 160. 8..=1048576
    #[arg(long, default_value_t = 1_184, value_parser = clap::value_parser!(u32).range(8..=1_048_576))]
    pub frame_bytes: u32,
    /// Sinks, each with a connection of its own
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=4))]
    pub sinks: u16,
    /// Frames a second; 0: as many as the relay takes
    #[arg(long, default_value_t = 0)]
    pub rate: u64,
    /// Length of the window that is measured, after one second of warm-up
    #[arg(long, default_value_t = 3)]
    pub seconds: u64,
    #[arg(long, hide = true)]
    folder: Option<PathBuf>,
    #[arg(long, hide = true)]
    relay: Option<SocketAddr>,
}

/// What a run showed. All numbers are of the window only.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Report {
    /// Frames the relay moved.
    pub frames: u64,
    /// Frames a second.
    pub rate: f64,
    /// CPU of the relay, µs a frame.
    pub cpu_us: f64,
    /// Latency at the sinks, median, ms; sampled once per read.
    pub p50_ms: f64,
    /// The same, 99th percentile.
    pub p99_ms: f64,
}

#[derive(Serialize, Deserialize)]
struct RelayReport {
    frames: u64,
    cpu_ns: u64,
    window_s: f64,
}

const WARM_UP: Duration = Duration::from_secs(1);

/// Runs relay, sinks and source and prints the report.
///
/// # Errors
/// A process cannot be started or fails.
pub fn run(options: &RunOptions) -> Result<()> {
    let folder = tempfile::tempdir()?;
    setup::make_keys(folder.path())?;
    let folder = folder.path().to_owned();
    let mut children = Children::default();
    let mut relay = children.start(Role::Relay, options, &folder, None)?;
    let mut first = String::new();
    relay.read_line(&mut first)?;
    let address: SocketAddr = first.trim().parse().with_context(|| format!("the relay said `{first}`"))?;
    let mut sinks = Vec::new();
    for _ in 0..options.sinks {
        let mut sink = children.start(Role::Sink, options, &folder, Some(address))?;
        // It says so when it is connected: the relay tells sinks and source apart by their order.
        sink.read_line(&mut String::new())?;
        sinks.push(sink);
    }
    let _source = children.start(Role::Source, options, &folder, Some(address))?;
    let mut said = String::new();
    relay.read_to_string(&mut said)?;
    let relayed: RelayReport = serde_json::from_str(&said).with_context(|| format!("the relay said `{said}`"))?;
    ensure!(relayed.frames > 0, "the relay moved nothing");
    let (mut p50, mut p99) = (Vec::new(), Vec::new());
    for mut sink in sinks {
        let mut said = String::new();
        sink.read_to_string(&mut said)?;
        let [half, most]: [f64; 2] = serde_json::from_str(&said).with_context(|| format!("a sink said `{said}`"))?;
        p50.push(half);
        p99.push(most);
    }
    let frames = relayed.frames as f64;
    let report = Report {
        frames: relayed.frames,
        rate: frames / relayed.window_s,
        cpu_us: relayed.cpu_ns as f64 / 1_000.0 / frames,
        p50_ms: p50.iter().sum::<f64>() / p50.len() as f64,
        p99_ms: p99.iter().copied().fold(0.0, f64::max),
    };
    println!("{}", serde_json::to_string(&report)?);
    Ok(())
}

/// Plays one part. It ends by itself.
///
/// # Errors
/// The connection fails.
pub fn play(role: Role, options: &RunOptions) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    tokio::task::LocalSet::new().block_on(&runtime, async {
        match role {
            Role::Relay => play_relay(options).await,
            Role::Source => play_source(options).await,
            Role::Sink => play_sink(options).await,
        }
    })
}

async fn play_relay(options: &RunOptions) -> Result<()> {
    let folder = options.folder.as_deref().context("--folder")?;
    let endpoint = setup::relay_endpoint(folder)?;
    println!("{}", endpoint.local_addr()?);
    let count = Count::default();
    let moving = Rc::clone(&count);
    let of_task = endpoint.clone();
    let sinks = usize::from(options.sinks);
    tokio::task::spawn_local(async move { parts::relay(&of_task, sinks, &moving).await });
    while count.get() == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    tokio::time::sleep(WARM_UP).await;
    let (frames, cpu, began) = (count.get(), cpu_ns()?, Instant::now());
    tokio::time::sleep(Duration::from_secs(options.seconds)).await;
    let report =
        RelayReport { frames: count.get() - frames, cpu_ns: cpu_ns()? - cpu, window_s: began.elapsed().as_secs_f64() };
    println!("{}", serde_json::to_string(&report)?);
    endpoint.close(quinn::VarInt::from_u32(0), b"done");
    endpoint.wait_idle().await;
    Ok(())
}

async fn play_source(options: &RunOptions) -> Result<()> {
    let endpoint = setup::dialling_endpoint(options.folder.as_deref().context("--folder")?)?;
    let connection = setup::dial(&endpoint, options.relay.context("--relay")?).await?;
    let until = Instant::now() + 2 * WARM_UP + 2 * Duration::from_secs(options.seconds);
    let made = parts::source(&connection, usize::try_from(options.frame_bytes)?, options.rate, until).await;
    // The relay closes when its window is over; nothing is wrong with that.
    match connection.close_reason() {
        Some(quinn::ConnectionError::ApplicationClosed(_)) => Ok(()),
        _ => made,
    }
}

async fn play_sink(options: &RunOptions) -> Result<()> {
    let endpoint = setup::dialling_endpoint(options.folder.as_deref().context("--folder")?)?;
    let connection = setup::dial(&endpoint, options.relay.context("--relay")?).await?;
    println!("connected");
    let mut latency = Histogram::new_with_bounds(1, 60_000_000, 3)?;
    parts::sink(&connection, &mut latency).await?;
    let ms = |quantile: f64| latency.value_at_quantile(quantile) as f64 / 1_000.0;
    println!("{}", serde_json::to_string(&[ms(0.5), ms(0.99)])?);
    Ok(())
}

/// CPU all threads of this process have used, ns (user and system).
fn cpu_ns() -> Result<u64> {
    let mut total = 0;
    for task in std::fs::read_dir("/proc/self/task")? {
        let text = std::fs::read_to_string(task?.path().join("schedstat"))?;
        total += text.split_whitespace().next().context("schedstat is empty")?.parse::<u64>()?;
    }
    Ok(total)
}

/// The processes started; ended when this is dropped.
#[derive(Default)]
struct Children(Vec<Child>);

impl Children {
    fn start(
        &mut self,
        role: Role,
        options: &RunOptions,
        folder: &std::path::Path,
        relay: Option<SocketAddr>,
    ) -> Result<BufReader<ChildStdout>> {
        let role = match role {
            Role::Relay => "relay",
            Role::Source => "source",
            Role::Sink => "sink",
        };
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["--role", role, "--folder"]).arg(folder);
        command.args(["--frame-bytes", &options.frame_bytes.to_string(), "--sinks", &options.sinks.to_string()]);
        command.args(["--rate", &options.rate.to_string(), "--seconds", &options.seconds.to_string()]);
        if let Some(relay) = relay {
            command.args(["--relay", &relay.to_string()]);
        }
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        let said = child.stdout.take().context("no stdout")?;
        self.0.push(child);
        Ok(BufReader::new(said))
    }
}

impl Drop for Children {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // It has usually ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
